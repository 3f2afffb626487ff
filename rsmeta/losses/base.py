"""How a loss is built from settings and class counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from rsmeta.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from rsmeta.config.loss import LossSpec

#: Labelled training pixels of each class, (K,).
ClassCounts: TypeAlias = "Sequence[int] | NDArray[np.integer[Any]] | Tensor"

#: Losses: each is built from settings and the number of labelled training pixels per class, and
#: maps (logits (B, K, H, W), target (B, H, W) int64 with -1 for no label) to a scalar.
LOSSES: Registry[Callable[[LossSpec, ClassCounts], nn.Module]] = Registry("loss")


def build_loss(spec: LossSpec, class_counts: ClassCounts) -> nn.Module:
    """Build the loss that settings name.

    Args:
        spec: Name and options.
        class_counts: Labelled training pixels of each class, (K,).

    Raises:
        UnknownNameError: No loss of that name.
    """
    return LOSSES.get(spec.name)(spec, class_counts)
