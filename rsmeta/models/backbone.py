"""What every backbone offers: features, dense features at any depth, sites, its stem."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from rsmeta.errors import ConfigError
from rsmeta.models.patch_stem import STEM_WEIGHT
from rsmeta.models.stem import StemFilter, StemReport, mixture
from rsmeta.peft.adapter import Adapter, bare
from rsmeta.peft.modulator import Modulator
from rsmeta.peft.sites import Site, Sited

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from rsmeta.geo.bands import Band
    from rsmeta.models.checkpoint import LoadReport, StateDict
    from rsmeta.models.records import BackboneRecord
    from rsmeta.models.reduction import Kind, Reduction


class Features(NamedTuple):
    """What a backbone makes of a batch.

    Args:
        map: Features of the last block (B, D, h, w), ``h = ceil(H / stride)``, likewise ``w``.
        cls: One feature vector per image (B, D).
    """

    map: Tensor
    cls: Tensor


class OwnWeights(NamedTuple):
    """A backbone's weights under the names that a file of them has.

    Args:
        tensors: By name.
        order: For each band of the file its index in the input.
        groups: Names of the bands of each channel group; none: there are no groups.
    """

    tensors: StateDict
    order: tuple[int, ...]
    groups: tuple[tuple[str, ...], ...] | None = None


class Backbone(Sited):
    """A vision transformer fitted to the bands it takes.

    Args:
        bands: Bands of the input, in its order.
        record: What is known of the weights.
        stem_report: Where the filter of each band came from.
        load_report: Which tensors were loaded; none: the weights are random.
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
        #: From the bands of the input to those of the patch embedding, (1 x 1); none: the same.
        self.projection: nn.Conv2d | None = None
        self._projected: tuple[str, ...] = ()
        #: Its weights are in no file that a bundle could name: the bundle holds them all.
        self.in_bundle = False
        #: How the projection makes many bands fewer; none: it does something else.
        self.reduces_by: Kind | None = None

    @property
    def has_weights(self) -> bool:
        """Whether the weights came from a checkpoint, not from chance."""
        return self.load_report is not None

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width D of the features of the last block."""

    @property
    @abstractmethod
    def patch_px(self) -> int:
        """Side of a patch, pixels."""

    @property
    @abstractmethod
    def patch_embed(self) -> nn.Module:
        """The layer that makes tokens of an image."""

    @property
    def stem(self) -> nn.Module:
        """The layer that meets the bands, reduced ones too: a projection or the patch embedding."""
        if self.projection is None or self.reduces_by is not None:
            return self.patch_embed
        return self.projection

    def stem_site(self) -> Site | None:
        """Return the convolution that makes a token of each patch; none: another module does."""
        if self.projection is not None and self.reduces_by is None:
            return None  # the bands themselves meet the projection
        outer = next(path for path, one in self.named_modules() if one is self.patch_embed)
        convs: dict[nn.Conv2d, str] = {}
        for path, module in self.patch_embed.named_modules(prefix=outer):
            if isinstance(conv := bare(module)[1], nn.Conv2d):
                convs.setdefault(conv, path)  # an adapter around it comes first
        seen = len(self.bands) if self.projection is None else self.projection.out_channels
        if len(convs) != 1:
            return None
        ((only, path),) = convs.items()
        if not _cuts_patches(only, seen):
            return None
        return Site(0, "stem", only.in_channels, only.out_channels, path)

    @property
    def new_bands(self) -> tuple[str, ...]:
        """Names of the bands that have no filter of their own in the weights."""
        known = ("copied", "generated")
        return tuple(one.band for one in self.stem_report.filters if one.origin not in known)

    def stem_parameters(self) -> list[nn.Parameter]:
        """Return the stem's own parameters, without those of adapters in it."""
        inserted = {
            id(parameter)
            for module in self.stem.modules() if isinstance(module, Adapter | Modulator)
            for parameter in module.parameters()
        }  # fmt: skip
        return [one for one in self.stem.parameters() if id(one) not in inserted]

    @property
    def dims(self) -> tuple[int, ...]:
        """Width of the feature map after each block."""
        return (self.dim,) * self.depth

    @property
    def strides_px(self) -> tuple[int, ...]:
        """Pixels of the image per pixel of the feature map after each block."""
        return (self.patch_px,) * self.depth

    @property
    def levels(self) -> tuple[int, ...]:
        """Four blocks whose maps suit a pyramid: evenly spread, ending with the last."""
        return tuple(math.ceil((i + 1) * self.depth / 4) - 1 for i in range(4))

    @property
    def multiple_px(self) -> int:
        """Sides of an image are padded to multiples of this, so that all maps lie exactly on it."""
        return max(self.strides_px)

    @property
    def halo_px(self) -> int | None:
        """How far around a pixel its features look; none: they look at the whole image."""
        return None

    @property
    def dates(self) -> int:
        """Images of one place, at different dates, that an input holds; 1 for almost all."""
        return 1

    @property
    def standalone_options(self) -> dict[str, Any]:
        """Options that, beside the given ones, build the same network without its checkpoint."""
        return {}

    @property
    def weights_bands(self) -> tuple[str, ...] | None:
        """Names of the bands of the patch embedding, where a projection leads to them."""
        return None if self.projection is None else self._projected

    def own_weights(self) -> OwnWeights:
        """Return the weights as a file of them has them, for the bands of the input.

        A projection of the bands becomes part of the patch embedding.

        Raises:
            ConfigError: There is no network, or it cannot be one of a file.
        """
        nets = [net for name, net in self.named_children() if name != "projection"]
        if len(nets) != 1:
            raise ConfigError(f"{self.record.name} has no weights that another training could use")
        state = {k: v.detach().cpu().contiguous() for k, v in nets[0].state_dict().items()}
        if self.projection is not None:
            state[STEM_WEIGHT] = torch.einsum(
                "dkhw,kc->dchw", state[STEM_WEIGHT], self.projection.weight.detach()[..., 0, 0]
            ).contiguous()
        return OwnWeights(state, tuple(range(len(self.bands))))

    @abstractmethod
    def forward(self, x: Tensor) -> Features:
        """Return the features of the last block, normalised.

        Args:
            x: Prepared images (B, C, H, W); sides that are no multiple of ``multiple_px`` are
                padded with 0 at the bottom and right.
        """

    @abstractmethod
    def dense(self, x: Tensor, depths: Sequence[int]) -> list[Tensor]:
        """Return feature maps after several blocks, normalised as after the last where it can be.

        Args:
            x: Prepared images (B, C, H, W); padded as in ``forward``.
            depths: Indices of blocks, from 0.

        Returns:
            One map (B, D, h, w) per depth, in the order of ``depths``.
        """

    def project(self, bands: Sequence[Band]) -> None:
        """Take other bands, through a learned projection onto those of the weights.

        It begins as the stem strategy ``match`` turned round: each band of the weights is made
        of the new bands that are most like it.

        Args:
            bands: Bands of the input from now on, in its order, C.

        Raises:
            ValueError: The backbone projects already.
        """
        weight = torch.zeros(len(self.bands), len(bands))
        for row, wanted in enumerate(self.bands):
            for column, share in mixture(wanted, bands).shares.items():
                weight[row, column] = share
        report = _projected(weight, bands, self.bands)
        self._project(bands, weight, report)

    def reduce(self, bands: Sequence[Band], reduction: Reduction) -> None:
        """Take many bands, of which a reduction makes those that the backbone is built for.

        Args:
            bands: Bands of the input from now on, in its order, C.
            reduction: What is left of them: the backbone's own bands.

        Raises:
            ValueError: The backbone projects already.
        """
        report = reduction.report(bands, self.stem_report)
        self._project(bands, reduction.weight, report)
        self.reduces_by = reduction.kind

    def _project(self, bands: Sequence[Band], weight: Tensor, report: StemReport) -> None:
        if self.projection is not None:
            raise ValueError("the backbone projects its bands already")
        self.projection = nn.Conv2d(len(bands), len(self.bands), kernel_size=1, bias=False)
        with torch.no_grad():
            self.projection.weight.copy_(weight[..., None, None])
        self._projected = tuple(band.name for band in self.bands)
        self.stem_report = report
        self.bands = tuple(bands)

    def enter(self, x: Tensor) -> Tensor:
        """Project and pad images (…, C, H, W) to what the patch embedding takes."""
        if self.projection is not None:
            x = self.projection(x.flatten(0, -4)).unflatten(0, x.shape[:-3])
        return pad_to_multiple(x, self.multiple_px)


