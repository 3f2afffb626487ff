"""Spectral bands, and how one list of bands is found in another: by name, never by position."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from rsmeta.errors import BandsMissingError

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

SpectrumPart: TypeAlias = Literal["reflected", "thermal", "microwave"]
FormulaKind: TypeAlias = Literal["ratio", "difference", "index"]

#: Common names of bands and the centre of their range in nm. Source: STAC extension
#: "Electro-Optical" (eo) 2.0, table of common band names.
COMMON_NAMES: dict[str, float] = {
    "pan": 700.0,
    "coastal": 427.5,
    "blue": 490.0,
    "green": 555.0,
    "green05": 530.0,
    "yellow": 600.0,
    "red": 655.0,
    "rededge": 740.0,
    "rededge071": 705.0,
    "rededge075": 740.0,
    "rededge078": 780.0,
    "nir": 830.0,
    "nir08": 865.0,
    "nir09": 945.0,
    "cirrus": 1375.0,
    "swir16": 1650.0,
    "swir22": 2215.0,
    "lwir": 11450.0,
    "lwir11": 10895.0,
    "lwir12": 12005.0,
}

#: Parts of the spectrum and where they end, in nm: reflected sunlight, thermal emission,
#: radar. What is seen in one says little about another.
_PARTS: tuple[tuple[SpectrumPart, float], ...] = (
    ("reflected", 3_000.0),
    ("thermal", 1e6),
    ("microwave", float("inf")),
)

#: The wide and the narrow near infrared are one band where a sensor has only one of them:
#: ``nir`` of Landsat 4-7 and Sentinel-2 B08, ``nir08`` of Landsat 8/9 (eo table).
STAND_INS = {"nir": "nir08", "nir08": "nir"}

#: What else common bands are called, without spaces, hyphens and underscores. Source: Planet,
#: "SuperDove" (PSB.SD) band descriptions; GDAL's colour interpretations.
_USUAL_NAMES = {
    "coastalblue": "coastal", "coastalaerosol": "coastal", "greeni": "green05",
    "greenii": "green", "rededge1": "rededge071", "rededge2": "rededge075",
    "rededge3": "rededge078", "nearinfrared": "nir", "nearir": "nir", "nnir": "nir08",
    "narrownir": "nir08", "nirnarrow": "nir08", "nir8a": "nir08", "watervapour": "nir09",
    "watervapor": "nir09", "swir1": "swir16", "swir2": "swir22", "panchromatic": "pan",
    "thermal": "lwir", "tir": "lwir",
}  # fmt: skip

#: Bands of one name whose wavelengths differ by a larger share are not the same band.
_OTHER = 0.1

# "B1", "B01", "b8a", and the prefixes of Landsat Collection 2 (SR_B4, ST_B10).
_NUMBERED = re.compile(r"(?:s[rt]_)?b(?:and)?[ _]?0*(\d+)(a?)")


@dataclass(frozen=True)
class Band:
    """One spectral band.

    Args:
        name: Name as in the sensor's documentation (``"B8A"``).
        common_name: STAC ``eo`` common name (``"nir08"``), the same across sensors; none where
            no such name fits.
        wavelength_nm: Centre wavelength in nanometres.
        gsd_m: Ground sample distance of the detector in metres; a file may be resampled.
        width_nm: Full width at half maximum in nanometres.
        formula: How it is computed from two other bands; none: it is measured.
    """

    name: str
    common_name: str | None = None
    wavelength_nm: float | None = None
    gsd_m: float | None = None
    width_nm: float | None = None
    formula: Formula | None = None

    @property
    def spectrum_part(self) -> SpectrumPart | None:
        """Whether the band sees reflected sunlight, heat or radar; none: no wavelength is known."""
        if self.wavelength_nm is None:
            return None
        return next(part for part, end in _PARTS if self.wavelength_nm < end)

    def __str__(self) -> str:
        """Return the name, with the common name where it adds something."""
        common = self.common_name
        if common is None or plain_key(common) == plain_key(self.name):
            return self.name
        return f"{self.name} ({common})"


class Formula(NamedTuple):
    """How a band is computed from two others.

    Attributes:
        kind: ``ratio``: first / second; ``difference``: first - second; ``index``: the
            normalised difference (first - second) / (first + second).
        first: The first of them.
        second: The second.
    """

    kind: FormulaKind
    first: Band
    second: Band

    def __str__(self) -> str:
        a, b = self.first.name, self.second.name
        return {
            "ratio": f"{a} / {b}", "difference": f"{a} - {b}", "index": f"({a} - {b}) / ({a} + {b})"
        }[self.kind]  # fmt: skip


def inputs(bands: Sequence[Band]) -> list[Band]:
    """Return bands with both inputs of those that are computed in their place."""
    parts = [[b] if b.formula is None else [b.formula.first, b.formula.second] for b in bands]
    return [band for own in parts for band in own]


def measured(bands: Sequence[Band]) -> tuple[Band, ...]:
    """Return bands with the inputs of those that are computed in their place, each once."""
    return tuple(dict.fromkeys(inputs(bands)))


def generic_band(common_name: str) -> Band:
    """Return the band that a common name alone stands for, of no sensor in particular."""
    return Band(common_name, common_name, COMMON_NAMES[common_name])


def plain_key(name: str) -> str:
    """Return a band name as it is compared: trimmed, lower case."""
    return name.strip().casefold()


def loose_key(name: str) -> str:
    """Return a band name as it is compared where spellings vary: B1 = B01 = SR_B1, B8a = B8A."""
    key = plain_key(name)
    numbered = _NUMBERED.fullmatch(key)
    return f"b{numbered[1]}{numbered[2]}" if numbered else key


def common_key(name: str) -> str:
    """Return the common name that a usual name of a band stands for, else the name itself."""
    key = re.sub(r"[ _-]+", "", plain_key(name))
    return _USUAL_NAMES.get(key, key if key in COMMON_NAMES else plain_key(name))


def select_bands(
    names: Sequence[str], available: Sequence[Band], source: object
) -> tuple[Band, ...]:
    """Return the bands of those names or common names, in the order of ``names``.

    Args:
        names: Band names in any spelling, or common names.
        available: Bands to choose from.
        source: What has these bands; for the message.

    Raises:
        BandsMissingError: A name fits no band, or fits several.
    """
    chosen = [_named(name, available) for name in names]
    missing = [name for name, band in zip(names, chosen, strict=True) if band is None]
    if missing:
        raise BandsMissingError(source, missing, [str(band) for band in available])
    return tuple(band for band in chosen if band is not None)


def _named(name: str, available: Sequence[Band]) -> Band | None:
    """Return the one band of that name: exact, then loose spelling, then common name."""
    for fits in (
        [band for band in available if plain_key(band.name) == plain_key(name)],
        [band for band in available if loose_key(band.name) == loose_key(name)],
        [band for band in available if band.common_name == plain_key(name)],
    ):
        if len(fits) == 1:
            return fits[0]
    return None


def find_band(wanted: Band, available: Sequence[Band]) -> int | None:
    """Return the index of one band in others: by name, else by common name; none: not there.

    As in ``match_bands``: equal names of bands with different common names are not the same
    band, and an only near infrared band stands for ``nir`` and ``nir08`` alike.
    """
    index = _index_of(wanted, available)
    return _stand_in(wanted, available, taken=()) if index is None else index


def band_at(centre_nm: float, available: Sequence[Band], within_nm: float) -> int | None:
    """Return the index of the band nearest to a wavelength; none: none lies that near."""
    far = [
        (abs(band.wavelength_nm - centre_nm), i)
        for i, band in enumerate(available)
        if band.wavelength_nm is not None
    ]
    return min(far)[1] if far and min(far)[0] <= within_nm else None


def match_bands(wanted: Sequence[Band], available: Sequence[Band], source: object) -> list[int]:
    """Find bands in a scene: by name, else by a common name that only one band has.

    Equal names of bands with different common names, or with wavelengths that lie far apart, are
    not the same band: B4 of Landsat 5 is near infrared, B4 of Landsat 8 is red. A sensor's only
    near infrared band is taken for ``nir`` and ``nir08`` alike, with a warning.

    Args:
        wanted: Bands that are needed, in the order in which they are needed.
        available: Bands of the scene in file order.
        source: The scene; for the message.

    Returns:
        For each wanted band its index in ``available``, from 0.

    Raises:
        BandsMissingError: A wanted band is not there.
    """
    found = find_named(wanted, available, source)
    missing = [str(band) for band, index in zip(wanted, found, strict=True) if index is None]
    if missing:
        raise BandsMissingError(source, missing, [str(band) for band in available])
    return [index for index in found if index is not None]


def find_named(
    wanted: Sequence[Band], available: Sequence[Band], source: object
) -> list[int | None]:
    """Return the index of each band in others, as of ``match_bands``; none: not there."""
    found = [_index_of(band, available) for band in wanted]
    for i, band in enumerate(wanted):
        if found[i] is None:
            found[i] = _stand_in(band, available, taken=found)
            if found[i] is not None:
                stand_in = available[found[i] or 0]
                logger.warning("%s: taking %s for the band %s", source, stand_in, band)
    return found


def _index_of(wanted: Band, available: Sequence[Band]) -> int | None:
    for key in (plain_key, loose_key):
        fits = [
            i
            for i, band in enumerate(available)
            if key(band.name) == key(wanted.name) and _may_be_same(band, wanted)
        ]
        if len(fits) == 1:
            return fits[0]
    return _index_of_common(wanted.common_name, available)


def _may_be_same(a: Band, b: Band) -> bool:
    if a.common_name is not None and b.common_name is not None:
        return a.common_name == b.common_name
    if a.wavelength_nm is None or b.wavelength_nm is None:
        return True
    return abs(a.wavelength_nm - b.wavelength_nm) <= _OTHER * max(a.wavelength_nm, b.wavelength_nm)


def _index_of_common(common_name: str | None, available: Sequence[Band]) -> int | None:
    fits = [i for i, band in enumerate(available) if band.common_name == common_name]
    return fits[0] if common_name is not None and len(fits) == 1 else None


def _stand_in(wanted: Band, available: Sequence[Band], taken: Sequence[int | None]) -> int | None:
    index = _index_of_common(STAND_INS.get(wanted.common_name or ""), available)
    return None if index in taken else index
