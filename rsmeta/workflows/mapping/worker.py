"""One block of a map by itself, in whatever process: what Dask's tasks do."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from rasterio.windows import Window

from rsmeta.bundle import ModelBundle, load_bundle
from rsmeta.errors import BundleError
from rsmeta.geo.handles import bounded_cache
from rsmeta.geo.patches import PatchPlan
from rsmeta.geo.tiling import Strip
from rsmeta.inference import sizing
from rsmeta.inference.cells import run_cells
from rsmeta.inference.engine import run_blocks
from rsmeta.inference.model import choose_device, ready
from rsmeta.inference.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

    from rsmeta.bundle import BundleRecord
    from rsmeta.geo.aoi import Area
    from rsmeta.geo.scene import Scene
    from rsmeta.geo.tiling import TilePlan
    from rsmeta.inference.engine import Block
    from rsmeta.inference.scoring import Model


@dataclass(frozen=True)
class ModelReference:
    """A model that each process loads when it first needs it, and then keeps.

    Attributes:
        bundle: Its folder, or the bundle itself, which travels along.
        record: What the bundle says, with the settings to map with.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, of the machine that computes.
        token: Tells references apart.
    """

    bundle: Path | ModelBundle
    record: BundleRecord
    device: str
    token: str = field(default_factory=lambda: uuid4().hex)


@dataclass(frozen=True)
class Work:
    """What all blocks of a map share; can be pickled.

    Attributes:
        scene: The scene, with the model's bands.
        plan: How it is cut: tiles that overlap, or cells of one value each.
        extent: The part of the scene that is mapped, in its pixels.
        area: Pixels outside, or cells without one inside, are not mapped.
    """

    scene: Scene
    plan: TilePlan | PatchPlan
    extent: Window
    area: Area | None = None

    def blocks(self) -> Iterator[Window]:
        """Yield the blocks in their places in the map, row by row."""
        if isinstance(self.plan, PatchPlan):
            yield from self.plan.blocks()
            return
        whole = next(self.plan.strips(self.extent, strip_blocks=self.plan.width_px))
        for block in whole.blocks():
            yield shifted(block, self.extent, -1)

    def reach(self, block: Window) -> Window:
        """Return the scene's pixels that a block is computed from; they may lie beyond its edge."""
        if isinstance(self.plan, PatchPlan):
            return self.plan.ground(block)
        return self.plan.extent(shifted(block, self.extent, 1))


def shifted(window: Window, extent: Window, sign: int) -> Window:
    """Return a window of an extent as one of the scene (sign 1), or the other way round (-1)."""
    col, row = sign * int(extent.col_off), sign * int(extent.row_off)
    return Window(window.col_off + col, window.row_off + row, window.width, window.height)


@dataclass
class _Kept:
    """The model of this process; a context that is left when another one takes its place."""

    token: str = ""
    model: Model | None = None
    device: torch.device | None = None
    stack: ExitStack = field(default_factory=ExitStack)


_kept = _Kept()
_turn = threading.Lock()  # the network takes all cores, or the GPU: one block at a time


def compute_block(reference: ModelReference, work: Work, block: Window) -> Block:
    """Compute one block with all its tiles; its pixels are those of the whole scene's map.

    Args:
        reference: The model.
        work: The map.
        block: One of its blocks.

    Raises:
        RsmetaError: The scene cannot be read, or the model not be loaded.
    """
    with _turn, bounded_cache(), Pipeline() as flow:
        model, device = _loaded(reference)
        settings, plan = reference.record.predict, work.plan
        batch_size = settings.batch_size or sizing.choose_batch_size(device)
        if isinstance(plan, PatchPlan):
            [made] = run_cells(
                model, work.scene, plan, flow=flow, blocks=[block], area=work.area,
                batch_size=batch_size, device=device,
            )  # fmt: skip
        else:
            alone = Strip(0, shifted(block, work.extent, 1), work.extent, plan.block_px)
            [made] = run_blocks(
                model, work.scene, plan, flow=flow, strips=[alone], area=work.area,
                blend=settings.blend, batch_size=batch_size, device=device,
                blend_on=sizing.choose_blending(plan, reference.record.output.scores, device),
            )  # fmt: skip
    return replace(made, window=block)


def _loaded(reference: ModelReference) -> tuple[Model, torch.device]:
    if _kept.model is None or _kept.device is None or _kept.token != reference.token:
        _kept.stack.close()
        _kept.model = None
        bundle = reference.bundle
        loaded = bundle if isinstance(bundle, ModelBundle) else load_bundle(bundle)
        if loaded.record.weights_sha256 != reference.record.weights_sha256:
            raise BundleError(f"{bundle} has changed since the map was begun; start it anew")
        _kept.device = choose_device(reference.device)
        _kept.model = _kept.stack.enter_context(ready(loaded, reference.record, _kept.device))
        _kept.token = reference.token
    return _kept.model, _kept.device
