"""A network made faster, as far as a level allows and the device gains by it.

What pays, and what it costs in exactness, is measured by ``benchmarks/bench_optimize.py``.
"""

from __future__ import annotations

import contextlib
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from rsmeta.inference.scoring import Model

logger = logging.getLogger(__name__)

Level: TypeAlias = Literal[0, 1]


def optimised(
    network: nn.Module,
    activate: Callable[[Tensor], Tensor],
    device: torch.device,
    *,
    level: Level = 0,
    reduced: bool = False,
) -> Model:
    """Return a function that gives what a network's scores mean, float32.

    Args:
        network: Maps (B, C, h, w) and valid (B, h, w) to scores; on the device.
        activate: Makes of scores, of any precision, what they mean: float32 probabilities, say.
        device: Where it computes.
        level: 0: as it was trained. 1: in bfloat16, if the device has instructions for it.
        reduced: Compute in bfloat16 in any case.
    """
    if level >= 1 and not reduced:
        reduced = has_bfloat16(device)
        if not reduced:
            logger.warning("%s has no instructions for bfloat16; computing in float32", device)

    def meant(image: Tensor, valid: Tensor) -> Tensor:
        exact = contextlib.nullcontext() if reduced else exact_convolutions()
        with exact, torch.autocast(device.type, torch.bfloat16, enabled=reduced):
            scores: Tensor = network(image, valid)
        return activate(scores)

    return meant


@contextlib.contextmanager
def exact_convolutions() -> Iterator[None]:
    """Let cuDNN convolve float32 as float32: by default it rounds what it multiplies to 10 bits."""
    cudnn: Any = torch.backends.cudnn
    try:
        rounds = cudnn.allow_tf32
    except RuntimeError:  # torch's newer switches are set, for some operations only: a choice
        rounds = False
    if rounds:
        cudnn.allow_tf32 = False
    try:
        yield
    finally:
        if rounds:
            cudnn.allow_tf32 = True


@cache
def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes with bfloat16 itself: emulated, it would only be slower."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