def _cuts_patches(conv: nn.Conv2d, bands: int) -> bool:
    """Return whether a convolution sees every pixel of all bands once, in squares."""
    square = conv.kernel_size[0] == conv.kernel_size[1]
    once = conv.stride == conv.kernel_size and set(conv.padding) == {0}
    return square and once and conv.groups == 1 and conv.in_channels == bands


def _projected(weight: Tensor, bands: Sequence[Band], known: Sequence[Band]) -> StemReport:
    """Say what each new band is projected onto at first."""
    filters = []
    for column, band in enumerate(bands):
        onto = weight[:, column] / weight[:, column].sum().clamp(min=1e-9)
        shares = {k.name: float(s) for k, s in zip(known, onto, strict=True) if s > 0}
        filters.append(StemFilter(band.name, "projected", shares))
    unused = [f.band for f in filters if not f.shares]
    note = f"projected onto nothing at first: {', '.join(unused)}" if unused else ""
    return StemReport(tuple(filters), "project", (note,) if note else ())


def pad_to_multiple(x: Tensor, multiple_px: int) -> Tensor:
    """Pad (…, H, W) with 0 at the bottom and right to sides that ``multiple_px`` divides."""
    bottom, right = -x.shape[-2] % multiple_px, -x.shape[-1] % multiple_px
    return functional.pad(x, (0, right, 0, bottom)) if bottom or right else x
