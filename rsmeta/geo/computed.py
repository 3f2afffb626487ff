"""Bands that are computed from two others: ratios, differences, spectral indices."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.geo.bands import (
    COMMON_NAMES,
    Band,
    Formula,
    FormulaKind,
    band_at,
    find_band,
    generic_band,
    plain_key,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Spectral indices, each (a - b) / (a + b) of two bands by STAC common name.
#:
#: Source: NDVI, Rouse et al. 1974; NDWI, McFeeters 1996; MNDWI, Xu 2006; NDMI (also NDII),
#: Hardisky et al. 1983; NBR, Key and Benson 2006; NDRE, Gitelson and Merzlyak 1994.
INDICES: dict[str, tuple[str, str]] = {
    "ndvi": ("nir", "red"),
    "ndwi": ("green", "nir"),
    "mndwi": ("green", "swir16"),
    "ndmi": ("nir", "swir16"),
    "nbr": ("nir", "swir22"),
    "ndre": ("nir", "rededge"),
}

#: A band without common name stands for one whose centre is as near as this.
_NEAR_NM = 15.0
#: Sums of two bands smaller than this count as 0, and so does their index.
_NOTHING = 1e-6

_INDEX = re.compile(r"\(\s*(.+?)\s*-\s*(.+?)\s*\)\s*/\s*\(\s*(.+?)\s*\+\s*(.+?)\s*\)")
_SIGNS: dict[str, FormulaKind] = {"/": "ratio", "-": "difference"}


def named_band(name: str, available: Sequence[Band]) -> Band:
    """Return the band that a user's name means: one of those that there are, or a computed one.

    Computed bands are ``A/B``, ``A-B`` or ``(A-B)/(A+B)`` of names of bands, or the name of an
    index: ``ndvi``. What a band is called comes first: ``VV/VH`` may be one of the file's.
    """
    plain = _plain_band(name)
    if find_band(plain, available) is not None:
        return plain
    formula = _formula(name, available)
    return plain if formula is None else Band(name, formula=formula)


def index_pairs(bands: Sequence[Band]) -> dict[str, tuple[int, int]]:
    """Return the indices that these bands allow, each with the places of its two bands.

    Bands are found by common name, else by a wavelength near to its centre.
    """
    places: dict[str, int] = {}
    for place, band in enumerate(bands):
        if band.common_name is not None:
            places.setdefault(band.common_name, place)
    for name in {name for pair in INDICES.values() for name in pair} - places.keys():
        near = band_at(COMMON_NAMES[name], bands, _NEAR_NM)
        if near is not None and bands[near].common_name is None:
            places[name] = near
    return {
        name: (places[a], places[b])
        for name, (a, b) in INDICES.items()
        if a in places and b in places
    }


def compute(
    bands: Sequence[Band],
    read: NDArray[np.float32],
    known: NDArray[np.bool_],
    data: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Fill in bands from what has been read; a ratio or index is 0 where its denominator is.

    Args:
        bands: The C bands.
        read: Physical values of each, or of both inputs of one that is computed, (P, h, w).
        known: Where these have data, (P, h, w).
        data: Takes the bands, (C, h, w); 0 without data.

    Returns:
        Where they have data, (C, h, w).
    """
    has_data = np.empty(data.shape, np.bool_)
    place = 0
    for band, values, own in zip(bands, data, has_data, strict=True):
        if band.formula is None:
            values[...], own[...] = read[place], known[place]
            place += 1
        else:
            own[...] = known[place] & known[place + 1]
            values[...] = _value(band.formula.kind, read[place], read[place + 1])
            np.copyto(values, 0, where=~own)
            place += 2
    return has_data


def _value(
    kind: FormulaKind, first: NDArray[np.float32], second: NDArray[np.float32]
) -> NDArray[np.float32]:
    if kind == "difference":
        return first - second
    over = second if kind == "ratio" else first + second
    is_zero = over == 0 if kind == "ratio" else np.abs(over) <= _NOTHING
    value = (first if kind == "ratio" else first - second) / np.where(is_zero, 1, over)
    limit = np.finfo(np.float32).max if kind == "ratio" else 1
    found: NDArray[np.float32] = np.where(is_zero, 0, value.clip(-limit, limit))
    return found


def _plain_band(name: str) -> Band:
    return generic_band(name) if name in COMMON_NAMES else Band(name)  # a sensor's own name


def _formula(name: str, available: Sequence[Band]) -> Formula | None:
    """Return what a name says a band is computed from; none: nothing that is there."""
    if plain_key(name) in INDICES:
        first, second = INDICES[plain_key(name)]
        return Formula("index", generic_band(first), generic_band(second))
    parts = _INDEX.fullmatch(name.strip())
    if parts is not None and parts[1] == parts[3] and parts[2] == parts[4]:
        return Formula("index", _plain_band(parts[1]), _plain_band(parts[2]))
    for place, sign in enumerate(name):
        sides = [_plain_band(side.strip()) for side in (name[:place], name[place + 1 :])]
        if sign in _SIGNS and all(find_band(side, available) is not None for side in sides):
            return Formula(_SIGNS[sign], *sides)
    return None
