"""Radar backscatter: which bands hold it, and whether as decibels, linear or digital numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rsmeta.geo.bands import Band

RadarUnit: TypeAlias = Literal["decibels", "linear backscatter", "digital numbers"]

#: A polarisation, or "SAR" of a radar with one, with words around it: "Sigma0_VV_db", "gamma0 VH".
_RADAR = re.compile(r"(?:.*[\W_])?(vv|vh|hh|hv|sar)(?:[\W_].*)?", re.I)
_POLARISATIONS = re.compile(r"(?<![a-z])(vv|vh|hh|hv)(?![a-z])", re.I)
#: Linear backscatter of natural surfaces lies below this; amplitudes in digital numbers do not.
_LARGEST_LINEAR = 10.0


def is_radar(band: Band) -> bool:
    """Return whether a band holds backscatter: by its wavelength, else by its polarisation."""
    if band.formula is not None:
        return is_radar(band.formula.first) and is_radar(band.formula.second)
    if band.spectrum_part is not None:
        return band.spectrum_part == "microwave"
    return band.common_name is None and _RADAR.fullmatch(band.name) is not None


def polarisation_name(description: str) -> str | None:
    """Return the polarisation that a description names, or the ratio of two; none: neither.

    ``"Sigma0_VV_db"`` is ``"VV"``; ``"VV/VH"``, ``"ratio_VV_VH"`` are ``"VV/VH"``.
    """
    found: list[str] = [
        name.upper() for name in _POLARISATIONS.findall(description.replace("_", " "))
    ]
    if len(found) == 1:
        return found[0]
    return "/".join(found) if len(found) == 2 and found[0] != found[1] else None


def radar_unit(mean: float) -> RadarUnit:
    """Return what backscatter of that mean is in: only decibels are negative."""
    if mean < 0:
        return "decibels"
    return "linear backscatter" if mean <= _LARGEST_LINEAR else "digital numbers"


def radar_units(bands: Iterable[Band], means: Iterable[float]) -> dict[str, RadarUnit]:
    """Return what each band of radar is in, by name; ratios of two polarisations have no unit."""
    return {
        band.name: radar_unit(mean)
        for band, mean in zip(bands, means, strict=True)
        if is_radar(band) and band.formula is None and not _is_ratio(band.name)
    }


def _is_ratio(name: str) -> bool:
    return "/" in name or "ratio" in name.lower()
