"""Sensors: their bands, and how raw numbers of their products become physical values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field, field_validator, model_validator

from rsmeta.config.base import AnyNumber, Factor, Strict
from rsmeta.config.load import validate
from rsmeta.config.resources import config_dir
from rsmeta.config.yaml_files import read_yaml
from rsmeta.errors import BandsUnrecognisedError
from rsmeta.geo.bands import (
    COMMON_NAMES,
    Band,
    common_key,
    find_band,
    generic_band,
    loose_key,
    match_bands,
    plain_key,
    select_bands,
)
from rsmeta.registry import Registry

__all__ = [
    "Band",
    "Recognised",
    "Sensor",
    "known_band",
    "load_sensor",
    "match_bands",
    "recognise",
    "recognise_bands",
    "sensor_names",
]

logger = logging.getLogger(__name__)

#: Folders and sensors that the log has mentioned.
_logged: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Sensor:
    """An instrument's product: bands, and the meaning of its raw numbers.

    ``physical = raw * scale + offset`` holds for files of ``dtype``, the product's own type, and
    of integers at least as wide; files of any other type are taken as they are.

    Args:
        name: Registered name, or the stem of the YAML file.
        title: What it is, for people.
        bands: Bands in the product's order.
        scale: Physical units per raw number.
        offset: Physical value of raw 0.
        nodata: Raw number without data in files of ``dtype``; none: every number is data.
        dtype: NumPy name of the product's raw type; none: no type is scaled.
        unit: Physical unit, for people.
        own_scaling: ``(band name, scale, offset)`` of bands that differ from the rest.
    """

    name: str
    title: str
    bands: tuple[Band, ...]
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    dtype: str | None = None
    unit: str = ""
    own_scaling: tuple[tuple[str, float, float], ...] = ()

    def select(self, names: Sequence[str]) -> Sensor:
        """Return the sensor with only the bands of those names or common names, in that order.

        Raises:
            BandsMissingError: A name fits no band, or fits several.
        """
        return replace(self, bands=select_bands(names, self.bands, f"sensor {self.name}"))

    def scaling(self, band: Band) -> tuple[float, float]:
        """Return (scale, offset) of a band in files of ``dtype``."""
        for name, scale, offset in self.own_scaling:
            if name == band.name:
                return scale, offset
        return self.scale, self.offset


class Recognised(NamedTuple):
    """Bands recognised from their descriptions.

    Attributes:
        bands: The bands.
        sensor: None where they were recognised by common names alone.
        places: Which descriptions are theirs, from 0; none: all, in order.
    """

    bands: tuple[Band, ...]
    sensor: Sensor | None
    places: tuple[int, ...] | None = None


class BandEntry(Strict):
    """A band in a sensor's YAML file."""

    name: str = Field(min_length=1)
    common_name: str | None = None
    wavelength_nm: float | None = Field(default=None, gt=0)
    gsd_m: float | None = Field(default=None, gt=0)
    width_nm: float | None = Field(default=None, gt=0)
    scale: Factor | None = None
    offset: float | None = None

    @field_validator("common_name")
    @classmethod
    def _is_common(cls, name: str | None) -> str | None:
        if name is not None and name not in COMMON_NAMES:
            raise ValueError(f"{name!r} is no STAC common name; known: {', '.join(COMMON_NAMES)}")
        return name


