"""Which bands a raster file holds, from its descriptions, its tags and the user's rules."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from rasterio.enums import ColorInterp

from rsmeta.errors import BandsUnrecognisedError, ConfigError, enumerate_names
from rsmeta.geo.bands import COMMON_NAMES, Band, generic_band, loose_key, plain_key
from rsmeta.geo.metadata import is_sentinel2, plain_tags
from rsmeta.geo.sensors import Recognised, Sensor, load_sensor, recognise, sensor_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.geo.rules import ReadRules


class FileBands(NamedTuple):
    """Spectral bands of a file with their places in it, from 1."""

    bands: tuple[Band, ...]
    indexes: tuple[int, ...]
    sensor: Sensor | None
    alpha_index: int | None


def tell_bands(
    dataset: Any,
    source: str,
    rules: ReadRules,
    *,
    wanted: Sequence[Band] | None = None,
    fallback: ReadRules | None = None,
) -> FileBands:
    """Recognise the bands of a file.

    GDAL calls the fourth band of any 8-bit file alpha by default, so an alpha band
    counts as spectral where it has a description, or where the names or the sensor that the
    user gives have just one band more than the file would have without it.

    Args:
        dataset: The file, opened.
        source: What messages call it.
        rules: What the user says about it.
        wanted: Bands that are needed; others may be anything. None: all.
        fallback: What held for other files: it counts where the file's descriptions say nothing.

    Raises:
        BandsUnrecognisedError: The bands cannot be recognised.
        ConfigError: The names that the user gives do not fit the file.
    """
    described = any(dataset.descriptions)
    is_told = rules.bands is not None or rules.sensor is not None
    if is_told or fallback is None or (fallback.bands is None and fallback.sensor is None):
        return _by_rules(dataset, source, rules, wanted)
    unknown: BandsUnrecognisedError | None = None
    if described:
        for own in (rules, replace(fallback, bands=None)):
            try:
                return _by_rules(dataset, source, own, wanted)
            except BandsUnrecognisedError as error:
                unknown = unknown or error
        found = _by_wanted_names(dataset, wanted or ())
        if found is not None:
            return found
    if unknown is not None and unknown.fits:
        raise unknown
    try:
        return _by_rules(dataset, source, fallback, wanted)
    except (BandsUnrecognisedError, ConfigError) as error:
        if unknown is not None:
            raise unknown from error
        return _by_rules(dataset, source, rules, wanted)


def _by_wanted_names(dataset: Any, wanted: Sequence[Band]) -> FileBands | None:
    """Return the bands whose descriptions are the very names of those that are needed."""
    keys = [plain_key(text or "") for text in dataset.descriptions]
    names = [plain_key(band.name) for band in wanted]
    if not names or any(keys.count(name) != 1 for name in names):
        return None
    alpha = _alpha_index(dataset.descriptions, _colours(dataset))
    return FileBands(tuple(wanted), tuple(keys.index(name) + 1 for name in names), None, alpha)


def _by_rules(
    dataset: Any, source: str, rules: ReadRules, wanted: Sequence[Band] | None
) -> FileBands:
    """Recognise bands by what the user says, else by descriptions, else by colours."""
    colours = _colours(dataset)
    alpha = _alpha_index(dataset.descriptions, colours)
    every = tuple(range(1, dataset.count + 1))
    spectral = tuple(index for index in every if index != alpha)
    sensor = None if rules.sensor is None else load_sensor(rules.sensor)
    descriptions = [dataset.descriptions[index - 1] or None for index in spectral]
    count = _count_given(rules, sensor, bare=not any(descriptions))
    if alpha is not None and count == dataset.count:
        spectral, alpha = every, None
    try:
        if rules.bands is not None:
            told = _from_names(rules.bands, len(spectral), sensor, source)
        elif sensor is not None:
            told = _of_sensor(sensor, descriptions, len(spectral), source, wanted)
        else:
            if not any(descriptions):
                descriptions = [_colour_name(colours[index - 1]) for index in spectral]
                descriptions = descriptions if all(descriptions) else [None] * len(spectral)
            told = recognise(descriptions, source, _sensors_in_question(dataset), wanted)
    except BandsUnrecognisedError as error:
        advice = _advice(rules, sensor, len(spectral), error.fits)
        raise BandsUnrecognisedError(source, error.found, error.fits, advice) from None
    places = range(len(spectral)) if told.places is None else told.places
    return FileBands(told.bands, tuple(spectral[i] for i in places), told.sensor, alpha)


def _advice(rules: ReadRules, sensor: Sensor | None, count: int, fits: Sequence[str]) -> str:
    """Return what to set so that the bands are known, given what is set already."""
    if sensor is not None:
        names = [band.name for band in sensor.bands]
        if len(names) == count:
            return (
                f"beside data.sensor, name its bands in file order: data.bands=[{', '.join(names)}]"
            )
        return (
            f"beside data.sensor, name the {count} bands in file order with data.bands=[...], out "
            f"of: {enumerate_names(names, most=16)}"
        )
    if fits:
        also = "beside data.bands, " if rules.bands is not None else ""
        others = f" (or {', '.join(fits[1:])})" if fits[1:] else ""
        return f"{also}name their sensor: data.sensor={fits[0]}{others}"
    same = [name for name in sensor_names() if len(load_sensor(name).bands) == count]
    whole = f", or data.sensor={same[0]} if they are its bands in order" if same else ""
    return (
        f"name them in file order with data.bands=[...], by common names such as blue, green, red, "
        f"nir or names of your own{whole} (see: rsmeta list sensors)"
    )


def _count_given(rules: ReadRules, sensor: Sensor | None, *, bare: bool) -> int | None:
    if rules.bands is not None:
        return len(rules.bands)
    return len(sensor.bands) if sensor is not None and bare else None


def _from_names(names: Sequence[str], count: int, sensor: Sensor | None, source: str) -> Recognised:
    if len(names) != count:
        raise ConfigError(
            f"data.bands names {len(names)} bands, but {source} has {count}; name each, in order"
        )
    keys = [loose_key(name) for name in names]
    twice = [name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1]
    if twice:
        raise ConfigError(f"data.bands names {twice[0]!r} twice; give each band its own name")
    if sensor is not None:
        return recognise(names, source, [sensor])
    try:
        return recognise(names, source)
    except BandsUnrecognisedError as error:
        if error.fits:
            raise
        return Recognised(tuple(_own_band(name) for name in names), None)


def _own_band(name: str) -> Band:
    """Return a band under the user's own name, with a meaning if it is a common name."""
    key = plain_key(name)
    return generic_band(key) if key in COMMON_NAMES else Band(name)


