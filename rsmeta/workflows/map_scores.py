"""Score a model on labelled pixels as its maps show them: the same tiles, overlaps and blending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rsmeta.data.chips import no_label
from rsmeta.data.label_index import CELL_PX
from rsmeta.inference.device import choose_device
from rsmeta.inference.engine import ready_engine
from rsmeta.workflows.mapping.request import plan_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rasterio.windows import Window

    from rsmeta.bundle import BundleRecord, ModelBundle
    from rsmeta.data.build_splits import IndexedScene
    from rsmeta.geo.plan import MapPlan
    from rsmeta.inference.engine import Block, Engine

#: Side of the blocks that are mapped around labels; maps do not depend on it.
_BLOCK_PX = 256


def score_as_mapped(
    bundle: ModelBundle, record: BundleRecord, scenes: Sequence[IndexedScene], metrics: Any
) -> Any:
    """Map the blocks of scenes that hold labels; return the scores of their labelled pixels.

    Args:
        bundle: A model of labels per pixel.
        record: Its record, with the settings to map with.
        scenes: The scenes of one part.
        metrics: What gathers the scores of the task.
    """
    metrics.reset()
    before = next(bundle.network.parameters()).device
    device = choose_device("auto")
    with ready_engine(bundle, record, device) as engine:
        for one in scenes:
            for block in _mapped(engine, record, one):
                _count(record, block, one, metrics)
    bundle.network.to(before)
    return metrics.compute()


def _mapped(engine: Engine, record: BundleRecord, indexed: IndexedScene) -> Iterator[Block]:
    scene = indexed.labelled.scene
    plan = plan_for(record, scene.grid, scene.grid.full_window, _BLOCK_PX)
    return engine.run(plan, _blocks_with_labels(plan, indexed.index.cells), scene)


def _blocks_with_labels(plan: MapPlan, cells: np.ndarray) -> list[Window]:
    side = plan.block_side
    corners = [cells * CELL_PX + edge for edge in ((0, 0), (0, CELL_PX - 1))]
    corners += [cells * CELL_PX + edge for edge in ((CELL_PX - 1, 0), (CELL_PX - 1, CELL_PX - 1))]
    held = {tuple(place) for place in (np.concatenate(corners) // side).tolist()}
    return [
        block for block in plan.blocks()
        if (int(block.row_off) // side, int(block.col_off) // side) in held
    ]  # fmt: skip


def _count(record: BundleRecord, block: Block, indexed: IndexedScene, metrics: Any) -> None:
    if block.scores is None or block.valid is None:
        return
    labels = indexed.labelled.read_labels(block.window)
    target = torch.from_numpy(np.where(block.valid, labels, no_label(labels)))
    record.made_task.count(metrics, torch.from_numpy(block.scores)[None], target[None])
