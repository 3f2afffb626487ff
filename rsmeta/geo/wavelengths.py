"""Centre wavelengths and widths of bands, wherever a raster states them, in nanometres."""

from __future__ import annotations

import math
import re
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: Keys of tags and header fields, without their unit, in lower case and with underscores.
_CENTRES = frozenset(
    {"wavelength", "wavelengths", "center_wavelength", "centre_wavelength", "central_wavelength",
     "wavelength_center", "wavelength_centre", "band_wavelength", "radiation_wavelength",
     "sensor_band_central_radiation_wavelength"}
)  # fmt: skip
_WIDTHS = frozenset(
    {"fwhm", "bandwidth", "band_width", "full_width_half_max", "full_width_half_maximum"}
)
_GOOD = frozenset({"bbl", "good_wavelengths", "good_bands", "good"})
_KEY_UNIT = re.compile(r"_(nm|um|nanometers?|micrometers?|microns?)$")

_NUMBER = r"\d+(?:\.\d*)?(?:e[+-]?\d+)?"
_UNIT = r"nanomet(?:er|re)s?|nm|micromet(?:er|re)s?|microns?|[u\u00b5\u03bc]m|angstroms?"
#: "483.0 nm", "Band 12 (560.4 nm)", "B4, central wavelength 665 nm", "0.483 Micrometers".
_STATED = re.compile(rf"(?<![\d.])({_NUMBER})\s*({_UNIT})(?![a-z])", re.I)
_RANGE = re.compile(
    rf"(?<![\d.])({_NUMBER})\s*(?:-|\u2013|to)\s*({_NUMBER})\s*({_UNIT})(?![a-z])", re.I
)
_STATED_WIDTH = re.compile(
    rf"(?:fwhm|band ?width|width)\W{{0,3}}({_NUMBER})\s*({_UNIT})(?![a-z])"
    rf"|({_NUMBER})\s*({_UNIT})\s*(?:fwhm|wide|width)",
    re.I,
)
#: A number alone counts if it has decimals, as no year and no number of a band has, …
_BARE = re.compile(r"\s*(\d{3,5}\.\d+)\s*")
#: … or a word that says what it is.
_BARE_WORD = re.compile(
    rf"\s*(?:central |center |centre )?(?:wavelength|wl|λ)[ _=:]*({_NUMBER})\s*", re.I
)
_NO_NAME = re.compile(r"(?:band|layer|channel|spectral|b|ch)?[ _#.-]*\d*[ _.-]*", re.I)
_WORDS_BESIDE = re.compile(r"(?:central|center|centre)?[ _]*(?:wavelength|wl|λ)[ _=:]*", re.I)

#: Nanometres in a unit of length, by its name without the plural.
_LENGTHS = {
    "nm": 1.0, "nanometer": 1.0, "nanometre": 1.0, "um": 1e3, "\u00b5m": 1e3, "\u03bcm": 1e3,
    "micrometer": 1e3, "micrometre": 1e3, "micron": 1e3, "angstrom": 0.1, "\u00e5": 0.1, "mm": 1e6,
    "millimeter": 1e6, "millimetre": 1e6, "cm": 1e7, "centimeter": 1e7, "centimetre": 1e7,
    "m": 1e9, "meter": 1e9, "metre": 1e9,
}  # fmt: skip
#: What is divided by a frequency, or a number of waves per centimetre, to have nanometres.
_RECIPROCALS = {
    "ghz": 299_792_458.0, "mhz": 299_792_458e3, "wavenumber": 1e7, "cm-1": 1e7, "1/cm": 1e7,
    "cm^-1": 1e7,
}  # fmt: skip
_UNSTATED = frozenset({"", "unknown", "none"})
#: Without a unit, numbers up to this are micrometres.
_LARGEST_UM = 100.0
#: Shorter waves than ultraviolet ones are a mistake: 0 stands for a channel that is not used.
_SHORTEST_NM = 100.0

#: Metadata beside the image of EnMAP and DESIS. Source: EnMAP HSI Level 1B/1C/2A Product
#: Specification; DESIS Data Products Specification: ``specific/bandCharacterisation``.
_IMAGE_OF_PRODUCT = re.compile(r"(.+)-SPECTRAL_IMAGE(?:_COG)?\.(?:tiff?|bsq|bil|bip)", re.I)
_PRODUCT_CENTRE = re.compile(r"<wavelengthCenterOfBand[^>]*>\s*([^<\s]+)")
_PRODUCT_WIDTH = re.compile(r"<(?:FWHMOfBand|wavelengthWidthOfBand)[^>]*>\s*([^<\s]+)")