def _of_sensor(
    sensor: Sensor,
    descriptions: Sequence[str | None],
    count: int,
    source: str,
    wanted: Sequence[Band] | None,
) -> Recognised:
    if not any(descriptions) and len(sensor.bands) == count:
        return Recognised(sensor.bands, sensor)
    return recognise(descriptions, source, [sensor], wanted)


def _sensors_in_question(dataset: Any) -> list[Sensor] | None:
    if not is_sentinel2(plain_tags(dataset)):
        return None
    return [load_sensor(name) for name in sensor_names() if name.startswith("sentinel2")]


def _colours(dataset: Any) -> list[ColorInterp]:
    try:
        return list(dataset.colorinterp)
    except ValueError:  # a newer GDAL's interpretation that rasterio does not know
        return [ColorInterp.undefined] * dataset.count


def _alpha_index(descriptions: Sequence[str | None], colours: Sequence[ColorInterp]) -> int | None:
    for index, (text, colour) in enumerate(zip(descriptions, colours, strict=True), 1):
        if colour == ColorInterp.alpha and plain_key(text or "alpha") in {"alpha", "mask"}:
            return index
    return None


def _colour_name(colour: ColorInterp) -> str | None:
    return colour.name if colour.name in COMMON_NAMES and colour.name != "yellow" else None
