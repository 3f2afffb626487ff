"""What every backbone offers: features, dense features at any depth, sites, its stem."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from torch.nn import functional

from rsmeta.peft.sites import Sited

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from rsmeta.geo.bands import Band
    from rsmeta.models.checkpoint import LoadReport
    from rsmeta.models.records import BackboneRecord
    from rsmeta.models.stem import StemReport


class Features(NamedTuple):
    """What a backbone makes of a batch.

    Args:
        map: Features per patch (B, D, h, w), ``h = ceil(H / patch_px)``, likewise ``w``.
        cls: One feature vector per image (B, D).
    """

    map: Tensor
    cls: Tensor


class Backbone(Sited):
    """A vision transformer fitted to the bands it takes.

    Args:
        bands: Bands of the input, in its order.
        record: What is known of the weights.
        stem_report: Where the filter of each band came from.
        load_report: What became of the checkpoint; none: the weights are random.
    """

    def __init__(
        self,
        bands: Sequence[Band],
        *,
        record: BackboneRecord,
        stem_report: StemReport,
        load_report: LoadReport | None,
    ) -> None:
        super().__init__()
        self.bands = tuple(bands)
        self.record = record
        self.stem_report = stem_report
        self.load_report = load_report

    @property
    def has_weights(self) -> bool:
        """Whether the weights came from a checkpoint, not from chance."""
        return self.load_report is not None

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width D of the features."""

    @property
    @abstractmethod
    def patch_px(self) -> int:
        """Side of a patch, pixels."""

    @property
    @abstractmethod
    def stem(self) -> nn.Module:
        """The layer that meets the bands."""

    @property
    def dates(self) -> int:
        """Images of one place, at different dates, that an input holds; 1 for almost all."""
        return 1

    @property
    def standalone_options(self) -> dict[str, Any]:
        """Options that, beside the given ones, build the same network without its checkpoint."""
        return {}

    @abstractmethod
    def forward(self, x: Tensor) -> Features:
        """Return the features of the last block, normalised.

        Args:
            x: Prepared images (B, C, H, W); sides that are no multiple of the patch are padded
                with 0 at the bottom and right.
        """

    @abstractmethod
    def dense(self, x: Tensor, depths: Sequence[int]) -> list[Tensor]:
        """Return feature maps after several blocks, normalised as after the last.

        Args:
            x: Prepared images (B, C, H, W); padded as in ``forward``.
            depths: Indices of blocks, from 0.

        Returns:
            One map (B, D, h, w) per depth, in the order of ``depths``.
        """


def pad_to_multiple(x: Tensor, multiple_px: int) -> Tensor:
    """Pad (B, C, H, W) with 0 at the bottom and right to sides that ``multiple_px`` divides."""
    bottom, right = -x.shape[-2] % multiple_px, -x.shape[-1] % multiple_px
    return functional.pad(x, (0, right, 0, bottom)) if bottom or right else x