class SpectralNote(NamedTuple):
    """What a raster states of one band.

    Attributes:
        centre_nm: Centre wavelength; none: not stated.
        width_nm: Full width at half maximum; none: not stated.
        is_good: False where a bad-band list names the band.
        name: What its description says beside the wavelength; empty: no more than a number.
    """

    centre_nm: float | None = None
    width_nm: float | None = None
    is_good: bool = True
    name: str = ""


class _Quantity(NamedTuple):
    """A number as it is written, with its unit; none: none is written."""

    text: str
    unit: str | None


def spectral_notes(dataset: Any) -> tuple[SpectralNote, ...]:
    """Return what a raster states of the spectrum of each band, in file order.

    The first of these that states a quantity for a band counts: the band's tags, GDAL's domain
    IMAGERY, lists in the header (ENVI) or the dataset's tags, the metadata of EnMAP and DESIS
    beside the image, the band's description. Without a unit, numbers up to 100 are micrometres.

    Args:
        dataset: The raster, opened.
    """
    tags = [_band_tags(dataset, index) for index in range(1, dataset.count + 1)]
    lists = _lists(dataset)
    product = _product(dataset)
    texts = [text or "" for text in dataset.descriptions]
    centres = _first(
        [_tagged(one, _CENTRES) for one in tags], lists(_CENTRES), product(_PRODUCT_CENTRE),
        [_described(text) for text in texts], _bare(texts),
    )  # fmt: skip
    widths = _first(
        [_tagged(one, _WIDTHS) for one in tags], lists(_WIDTHS), product(_PRODUCT_WIDTH),
        [_described_width(text) for text in texts],
    )  # fmt: skip
    goods = _first([_tagged(one, _GOOD) for one in tags], lists(_GOOD))
    nm, widths_nm = _in_nm(centres), _widths_in_nm(widths, centres)
    return tuple(
        SpectralNote(centre, width, good is None or not _is_no(good.text), own_name(text))
        for centre, width, good, text in zip(nm, widths_nm, goods, texts, strict=True)
    )


def own_name(description: str) -> str:
    """Return what a description says beside a wavelength; empty: a band's number at most."""
    rest = description
    for pattern in (_STATED_WIDTH, _RANGE, _STATED):
        rest = pattern.sub(" ", rest)
    rest = _WORDS_BESIDE.sub(" ", rest)
    rest = re.sub(r"\(\s*(?:\d+(?:\.\d+)?)?\s*\)|\[\s*\]", " ", rest).strip(" ,;:-\u2013@()")
    is_none = _NO_NAME.fullmatch(rest) or _BARE.fullmatch(rest)
    return "" if is_none else " ".join(rest.split())


def wavelength_names(centres_nm: Sequence[float]) -> list[str]:
    """Return a name for each band without one: ``w0483`` at 483 nm; ``w0483_2`` is the second."""
    names: list[str] = []
    for centre in centres_nm:
        name = f"w{round(centre):04d}"
        times = sum(other.partition("_")[0] == name for other in names)
        names.append(f"{name}_{times + 1}" if times else name)
    return names


def _band_tags(dataset: Any, index: int) -> dict[str, str]:
    """Return the tags of a band by plain keys; GDAL rounds what its domain IMAGERY holds."""
    found: dict[str, str] = {}
    for tags in (dataset.tags(index), dataset.tags(index, ns="IMAGERY")):
        for key, value in tags.items():
            found.setdefault(_plain(key), str(value))
    return found


def _plain(key: str) -> str:
    return re.sub(r"[ -]+", "_", key.strip().lower()).rsplit(":", 1)[-1]


def _tagged(tags: Mapping[str, str], keys: frozenset[str]) -> _Quantity | None:
    """Return the quantity under one of those keys, "fwhm" as well as "fwhm_nm"."""
    for key, text in tags.items():
        suffix = _KEY_UNIT.search(key)
        bare = key[: suffix.start()] if suffix else key
        if bare in keys and text.strip():
            stated = _STATED.fullmatch(text.strip())
            if stated is not None:
                return _Quantity(stated[1], stated[2])
            return _Quantity(text, suffix[1] if suffix else _unit_in(tags, bare))
    return None


def _unit_in(tags: Mapping[str, str], key: str) -> str | None:
    names = [f"{own}_{word}" for own in (key, "wavelength") for word in ("units", "unit")]
    return next((tags[name] for name in names if name in tags), None)


