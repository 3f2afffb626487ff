"""Compute one block of a map by itself, in whatever process: what Dask's tasks do."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsmeta.bundle import load_bundle
from rsmeta.errors import BundleError
from rsmeta.inference.device import choose_device
from rsmeta.inference.engine import ready_engine

if TYPE_CHECKING:
    from rasterio.windows import Window

    from rsmeta.inference.engine import Block, Engine
    from rsmeta.workflows.mapping.request import BlockRequest

#: The engine of this process, by what it was made from, and what ends it.
_engines: dict[tuple[Any, ...], tuple[Engine, ExitStack]] = {}
_turn = threading.Lock()  # the network takes all cores, or the GPU: one block at a time


def compute_block(request: BlockRequest, device: str, block: Window) -> Block:
    """Compute one block with all its tiles; its pixels are those of the whole map.

    The model is loaded when a process first needs it, and kept until another one is needed.

    Args:
        request: The map.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, of this machine.
        block: One of its blocks.

    Raises:
        RsmetaError: The scene cannot be read, or the model not be loaded.
    """
    with _turn:
        engine = _engine(request, device)
        [made] = engine.run(request.plan, [block], request.scene, aoi=request.aoi)
    return made


def _engine(request: BlockRequest, device: str) -> Engine:
    model, record = request.model, request.record
    identity = str(model) if isinstance(model, Path) else id(model)
    key = (identity, record.weights_sha256, record.predict.model_dump_json(), device)
    if key not in _engines:
        for _, stack in _engines.values():
            stack.close()
        _engines.clear()
        bundle = load_bundle(model, to_apply=True) if isinstance(model, Path) else model
        if bundle.record.weights_sha256 != record.weights_sha256:
            raise BundleError(f"{model} has changed since the map was begun; start it anew")
        stack = ExitStack()
        engine = stack.enter_context(ready_engine(bundle, record, choose_device(device)))
        _engines[key] = engine, stack
    return _engines[key][0]
