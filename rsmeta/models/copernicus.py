"""Copernicus-FM: a plain ViT whose filters are made of wavelength and width of each band."""

from __future__ import annotations

import datetime
import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.config.load import validate
from rsmeta.errors import CheckpointError
from rsmeta.geo.spectral_match import width_nm, with_widths
from rsmeta.models.dofa.build import GeneratedFamily, build_generated
from rsmeta.models.dofa.describe import describe_generated
from rsmeta.models.dofa.spectrum import Spectrum
from rsmeta.models.dofa.stem import Generated, is_radar_band
from rsmeta.models.names import COPERNICUS_LICENCE, COPERNICUS_NETWORKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.checkpoint import Checkpoint, StateDict
    from rsmeta.models.timm.vit import TimmViT

AT = "patch_embed_spectral."
_LANGUAGE = "patch_embed_variable."

#: Bands of Sentinel-2; what strategies other than ``match`` and ``wavelength`` start from.
SENTINEL2 = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")

#: Wavelength and width at which it was trained on Sentinel-1, nm, VV and VH alike; no physical
#: width. Source: zhu-xlab/Copernicus-FM, Copernicus-Bench/src/configs/dataset/*_s1.yaml.
RADAR_NM = (5e7, 1e9)

_Code = tuple[float, float]

#: Shortest and longest period of the sines that embed each number.
_PERIODS = {
    "wavelength": (100.0, 1e9), "width": (1.0, 1e9), "coord": (1e-4, 720.0),
    "scale": (1e-3, 5.1e8), "time": (1.0, 365.25),
}  # fmt: skip
_EPOCH_YEAR = 1970

_Latitude = Annotated[float, Field(ge=-90, le=90)]
_Longitude = Annotated[float, Field(ge=-180, le=180)]


class CopernicusOptions(Strict):
    """Facts about the scenes that a Copernicus-FM can use; learned tokens replace missing ones."""

    date: datetime.date | None = Field(default=None, description="acquisition date")
    location: tuple[_Latitude, _Longitude] | None = Field(
        default=None, description="[latitude, longitude], degrees"
    )
    gsd_m: float | None = Field(default=None, gt=0, description="pixel size, m")


def copernicus_code(band: Band) -> _Code | None:
    """Return wavelength and width, nm, that the filter of a band is made of; none: unknown."""
    if is_radar_band(band):
        return RADAR_NM
    width = width_nm(band)
    return None if band.wavelength_nm is None or width is None else (band.wavelength_nm, width)


def _label(code: _Code) -> str:
    return "radar" if code == RADAR_NM else f"{code[0]:g} ± {code[1] / 2:g} nm"


def _embed(codes: Sequence[_Code], dim: int) -> Tensor:
    waves, widths = torch.tensor(codes, dtype=torch.float32).unbind(1)
    return periods(waves, "wavelength", dim) + periods(widths, "width", dim)