def _lists(dataset: Any) -> Callable[[frozenset[str]], list[_Quantity | None]]:
    """Return a function that gives the list under one of some keys, one quantity per band."""
    domains = [dataset.tags(ns="ENVI"), dataset.tags()]
    plain = [{_plain(key): str(value) for key, value in domain.items()} for domain in domains]

    def list_of(keys: frozenset[str]) -> list[_Quantity | None]:
        for tags in plain:
            found = _tagged(tags, keys)
            values = re.findall(r"[^\s,{}\[\]()]+", found.text) if found else []
            if found and len(values) == dataset.count:
                return [_Quantity(value, found.unit) for value in values]
        return [None] * dataset.count

    return list_of


def _product(dataset: Any) -> Callable[[re.Pattern[str]], list[_Quantity | None]]:
    """Return a function that gives what the metadata beside the image of a product state."""
    path = Path(str(dataset.name))
    image = _IMAGE_OF_PRODUCT.fullmatch(path.name)
    files = (
        [path.with_name(f"{image[1]}-METADATA.{end}") for end in ("XML", "xml")] if image else []
    )
    text = next((f.read_text(encoding="utf-8", errors="replace") for f in files if f.is_file()), "")

    def values_of(pattern: re.Pattern[str]) -> list[_Quantity | None]:
        values = pattern.findall(text)
        if len(values) != dataset.count:
            return [None] * dataset.count
        return [_Quantity(value, "nm") for value in values]

    return values_of


def _described(text: str) -> _Quantity | None:
    """Return the wavelength that a description states with its unit."""
    text = _STATED_WIDTH.sub(" ", text)
    ends = _RANGE.search(text)
    if ends is not None:
        return _Quantity(str((float(ends[1]) + float(ends[2])) / 2), ends[3])
    stated = _STATED.search(text)
    return None if stated is None else _Quantity(stated[1], stated[2])


def _described_width(text: str) -> _Quantity | None:
    width, ends = _STATED_WIDTH.search(text), _RANGE.search(text)
    if width is not None:
        return _Quantity(width[1] or width[3], width[2] or width[4])
    return None if ends is None else _Quantity(str(float(ends[2]) - float(ends[1])), ends[3])


def _bare(texts: Sequence[str]) -> list[_Quantity | None]:
    """Return descriptions that are nothing but wavelengths without a unit, all of them."""
    for pattern in (_BARE_WORD, _BARE):
        matches = [pattern.fullmatch(text) for text in texts]
        if texts and all(matches):
            return [_Quantity(match[1], None) for match in matches if match is not None]
    return [None] * len(texts)


def _first(*columns: Sequence[_Quantity | None]) -> list[_Quantity | None]:
    """Return for each band the first quantity that is stated."""
    return [next((q for q in row if q is not None), None) for row in zip(*columns, strict=True)]


def _in_nm(quantities: Sequence[_Quantity | None]) -> list[float | None]:
    unit = _usual_unit(quantities)
    found = [None if q is None else _nm(_number(q.text), q.unit, unit) for q in quantities]
    return [nm if nm is not None and nm >= _SHORTEST_NM else None for nm in found]


def _widths_in_nm(
    widths: Sequence[_Quantity | None], centres: Sequence[_Quantity | None]
) -> list[float | None]:
    unit = _usual_unit(centres)
    found: list[float | None] = []
    for width, centre in zip(widths, centres, strict=True):
        value = None if width is None else _number(width.text)
        own = None if width is None else width.unit or (centre.unit if centre else None)
        at = None if centre is None else _number(centre.text)
        if value is not None and at and _key(own) in _RECIPROCALS:
            found.append(_RECIPROCALS[_key(own)] * value / at**2)
        else:
            found.append(_nm(value, own, unit))
    return found


def _usual_unit(quantities: Sequence[_Quantity | None]) -> str:
    """Return the unit of wavelengths that are written without one, from their size."""
    bare = [_number(q.text) for q in quantities if q is not None and _key(q.unit) in _UNSTATED]
    values = [value for value in bare if value is not None]
    return "um" if values and median(values) <= _LARGEST_UM else "nm"


def _nm(value: float | None, unit: str | None, usual: str) -> float | None:
    """Return a wavelength in nanometres; none where the number or its unit is no such thing."""
    key = _key(unit)
    key = usual if key in _UNSTATED else key
    if value is None:
        return None
    if key in _RECIPROCALS:
        return _RECIPROCALS[key] / value
    return value * _LENGTHS[key] if key in _LENGTHS else None


def _key(unit: str | None) -> str:
    key = (unit or "").strip().lower()
    return key if key in _LENGTHS or key in _RECIPROCALS else key.removesuffix("s")


def _number(text: str) -> float | None:
    """Return a number above 0; none: it is none, or says that there is none (0, -9999, nan)."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _is_no(text: str) -> bool:
    """Return whether an entry of a list of good bands says no."""
    if text.strip().lower() in ("false", "no"):
        return True
    try:
        return float(text) == 0
    except ValueError:
        return False
