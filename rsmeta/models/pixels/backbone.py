"""The backbone ``pixels``: its features are the bands, and what can be computed of them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from rsmeta.config.base import Strict
from rsmeta.config.load import validate
from rsmeta.errors import ConfigError, counted
from rsmeta.geo.computed import index_pairs
from rsmeta.models.backbone import Backbone, Features
from rsmeta.models.names import PIXELS
from rsmeta.models.pixels.features import Surroundings, normalised_difference
from rsmeta.models.records import BackboneRecord
from rsmeta.models.stem import StemFilter, StemReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band
    from rsmeta.peft.sites import Site

#: Most bands whose pairs are features.
MOST_BANDS_OF_RATIOS = 32


class PixelOptions(Strict):
    """Options of the backbone ``pixels``."""

    context: tuple[int, ...] = Field(
        default=(),
        description="sides, in pixels and odd, of the squares whose mean and deviation of each "
        "band stand beside the band itself",
    )
    deviations: bool = Field(
        default=True, description="whether context has the deviation of each band, or means alone"
    )
    indices: bool = Field(
        default=False, description="add the spectral indices that the bands allow: NDVI, NDWI, …"
    )

    ratios: bool | Literal["local"] = Field(
        default=False,
        description="add the logarithm of each band and the normalised difference of each pair of "
        "bands, whatever their names: less depends on brightness; up to 32 bands; local: of the "
        "means of context too",
    )

    @field_validator("context")
    @classmethod
    def _odd_squares(cls, sides: tuple[int, ...]) -> tuple[int, ...]:
        for side in sides:
            if side < 3 or side % 2 == 0:
                raise ValueError(f"{side} is not an odd number from 3 on; try [3, 7, 15]")
        return tuple(sorted(set(sides)))


class PixelBackbone(Backbone):
    """Features (B, D, H, W) at the resolution of the image; nothing in it is trained.

    It takes bands in physical units, NaN where a pixel is not valid.

    Args:
        bands: Bands of the input, in its order, C.
        options: Context, indices and ratios.
    """

    def __init__(self, bands: Sequence[Band], options: PixelOptions) -> None:
        record = BackboneRecord(
            name=PIXELS, family=PIXELS, source=None, bands=None, mean=None, std=None,
            image_px=1, licence=None, form="physical",
        )  # fmt: skip
        filters = tuple(StemFilter(band.name, "copied", {band.name: 1.0}) for band in bands)
        super().__init__(
            bands, record=record, stem_report=StemReport(filters), load_report=None
        )  # fmt: skip
        self._context = options.context
        self._deviations = options.deviations
        self._indices = index_pairs(bands) if options.indices else {}
        if options.indices and not self._indices:
            raise ConfigError(
                f"model.options.indices: the bands {[band.name for band in bands]} allow no "
                f"spectral index; name red, nir, … in data.sensor, or omit indices"
            )
        if options.ratios and not 1 < len(bands) <= MOST_BANDS_OF_RATIOS:
            raise ConfigError(
                f"model.options.ratios: {counted(len(bands), 'band')}; pairs are made of 2 to "
                f"{MOST_BANDS_OF_RATIOS} bands: choose some with data.use_bands, or omit ratios"
            )
        self._ratios = options.ratios
        if self._ratios == "local" and not options.context:
            raise ConfigError("model.options.ratios=local takes means of context; name its sides")
        self._stem = nn.Identity()

    @property
    def depth(self) -> int:
        """One block, so to speak."""
        return 1

    @property
    def dim(self) -> int:
        """Number of features of a pixel, D."""
        bands = len(self.bands)
        ratios = len(self._ratios_of) * bands * (bands + 1) // 2
        each = 2 if self._deviations else 1
        return bands * (1 + each * len(self._context)) + len(self._indices) + ratios

    @property
    def _ratios_of(self) -> tuple[int, ...]:
        """Sides of the squares whose means have ratios; 1 is the pixel itself."""
        if not self._ratios:
            return ()
        return (1, *self._context) if self._ratios == "local" else (1,)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What each of the D features is."""
        names = [band.name for band in self.bands]
        for side in self._context:
            names += [f"{band.name} mean {side}" for band in self.bands]
            if self._deviations:
                names += [f"{band.name} std {side}" for band in self.bands]
        names += self._indices
        for side in self._ratios_of:
            own = [f"{band.name}{f' mean {side}' if side > 1 else ''}" for band in self.bands]
            names += [f"log {name}" for name in own]
            names += [f"({a} - {b}) / ({a} + {b})" for a, b in itertools.combinations(own, 2)]
        return tuple(names)

    @property
    def patch_px(self) -> int:
        """A pixel."""
        return 1

    @property
    def halo_px(self) -> int | None:
        """How far around a pixel its features look."""
        return max(self._context, default=1) // 2

    @property
    def patch_embed(self) -> nn.Module:
        """What meets the bands: nothing but themselves."""
        return self._stem

    def sites(self) -> tuple[Site, ...]:
        """Return none: there is nothing to adapt."""
        return ()

    def forward(self, x: Tensor) -> Features:
        """Return the features of every pixel, and their mean over valid pixels."""
        found = self.features(Surroundings(self.enter(x)))
        valid = x.isfinite().all(dim=1, keepdim=True)
        total = valid.sum(dim=(2, 3)).clamp_min(1)
        return Features(found, torch.where(valid, found, 0.0).sum(dim=(2, 3)) / total)

    def dense(self, x: Tensor, depths: Sequence[int]) -> list[Tensor]:
        """Return the features of every pixel, (B, D, H, W), once per depth."""
        found = self.features(Surroundings(self.enter(x)))
        return [found for _ in depths]

    def features(self, given: Surroundings) -> Tensor:
        """Return the features of every pixel, (B, D, H, W), of what several backbones may share."""
        return torch.cat(self.pieces(given), dim=1)

    def pieces(self, given: Surroundings) -> list[Tensor]:
        """Return the features in parts (B, d, H, W): all but indices are tensors of ``given``."""
        found = [given.bands]
        for side in self._context:
            found += given.local(side)[: 2 if self._deviations else 1]
        for a, b in self._indices.values():
            first, second = given.bands[:, a : a + 1], given.bands[:, b : b + 1]
            found.append(normalised_difference(first, second))
        return found + [given.ratios(side) for side in self._ratios_of]


def build_pixels(spec: ModelSpec, bands: Sequence[Band] | None) -> PixelBackbone:
    """Build the backbone for these bands.

    Raises:
        ConfigError: An option that does not fit, or weights are asked for.
    """
    options = validate(PixelOptions, spec.options, "model.options (pixels)")
    if spec.checkpoint is not None or spec.pretrained:
        raise ConfigError("model.backbone=pixels has no weights; omit checkpoint and pretrained")
    if spec.zoom != 1:
        raise ConfigError("model.backbone=pixels sees single pixels; omit model.zoom")
    if spec.stem.reduce is not None:
        raise ConfigError("model.backbone=pixels takes bands as they are; omit model.stem.reduce")
    if bands is None:
        raise ConfigError("model.backbone=pixels has no bands of its own; omit model.stem.strategy")
    return PixelBackbone(bands, options)