def periods(numbers: Tensor, kind: str, dim: int) -> Tensor:
    """Return sines and cosines of numbers (N,) at periods evenly spread in logarithm, (N, dim)."""
    low, high = map(math.log10, _PERIODS[kind])
    each = torch.logspace(low, high, dim // 2, dtype=torch.float64)
    angles = torch.outer(numbers.double(), 2 * math.pi / each)
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


class _Filters(Generated):
    """Filters for bands whose width may have to be taken from their distance."""

    def fit(
        self, state: StateDict, spec: Any, recorded: Any, bands: Sequence[Band], *, source: str
    ) -> Any:
        """Replace the generator in ``state`` by filters for ``bands``."""
        return super().fit(state, spec, recorded, with_widths(bands), source=source)


COPERNICUS = GeneratedFamily(
    "copernicus",
    COPERNICUS_NETWORKS,
    _Filters(Spectrum("Copernicus-FM", SENTINEL2, copernicus_code, _label), _embed, AT),
    COPERNICUS_LICENCE,
    eps=1e-5,
)


def build_copernicus(spec: ModelSpec, bands: Sequence[Band] | None = None) -> TimmViT:
    """Build a Copernicus-FM, with its weights if some are named, for these bands.

    Args:
        spec: ``backbone`` (``copernicus_vit_b16``, with or without the tag of its weights),
            ``options`` (``date``, ``location``, ``gsd_m``, and timm's), ``checkpoint``,
            ``pretrained``, ``stem``.
        bands: Bands of the input, in its order; none: those of Sentinel-2.

    Raises:
        UnknownNameError: No Copernicus-FM of that name, or no weights of that tag.
        ConfigError: An option that it does not take, or a value that does not fit.
        CheckpointError: Weights that are unavailable or do not fit.
    """
    own = CopernicusOptions.known_keys()
    given = {key: value for key, value in spec.options.items() if key in own}
    options = validate(CopernicusOptions, given, f"model.options ({spec.backbone})")
    others = {key: value for key, value in spec.options.items() if key not in own}
    family = replace(COPERNICUS, settle=partial(fold_context, options))
    return build_generated(spec.model_copy(update={"options": others}), bands, family)


def fold_context(
    options: CopernicusOptions, state: StateDict, patch_px: int, source: str
) -> tuple[str, ...]:
    """Add what place, pixel size and date stand for to the positions of all tokens.

    A file that rsmeta wrote has it there already.

    Args:
        options: What is known of the scenes.
        state: Tensors of a checkpoint; changed.
        patch_px: Side of a patch, pixels.
        source: The checkpoint; for messages.

    Returns:
        Names of the tensors that were used up, or belong to variables that are no bands.

    Raises:
        CheckpointError: A tensor is missing or does not fit.
    """
    names = tuple(k for k in state if k.startswith(_LANGUAGE) or k.partition(".")[0] in _USED)
    used = {name: state.pop(name).float() for name in names}
    if "coord_token" not in used:
        return names
    try:
        dim = state["pos_embed"].shape[-1]
        total = torch.zeros(dim)
        for kind, known in _embedded(options, patch_px, dim).items():
            vector = used[f"{kind}_token"].flatten() if known is None else known
            total = total + functional.linear(
                vector, used[f"{kind}_fc.weight"], used[f"{kind}_fc.bias"]
            )
        state["pos_embed"] = state["pos_embed"].float() + total
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{source} does not embed place, pixel size and date as a Copernicus-FM does; get the "
            f"file again"
        ) from error
    return names


_USED = frozenset(f"{kind}_{part}" for kind in ("coord", "scale", "time") for part in
                  ("fc", "token"))  # fmt: skip


def _embedded(options: CopernicusOptions, patch_px: int, dim: int) -> dict[str, Tensor | None]:
    """Return what is known of the scenes, embedded, (D,); none: nothing."""
    found: dict[str, Tensor | None] = dict.fromkeys(("coord", "scale", "time"))
    if options.location is not None:
        latitude, longitude = options.location
        both = torch.tensor([longitude + 180, latitude + 90])
        pair = periods(both, "coord", dim // 2).flatten()
        found["coord"] = functional.pad(pair, (0, dim - len(pair)))
    if options.gsd_m is not None:
        area_km2 = (patch_px * options.gsd_m / 1000) ** 2
        found["scale"] = periods(torch.tensor([area_km2]), "scale", dim)[0]
    if options.date is not None:
        days = (options.date - options.date.replace(_EPOCH_YEAR, 1, 1)).days
        found["time"] = periods(torch.tensor([float(days)]), "time", dim)[0]
    return found


def describe_copernicus(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Return what a published file says of itself; none: it is no Copernicus-FM."""
    (name,) = COPERNICUS_NETWORKS
    return describe_generated(checkpoint, "Copernicus-FM", COPERNICUS_LICENCE, AT, lambda _: name)
