"""What every head is, and how one is built from settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from rsmeta.config.load import validate
from rsmeta.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.base import Strict
    from rsmeta.config.model import HeadSpec


@dataclass(frozen=True)
class HeadInput:
    """What a head needs to know of what stands before it.

    Args:
        dims: Width D of the feature map after each block.
        strides_px: Pixels of the image per pixel of the feature map after each block.
        levels: Indices of four blocks whose maps suit a pyramid.
        channels: Bands C of the prepared image.
    """

    dims: tuple[int, ...]
    strides_px: tuple[int, ...]
    levels: tuple[int, ...]
    channels: int

    @property
    def depth(self) -> int:
        """Number of blocks that features can be taken from."""
        return len(self.dims)


class Head(nn.Module, ABC):
    """Turns feature maps into logits at the size of the image.

    Subclasses name their settings in ``Options`` and are registered in ``HEADS``.

    Args:
        shape: What stands before the head.
        classes: Number of classes K.
        options: Its own settings.
    """

    Options: ClassVar[type[Strict]]

    @abstractmethod
    def __init__(self, shape: HeadInput, classes: int, options: Strict) -> None:
        super().__init__()

    @property
    @abstractmethod
    def depths(self) -> tuple[int, ...]:
        """Indices of the blocks, from 0, whose feature maps the head wants."""

    @abstractmethod
    def forward(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Return logits (B, K, H, W).

        Args:
            maps: One map (B, D, H / stride, W / stride) per entry of ``depths``.
            image: The prepared image (B, C, H, W), sides multiples of the coarsest stride.
        """


#: Heads by name.
HEADS: Registry[type[Head]] = Registry("head")


def build_head(spec: HeadSpec, shape: HeadInput, classes: int) -> Head:
    """Build a head from settings.

    Raises:
        UnknownNameError: No head of that name.
        ConfigError: An option that it does not take, or a value that does not fit.
    """
    kind = HEADS.get(spec.name)
    options = validate(kind.Options, spec.options, f"model.head ({spec.name})")
    return kind(shape, classes, options)
