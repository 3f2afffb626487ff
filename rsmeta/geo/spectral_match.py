"""Make the bands that a model needs out of a scene's: by name, else by wavelength and width."""

from __future__ import annotations

import logging
from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from rsmeta.errors import BandsMissingError
from rsmeta.geo.bands import Band, find_named

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

#: Usual width of bands of a common name. Source: STAC extension "Electro-Optical" (eo) 2.0,
#: table of common band names; nir as of Landsat 4 and 5, around the centre of that table.
_USUAL_WIDTHS_NM = {
    "pan": 400.0, "coastal": 50.0, "blue": 80.0, "green": 90.0, "green05": 40.0, "yellow": 40.0,
    "red": 70.0, "rededge": 100.0, "rededge071": 30.0, "rededge075": 40.0, "rededge078": 40.0,
    "nir": 140.0, "nir08": 100.0, "nir09": 100.0, "cirrus": 50.0, "swir16": 200.0,
    "swir22": 270.0, "lwir": 2100.0, "lwir11": 590.0, "lwir12": 1010.0,
}  # fmt: skip

#: Bands nearer than this are at one wavelength, nm.
_SAME_NM = 0.5
#: Bands of unknown width that stand closer than this are taken to be as wide as their distance.
_DENSE_NM = 50.0
#: So many neighbours on each side say what their usual distance is.
_AROUND = 2
#: Bands are averaged where they cover this share of the range that is needed, …
_COVERED = 0.5
#: … and made of bands at most this many times wider than what is needed.
_WIDER = 2.0
#: Between bands that are no further apart than this, values are interpolated, nm.
_GAP_NM = 40.0
#: So many bands made of others are logged one by one.
_MOST_LINES = 16


class Mix(NamedTuple):
    """What one band is made of.

    Attributes:
        shares: Share of each of the bands that there are, by index; they sum to 1.
        how: Empty: it is one of them by name; else how it is made, for people.
    """

    shares: dict[int, float]
    how: str = ""


@dataclass(frozen=True)
class _Extent:
    """Where in the spectrum a band sees, nm."""

    centre_nm: float
    width_nm: float | None

    @property
    def ends_nm(self) -> tuple[float, float]:
        """First and last wavelength; the centre twice where the width is unknown."""
        half = (self.width_nm or 0.0) / 2
        return self.centre_nm - half, self.centre_nm + half


def mix_bands(wanted: Sequence[Band], available: Sequence[Band], source: object) -> list[Mix]:
    """Find or make bands in a scene: names win; else those of its bands that see the same.

    A band that no name finds is the mean of the bands inside its range, each weighted by the width
    that it has in common with it, where they cover half of the range; else it is interpolated
    between its two neighbours, where these are close. Bands more than twice as wide as what is
    needed say too little about it: a model for narrow bands cannot have them from a few wide ones.

    Args:
        wanted: Bands that are needed, in the order in which they are needed.
        available: Bands of the scene in file order.
        source: The scene; for messages.

    Returns:
        What each wanted band is made of.

    Raises:
        BandsMissingError: A wanted band can neither be found nor made.
    """
    indexes = find_named(wanted, available, source)
    found: list[Mix | None] = [None if index is None else Mix({index: 1.0}) for index in indexes]
    missing = [i for i, mix in enumerate(found) if mix is None]
    reasons: dict[int, str] = {}
    if missing:
        needed, have = _extents(wanted), _extents(available)
        for i in missing:
            same_part = [
                at if at is not None and band.spectrum_part == wanted[i].spectrum_part else None
                for at, band in zip(have, available, strict=True)
            ]
            made = _made(needed[i], same_part, available)
            if isinstance(made, Mix) and wanted[i].spectrum_part != "microwave":
                found[i] = made
            else:
                reasons[i] = made if isinstance(made, str) else ""
    if reasons:
        # That a band is too wide says more than that none is near.
        told = min(reasons, key=lambda i: not reasons[i].endswith("wide"))
        raise BandsMissingError(
            source, [str(wanted[i]) for i in reasons], [str(band) for band in available],
            reasons[told] and f"{wanted[told].name} {reasons[told]}",
        )  # fmt: skip
    mixes = [mix for mix in found if mix is not None]
    _log(wanted, mixes, source)
    return mixes


def _log(wanted: Sequence[Band], mixes: Sequence[Mix], source: object) -> None:
    lines = [f"{band} is {mix.how}" for band, mix in zip(wanted, mixes, strict=True) if mix.how]
    for line in lines[:_MOST_LINES]:
        logger.info("%s: %s", source, line)
    if len(lines) > _MOST_LINES:
        logger.info("%s: likewise %d more bands", source, len(lines) - _MOST_LINES)


