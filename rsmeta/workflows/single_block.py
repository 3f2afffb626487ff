"""One block of a map by itself, in whatever process: what Dask's tasks do."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from rsmeta.bundle import ModelBundle, load_bundle
from rsmeta.errors import BundleError
from rsmeta.geo.handles import bounded_cache
from rsmeta.inference import sizing
from rsmeta.inference.engine import run_blocks
from rsmeta.inference.flow import Flow
from rsmeta.workflows.ready_model import choose_device, ready

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from rsmeta.bundle import BundleRecord
    from rsmeta.geo.area import Area
    from rsmeta.geo.scene import Scene
    from rsmeta.geo.tiling import Strip, TilePlan
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


@dataclass
class _Kept:
    """The model of this process; a context that is left when another one takes its place."""

    token: str = ""
    model: Model | None = None
    device: torch.device | None = None
    stack: ExitStack = field(default_factory=ExitStack)


_kept = _Kept()
_turn = threading.Lock()  # the network takes all cores, or the GPU: one block at a time


def compute_block(
    reference: ModelReference,
    scene: Scene,
    plan: TilePlan,
    strip: Strip,
    *,
    area: Area | None = None,
) -> Block:
    """Compute one block with all its tiles; its pixels are those of the whole scene's map.

    Args:
        reference: The model.
        scene: The scene, with the model's bands.
        plan: Blocks and tiles of the scene.
        strip: The block alone, as a strip.
        area: Pixels outside are not mapped.

    Raises:
        RsmetaError: The scene cannot be read, or the model not be loaded.
    """
    with _turn, bounded_cache(), Flow() as flow:
        model, device = _loaded(reference)
        settings = reference.record.predict
        [block] = run_blocks(
            model, scene, plan, flow=flow, strips=[strip], area=area,
            blend=settings.blend, device=device,
            batch_size=settings.batch_size or sizing.choose_batch_size(device),
            blend_on=sizing.choose_blending(plan, reference.record.output.scores, device),
        )  # fmt: skip
    return block


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