class SensorFile(Strict):
    """A sensor's YAML file; ``configs/sensors`` holds examples."""

    title: str = ""
    unit: str = ""
    dtype: str | None = None
    scale: Factor = 1.0
    offset: float = 0.0
    nodata: AnyNumber | None = None
    bands: tuple[BandEntry, ...] = Field(min_length=1)

    @field_validator("dtype")
    @classmethod
    def _is_dtype(cls, name: str | None) -> str | None:
        try:
            return None if name is None else np.dtype(name).name
        except TypeError:
            raise ValueError(f"{name!r} is no data type; write one such as uint16") from None

    @model_validator(mode="after")
    def _bands_differ(self) -> SensorFile:
        keys = [loose_key(band.name) for band in self.bands]
        twice = [b.name for b, key in zip(self.bands, keys, strict=True) if keys.count(key) > 1]
        if twice:
            raise ValueError(f"the band {twice[0]} stands twice; give each its own name")
        return self

    def sensor(self, name: str) -> Sensor:
        """Return the sensor that the file describes."""
        own = [b for b in self.bands if b.scale is not None or b.offset is not None]
        return Sensor(
            name=name,
            title=self.title or name,
            bands=tuple(
                Band(b.name, b.common_name, b.wavelength_nm, b.gsd_m, b.width_nm)
                for b in self.bands
            ),
            scale=self.scale,
            offset=self.offset,
            nodata=self.nodata,
            dtype=self.dtype,
            unit=self.unit,
            own_scaling=tuple(
                (
                    b.name,
                    self.scale if b.scale is None else b.scale,
                    self.offset if b.offset is None else b.offset,
                )
                for b in own
            ),
        )


@cache
def _registry() -> Registry[Sensor]:
    registry: Registry[Sensor] = Registry("sensor", Sensor)
    for path in sorted((config_dir() / "sensors").glob("*.yaml")):
        registry.add(path.stem, _read_sensor(path))
    return registry


def _read_sensor(path: Path) -> Sensor:
    return validate(SensorFile, read_yaml(path), str(path)).sensor(path.stem)


def sensor_names() -> list[str]:
    """Return the names of the registered sensors, sorted."""
    return _registry().names()


def load_sensor(sensor: str | Path | Mapping[str, Any]) -> Sensor:
    """Return a sensor.

    Args:
        sensor: A registered name, the path of a YAML file, or the mapping that such a file
            holds (with a ``name`` if it should have one).

    Raises:
        UnknownNameError: No sensor has that name, and it is no YAML file's path.
        ConfigError: The file is missing, or a key or value in it does not fit.
    """
    if isinstance(sensor, Mapping):
        tree = dict(sensor)
        name = str(tree.pop("name", "custom"))
        return validate(SensorFile, tree, f"sensor {name}").sensor(name)
    if isinstance(sensor, Path) or sensor.endswith((".yaml", ".yml")):
        return _read_sensor(Path(sensor))
    return _registry().get(sensor)


def recognise_bands(descriptions: Sequence[str | None], source: object) -> tuple[Band, ...]:
    """Recognise bands by their descriptions; see ``recognise``."""
    return recognise(descriptions, source).bands


def recognise(
    descriptions: Sequence[str | None],
    source: object,
    among: Sequence[Sensor] | None = None,
    wanted: Sequence[Band] | None = None,
) -> Recognised:
    """Recognise bands by their descriptions.

    One sensor must have all of them by name, exactly or, failing that, in another spelling
    (B1 = B01, B8a = B8A, SR_B4 = B4). Of several such sensors the one with the fewest further
    bands is taken, if all of them mean the same by these names. Otherwise all descriptions
    must be common names, in any usual spelling (rededge = Red Edge, coastal_blue = coastal).

    Args:
        descriptions: What the file says of each band, in file order.
        source: The file; for the message.
        among: Sensors that come into question; none: all registered ones.
        wanted: Bands that are needed; descriptions that mean nothing (QA_PIXEL, NDVI, none at
            all) are ignored where these are found. None: no description may mean nothing.

    Raises:
        BandsUnrecognisedError: The descriptions are missing, unknown, repeated, or mean
            different bands in different sensors (B4 is near infrared in Landsat 5, red in 8).
    """
    names = [_first_words(text) for text in descriptions]
    sensors = [s for _, s in _registry().items()] if among is None else list(among)
    every = tuple(range(len(names)))
    for places in (every,) if wanted is None else (every, *_telling(names, sensors)):
        if not places or not all(names[place] for place in places):
            continue
        found = _recognise([names[i] for i in places], source, among is not None, sensors)
        if found is None or (wanted and places != every and not _has_all(found.bands, wanted)):
            continue
        if len(places) < len(names):
            left = ", ".join(names[i] or f"band {i + 1}" for i in every if i not in places)
            logger.info("%s: ignoring %s", source, left)
        return found._replace(places=places)
    raise BandsUnrecognisedError(source, descriptions)