def _made(
    needed: _Extent | None, have: Sequence[_Extent | None], available: Sequence[Band]
) -> Mix | str:
    """Return what a band is made of by wavelength, or why it cannot be; empty: no wavelength."""
    places = [(i, at) for i, at in enumerate(have) if at is not None]
    if needed is None or not places:
        return ""
    return (
        _averaged(needed, places, available)
        or _interpolated(needed, places, available)
        or _why_not(needed, places, available)
    )


def _averaged(
    needed: _Extent, places: Sequence[tuple[int, _Extent]], available: Sequence[Band]
) -> Mix | None:
    """Return the mean of the bands inside a range, by the width that each shares with it."""
    if not needed.width_nm:
        return None
    low, high = needed.ends_nm
    pieces = []
    for i, at in places:
        start, end = max(at.ends_nm[0], low), min(at.ends_nm[1], high)
        if start < end and _is_fine(at, needed):
            pieces.append((start, end, i))
    covered, reach = 0.0, low
    for start, end, _ in sorted(pieces):
        covered += max(end - max(start, reach), 0.0)
        reach = max(reach, end)
    if covered < _COVERED * needed.width_nm:
        return None
    total = sum(end - start for start, end, _ in pieces)
    shares = {i: (end - start) / total for start, end, i in pieces}
    if len(shares) == 1:
        return Mix(shares, f"taken from {_text(available[next(iter(shares))])}")
    inside = sorted((available[i] for i in shares), key=lambda band: band.wavelength_nm or 0.0)
    ends = f"{_text(inside[0])} to {_text(inside[-1])}"
    return Mix(shares, f"the mean of {len(shares)} bands, {ends}")


def _interpolated(
    needed: _Extent, places: Sequence[tuple[int, _Extent]], available: Sequence[Band]
) -> Mix | None:
    """Return what lies between the nearest bands on both sides, where these are close."""
    fine = [(at.centre_nm - needed.centre_nm, i) for i, at in places if _is_fine(at, needed)]
    if not fine:
        return None
    distance, nearest = min(fine, key=lambda one: abs(one[0]))
    if abs(distance) < _SAME_NM:
        return Mix({nearest: 1.0}, f"taken from {_text(available[nearest])}")
    below = max((one for one in fine if one[0] < 0), default=None)
    above = min((one for one in fine if one[0] > 0), default=None)
    if below is None or above is None or above[0] - below[0] > _GAP_NM:
        return None
    share = above[0] / (above[0] - below[0])
    how = f"interpolated between {_text(available[below[1]])} and {_text(available[above[1]])}"
    return Mix({below[1]: share, above[1]: 1 - share}, how)


def _is_fine(at: _Extent, needed: _Extent) -> bool:
    """Return whether a band is narrow enough to stand for a part of what is needed."""
    if at.width_nm is None:
        return True
    return at.width_nm <= (_WIDER * needed.width_nm if needed.width_nm else _GAP_NM)


def _why_not(
    needed: _Extent, places: Sequence[tuple[int, _Extent]], available: Sequence[Band]
) -> str:
    width = f" and {needed.width_nm:.3g} nm wide" if needed.width_nm else ""
    what = f"is at {needed.centre_nm:.5g} nm{width}"
    i, at = min(places, key=lambda one: abs(one[1].centre_nm - needed.centre_nm))
    low, high = at.ends_nm
    if not _is_fine(at, needed) and low <= needed.centre_nm <= high:
        return f"{what}, and {_text(available[i])} is {at.width_nm:.3g} nm wide"
    return f"{what}, and the nearest band is {_text(available[i])}"


def _text(band: Band) -> str:
    return f"{band.name} ({band.wavelength_nm:.5g} nm)"


def _extents(bands: Sequence[Band]) -> list[_Extent | None]:
    """Return where each band sees; a width that is not stated is the usual one, or the distance."""
    centres = sorted({band.wavelength_nm for band in bands if band.wavelength_nm is not None})
    return [
        None
        if band.wavelength_nm is None
        else _Extent(band.wavelength_nm, width_nm(band) or _spacing(band.wavelength_nm, centres))
        for band in bands
    ]


def width_nm(band: Band) -> float | None:
    """Return the width of a band in nm, else that of bands of its common name, if it has one."""
    return band.width_nm or _USUAL_WIDTHS_NM.get(band.common_name or "")


def with_widths(bands: Sequence[Band]) -> tuple[Band, ...]:
    """Return bands with a width: their own, the usual one, or their distance from each other."""
    return tuple(
        band if extent is None else replace(band, width_nm=extent.width_nm)
        for band, extent in zip(bands, _extents(bands), strict=True)
    )


def _spacing(centre: float, centres: Sequence[float]) -> float | None:
    """Return the usual distance of bands around a wavelength, where they stand densely."""
    place = bisect_left(centres, centre)
    around = centres[max(place - _AROUND, 0) : place + _AROUND + 1]
    gaps = [right - left for left, right in pairwise(around)]
    gap = median(gaps) if gaps else 0.0
    return gap if _SAME_NM <= gap <= _DENSE_NM else None
