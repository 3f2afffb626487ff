"""Which bands a file holds that does not name them: by its name, tags, pixel size and type."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rsmeta.errors import enumerate_names
from rsmeta.geo.grid import Grid
from rsmeta.geo.handles import open_raster
from rsmeta.geo.metadata import plain_tags
from rsmeta.geo.scene import ReadRules
from rsmeta.geo.sensors import load_sensor
from rsmeta.workflows.init.guess import Guess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.errors import BandsUnrecognisedError

#: What names of files, folders and tags say of the sensor; the first that fits counts.
_HINTS = (
    (r"(?<![a-z0-9])(l[coe]0?7|l7|etm)(?![0-9])|landsat[ _-]?7", "landsat_etm"),
    (r"(?<![a-z0-9])(lt0?[45]|l[45]|tm)(?![a-z0-9])|landsat[ _-]?[45]", "landsat_tm"),
    (r"(?<![a-z0-9])(l[co]0?[89]|l[89]|oli)(?![a-z0-9])|landsat[ _-]?[89]", "landsat_oli"),
    (r"(?<![a-z0-9])(s2[ab]?|msi|t\d\d[a-z]{3})(?![a-z0-9])|sentinel[ _-]?2", "sentinel2_l2a"),
    (r"(?<![a-z0-9])naip", "naip"),
)


class _Order(NamedTuple):
    """Bands in an order in which they are often stacked, and pixel sizes in m that suit it."""

    sensor: str | None
    bands: tuple[str, ...]
    gsd_m: tuple[float, float]


_LANDSAT_M, _SENTINEL2_M, _AERIAL_M = (14.0, 35.0), (9.0, 22.0), (0.0, 5.0)
_VISIBLE = ("blue", "green", "red", "nir", "swir16", "swir22")

#: Of several that fit, the first counts.
_ORDERS = (
    _Order("landsat_etm", ("B1", "B2", "B3", "B4", "B5", "B7"), _LANDSAT_M),
    _Order("landsat_etm", ("B1", "B2", "B3", "B4", "B5", "B6", "B7"), _LANDSAT_M),
    _Order("landsat_tm", ("B1", "B2", "B3", "B4", "B5", "B7"), _LANDSAT_M),
    _Order("landsat_tm", ("B1", "B2", "B3", "B4", "B5", "B6", "B7"), _LANDSAT_M),
    _Order("landsat_oli", ("B1", "B2", "B3", "B4", "B5", "B6", "B7"), _LANDSAT_M),
    _Order("landsat_oli", ("B2", "B3", "B4", "B5", "B6", "B7"), _LANDSAT_M),
    _Order("sentinel2_l2a", ("B02", "B03", "B04", "B08"), _SENTINEL2_M),
    _Order("sentinel2_l2a", ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
           _SENTINEL2_M),
    _Order(None, _VISIBLE, _LANDSAT_M),
    _Order(None, ("red", "green", "blue"), _AERIAL_M),
    _Order(None, ("red", "green", "blue", "nir"), _AERIAL_M),
)  # fmt: skip


def guess_bands(source: str | Path, error: BandsUnrecognisedError) -> tuple[ReadRules, list[Guess]]:
    """Return how to name the bands of a file that does not name them clearly.

    Args:
        source: The file.
        error: Why its bands were not recognised.
    """
    hint, where = _hint(source)
    if error.fits:
        return _among(error.fits, hint, where, source)
    count = len(error.found)
    if not any(error.found) and (found := _usual_order(source, count, hint, where)) is not None:
        return found
    names = tuple(f"layer_{i}" for i in range(1, count + 1))
    said = enumerate_names([text for text in error.found if text], most=4) or "no names in the file"
    why = (
        f"not recognised ({said}), so called by their numbers; write names such as blue, green, "
        f"red, nir to use pretrained weights"
    )
    return ReadRules(bands=names), [Guess("bands", list(names), why)]


def _hint(source: str | Path) -> tuple[str | None, str]:
    """Return the sensor that tags or names speak of, and which of them do."""
    path = Path(str(source))
    tags = {key: value for key, value in plain_tags(open_raster(source)).items() if len(value) < 99}
    texts = [*(f"{key}={value}" for key, value in tags.items()), path.name, path.parent.name]
    for text in texts:
        for pattern, sensor in _HINTS:
            if re.search(pattern, text.lower().replace("_", " ")):
                return sensor, text
    return None, ""


def _among(
    fits: Sequence[str], hint: str | None, where: str, source: str | Path
) -> tuple[ReadRules, list[Guess]]:
    """Choose one of several sensors whose band names the file has."""
    others = enumerate_names([name for name in fits if name != hint])
    if hint in fits:
        why = f"the band names fit {others}, too; {where!r} names this one"
        return ReadRules(sensor=hint), [Guess("sensor", hint, why)]
    gsd_m = _gsd_m(source)
    sizes = {name: [b.gsd_m for b in load_sensor(name).bands if b.gsd_m] for name in fits}
    near = [n for n in fits if gsd_m and any(0.9 < gsd_m / one < 1.1 for one in sizes[n])]
    newest = (near or list(fits))[-1]
    others = enumerate_names([name for name in fits if name != newest])
    seen = f"pixels of {gsd_m:.3g} m suit it" if near else "nothing says which"
    why = f"CHECK: the band names fit {others}, too, with other meanings; {seen}"
    return ReadRules(sensor=newest), [Guess("sensor", newest, why)]


def _usual_order(
    source: str | Path, count: int, hint: str | None, where: str
) -> tuple[ReadRules, list[Guess]] | None:
    """Return bands in a usual order, where count and pixel size suit one; else none."""
    gsd_m = _gsd_m(source)
    if hint is not None and len(load_sensor(hint).bands) == count:
        why = f"{where!r} and {count} bands; the file does not name them: CHECK their order"
        return ReadRules(sensor=hint), [Guess("sensor", hint, why)]
    for order in _ORDERS:
        if len(order.bands) != count or order.sensor != hint:
            continue
        if gsd_m is None or not order.gsd_m[0] <= gsd_m <= order.gsd_m[1]:
            continue
        seen = f"{count} bands, pixels of {gsd_m:.3g} m"
        said = "the file does not name them: CHECK their order"
        bands = Guess("bands", list(order.bands), f"{seen}; {said}")
        if hint is None:
            return ReadRules(bands=order.bands), [bands]
        sensor = Guess("sensor", hint, f"{where!r} names it")
        return ReadRules(sensor=hint, bands=order.bands), [sensor, bands]
    return None


def _gsd_m(source: str | Path) -> float | None:
    raster = open_raster(source)
    return Grid(raster.crs or None, raster.transform, raster.height, raster.width).gsd_m
