"""What every loss is, and how one, or a weighted sum, is built from settings and class counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from rsmeta.config.base import NoOptions, Strict
from rsmeta.config.load import validate
from rsmeta.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from rsmeta.config.loss import LossSpec, LossTerm

#: Labelled training pixels of each class, (K,); images where an image has one label.
ClassCounts: TypeAlias = "Sequence[int] | NDArray[np.integer[Any]] | Tensor"

#: Target value of pixels and images without label.
IGNORE_INDEX = -1


class Loss(nn.Module, ABC):
    """Compares scores with labels; what has no label counts nowhere.

    Subclasses name their settings in ``Options`` and are registered in ``LOSSES``. What a loss
    derives from counts and options are buffers that are not saved: settings make them anew.

    Args:
        counts: Labelled training pixels, or images, of each class, (K,) float64; 0 where a class
            has none.
        options: Its own settings.
    """

    Options: ClassVar[type[Strict]] = NoOptions

    def __init__(self, counts: Tensor, options: Strict) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, shape () float32; 0, with a gradient of 0, where nothing is labelled.

        Args:
            logits: Scores (B, K) of images or (B, K, H, W) of pixels, of any float type.
            target: Class indices (B,) or (B, H, W) int64; -1: no label.
        """


#: Losses by name.
LOSSES: Registry[type[Loss]] = Registry("loss", Loss)


class WeightedSum(nn.Module):
    """The sum of losses, each times its weight.

    Args:
        losses: The losses.
        weights: One factor for each.
    """

    def __init__(self, losses: Sequence[Loss], weights: Sequence[float]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)
        self.weights = tuple(weights)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the sum, shape (); arguments as those of a ``Loss``."""
        values = [loss(logits, target) for loss in self.losses]
        return torch.stack([w * v for w, v in zip(self.weights, values, strict=True)]).sum()


def build_loss(
    spec: LossSpec, class_counts: ClassCounts, losses: Registry[type[Loss]] | None = None
) -> WeightedSum:
    """Build the losses that settings name.

    Args:
        spec: Names, weights and options.
        class_counts: Labelled training pixels, or images, of each class, (K,); what else losses
            of another kind take of the training labels.
        losses: Where to look names up; none: losses of classes.

    Raises:
        UnknownNameError: No loss of that name.
        ConfigError: An option that a loss does not take, or a value that does not fit.
    """
    counts = torch.as_tensor(class_counts, dtype=torch.float64)
    known = LOSSES if losses is None else losses
    built = [known.get(term.name)(counts, loss_options(term, known)) for term in spec.parts]
    return WeightedSum(built, [term.weight for term in spec.parts])


def check_loss(spec: LossSpec, losses: Registry[type[Loss]] | None = None) -> None:
    """Check names and options, before class counts are known; see ``build_loss``.

    Raises:
        UnknownNameError: No loss of that name.
        ConfigError: An option that a loss does not take, or a value that does not fit.
    """
    for term in spec.parts:
        loss_options(term, LOSSES if losses is None else losses)


def loss_options(term: LossTerm, losses: Registry[type[Loss]]) -> Strict:
    """Return the checked options of one loss; raises as ``check_loss`` does."""
    return validate(losses.get(term.name).Options, term.options, f"loss ({term.name})")


def per_class(values: Tensor, logits: Tensor) -> Tensor:
    """Return values (K,) in a shape that broadcasts over logits (B, K, …)."""
    return values.view(-1, *[1] * (logits.ndim - 2))


def labelled(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores (N, K) float32 and class indices (N,) of all that has a label."""
    known = target != IGNORE_INDEX
    return logits.float().movedim(1, -1)[known], target[known]


def deterministic_form(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (N, K) and target (N,) where only deterministic operations may be used.

    On a GPU torch has a deterministic cross-entropy of this form only; otherwise both are
    returned as they are, (B, K, …) and (B, …).
    """
    if logits.ndim == 2 or not torch.are_deterministic_algorithms_enabled():
        return logits, target
    return logits.movedim(1, -1).reshape(-1, logits.shape[1]), target.reshape(-1)