def _recognise(
    names: Sequence[str], source: object, is_told: bool, sensors: Sequence[Sensor]
) -> Recognised | None:
    for key in (plain_key, loose_key):
        fits = [fit for fit in (_named_in(s, names, key) for s in sensors) if fit is not None]
        if fits:
            return _simplest(fits, source, names)
    commons = [common_key(name) for name in names]
    if is_told:
        fits = [fit for fit in (_common_in(s, commons) for s in sensors) if fit is not None]
        return _simplest(fits, source, names) if fits else None
    if len(set(commons)) == len(commons) and COMMON_NAMES.keys() >= set(commons):
        return Recognised(tuple(generic_band(name) for name in commons), None)
    return None


def _telling(names: Sequence[str], sensors: Sequence[Sensor]) -> list[tuple[int, ...]]:
    """Return which descriptions mean something: to one sensor or another, or as common names."""
    by_common = tuple(i for i, name in enumerate(names) if common_key(name) in COMMON_NAMES)
    found = {by_common}
    for sensor in sensors:
        for key in (plain_key, loose_key):
            known = {key(band.name) for band in sensor.bands}
            found.add(tuple(i for i, name in enumerate(names) if key(name) in known))
    return sorted(found, key=len, reverse=True)


def _has_all(bands: Sequence[Band], wanted: Sequence[Band]) -> bool:
    return all(find_band(band, bands) is not None for band in wanted)


def known_band(name: str) -> Band:
    """Return the band that a name alone stands for, as weights name the bands that they expect.

    Args:
        name: A common name, or the name of a Sentinel-2 or Sentinel-1 band in any spelling; any
            other name is a band of which no more is known.
    """
    if plain_key(name) in COMMON_NAMES:
        return generic_band(plain_key(name))
    for sensor in ("sentinel2_l1c", "sentinel1_grd"):
        for band in load_sensor(sensor).bands:
            if loose_key(band.name) == loose_key(name):
                return band
    return Band(name)


def _first_words(text: str | None) -> str:
    """Return a description up to its first comma; GDAL writes "B4, central wavelength 665 nm"."""
    return (text or "").split(",")[0].strip()


def _named_in(sensor: Sensor, names: Sequence[str], key: Callable[[str], str]) -> Recognised | None:
    by_name = {key(band.name): band for band in sensor.bands}
    found = [by_name.get(key(name)) for name in names]
    return _all_different(sensor, found)


def _common_in(sensor: Sensor, commons: Sequence[str]) -> Recognised | None:
    fits = [[band for band in sensor.bands if band.common_name == name] for name in commons]
    return _all_different(sensor, [bands[0] if len(bands) == 1 else None for bands in fits])


def _all_different(sensor: Sensor, found: Sequence[Band | None]) -> Recognised | None:
    bands = tuple(band for band in found if band is not None)
    complete = len(bands) == len(found) and len(set(bands)) == len(bands)
    return Recognised(bands, sensor) if complete else None


def _simplest(
    fits: Sequence[Recognised], source: object, descriptions: Sequence[str | None]
) -> Recognised:
    """Return the fit whose sensor has the fewest bands, if all fits agree on the meaning."""
    meanings = {tuple(band.common_name for band in fit.bands) for fit in fits}
    names = [fit.sensor.name for fit in fits if fit.sensor is not None]
    if len(meanings) > 1:
        raise BandsUnrecognisedError(source, descriptions, fits=names)
    best = min(fits, key=lambda fit: len(fit.sensor.bands) if fit.sensor is not None else 0)
    if best.sensor is not None:
        others = [name for name in names if name != best.sensor.name]
        also = f" (they fit {', '.join(others)} as well)" if others else ""
        # Once for the files of a folder: it may hold thousands of small ones.
        place = str(source).rpartition("/")[0]
        if (place, best.sensor.name) not in _logged:
            _logged.add((place, best.sensor.name))
            logger.info("%s: bands read as those of %s%s", source, best.sensor.name, also)
    return best
