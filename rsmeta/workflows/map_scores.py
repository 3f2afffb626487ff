"""Score a model on labelled pixels as its maps show them: the same tiles, overlaps and blending."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from rsmeta.bundle import ModelBundle
from rsmeta.data.chips import no_label
from rsmeta.data.label_index import CELL_PX
from rsmeta.data.polygon_labels import PolygonLabels
from rsmeta.inference.device import choose_device
from rsmeta.inference.engine import ready_engine
from rsmeta.metrics import SegmentationResult
from rsmeta.metrics.certainty import PolygonCounts, certainty_of_raster
from rsmeta.workflows.mapping.request import plan_for
from rsmeta.workflows.model_record import describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rasterio.windows import Window
    from torch import Tensor

    from rsmeta.bundle import BundleRecord
    from rsmeta.config import Settings
    from rsmeta.data.build_splits import IndexedScene
    from rsmeta.data.datamodule import SceneDataModule
    from rsmeta.geo.plan import MapPlan
    from rsmeta.training.module import TaskModule

#: Side of the blocks that are mapped around labels; maps do not depend on it.
_BLOCK_PX = 256


class _Found(NamedTuple):
    """A block of a map: its scores (1, K, h, w), and its labels (1, h, w)."""

    scene: IndexedScene
    window: Window
    scores: Tensor
    labels: Tensor


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
    tensors = chain(bundle.network.parameters(), bundle.network.buffers())
    before = next((tensor.device for tensor in tensors), torch.device("cpu"))
    polygons = PolygonCounts([spec.name for spec in record.classes])
    for found in _mapped(bundle, record, scenes, choose_device("auto")):
        record.made_task.count(metrics, found.scores, found.labels)
        _count_by_polygon(polygons, found)
    bundle.network.to(before)
    result = metrics.compute()
    if not isinstance(result, SegmentationResult):
        return result
    of_polygons = all(isinstance(one.labelled.labels, PolygonLabels) for one in scenes)
    pixels = {one.name: one.pixels for one in result.classes}
    certainty = polygons.certainty() if of_polygons else certainty_of_raster(pixels)
    return replace(result, certainty=certainty)


def _count_by_polygon(polygons: PolygonCounts, found: _Found) -> None:
    labels = found.scene.labelled.labels
    if not isinstance(labels, PolygonLabels):
        return
    known = found.labels[0].numpy() >= 0
    owner = labels.read_owners(found.window)[known]
    mapped = found.scores.argmax(dim=1)[0].numpy()[known]
    names = [(str(labels.path), row) for row in labels.shapes.index]
    polygons.update(names, owner, mapped, found.labels[0].numpy()[known])


def map_validation(module: TaskModule, data: SceneDataModule, settings: Settings) -> None:
    """Let a module be validated as it would be mapped, so that the best checkpoint maps best.

    Args:
        module: The module to train.
        data: What it is trained on.
        settings: Its settings, those of maps among them.
    """

    def blocks(rank: int, processes: int) -> Iterator[tuple[Tensor, Tensor]]:
        # A copy, because mapping merges adapters and leaves the network in evaluation mode.
        network = copy.deepcopy(module.network).float()
        bundle, share = ModelBundle(record, network), slice(rank, None, processes)
        found = _mapped(bundle, record, data.parts["validation"], module.device, share)
        return ((one.scores, one.labels) for one in found)

    record = describe(settings, data, module.network)
    data.one_validation_step = True
    module.mapped = blocks


def _mapped(
    bundle: ModelBundle,
    record: BundleRecord,
    scenes: Sequence[IndexedScene],
    device: torch.device,
    share: slice = slice(None),
) -> Iterator[_Found]:
    """Yield what is mapped in the blocks with labels, or in a share of them."""
    with ready_engine(bundle, record, device) as engine:
        for one in scenes:
            scene = one.labelled.scene
            plan = plan_for(record, scene.grid, scene.grid.full_window, _BLOCK_PX)
            wanted = _blocks_with_labels(plan, one.index.cells)[share]
            for block in engine.run(plan, wanted, scene):
                if block.scores is None or block.valid is None:
                    continue
                labels = one.labelled.read_labels(block.window)
                target = torch.from_numpy(np.where(block.valid, labels, no_label(labels)))
                yield _Found(one, block.window, torch.from_numpy(block.scores)[None], target[None])


def _blocks_with_labels(plan: MapPlan, cells: np.ndarray) -> list[Window]:
    side = plan.block_side
    corners = [cells * CELL_PX + edge for edge in ((0, 0), (0, CELL_PX - 1))]
    corners += [cells * CELL_PX + edge for edge in ((CELL_PX - 1, 0), (CELL_PX - 1, CELL_PX - 1))]
    held = {tuple(place) for place in (np.concatenate(corners) // side).tolist()}
    return [
        block for block in plan.blocks()
        if (int(block.row_off) // side, int(block.col_off) // side) in held
    ]  # fmt: skip
