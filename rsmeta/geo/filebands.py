"""Which bands a raster file holds, from its descriptions, wavelengths, and the user's rules."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from rasterio.enums import ColorInterp

from rsmeta.errors import BandsUnrecognisedError, ConfigError, counted, enumerate_names
from rsmeta.geo.bands import COMMON_NAMES, Band, generic_band, loose_key, plain_key
from rsmeta.geo.metadata import is_sentinel2, plain_tags
from rsmeta.geo.radar import polarisation_name
from rsmeta.geo.sensors import (
    Recognised,
    Sensor,
    known_band,
    load_sensor,
    recognise,
    sensor_names,
)
from rsmeta.geo.wavelengths import SpectralNote, spectral_notes, wavelength_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.geo.rules import ReadRules


logger = logging.getLogger(__name__)


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
    notes = spectral_notes(dataset)
    is_told = rules.bands is not None or rules.sensor is not None
    if fallback is not None and fallback.bands == "wavelengths":
        if not is_told and any(note.centre_nm for note in notes):
            return _by_rules(dataset, source, replace(rules, bands="wavelengths"), wanted, notes)
        fallback = replace(fallback, bands=None)
    if is_told or fallback is None or (fallback.bands is None and fallback.sensor is None):
        return _by_rules(dataset, source, rules, wanted, notes)
    return _with_fallback(dataset, source, rules, wanted, notes, fallback)


def _with_fallback(
    dataset: Any,
    source: str,
    rules: ReadRules,
    wanted: Sequence[Band] | None,
    notes: Sequence[SpectralNote],
    fallback: ReadRules,
) -> FileBands:
    """Recognise bands by what the file says, else by what held for other files."""
    unknown: BandsUnrecognisedError | None = None
    if any(dataset.descriptions) or any(note.centre_nm for note in notes):
        for own in (rules, replace(fallback, bands=None)):
            try:
                return _by_rules(dataset, source, own, wanted, notes)
            except BandsUnrecognisedError as error:
                unknown = unknown or error
        found = _by_wanted_names(dataset, wanted or ())
        if found is not None:
            return found
    if unknown is not None and unknown.fits:
        raise unknown
    try:
        return _by_rules(dataset, source, fallback, wanted, notes)
    except (BandsUnrecognisedError, ConfigError) as error:
        if unknown is not None:
            raise unknown from error
        return _by_rules(dataset, source, rules, wanted, notes)


def _by_wanted_names(dataset: Any, wanted: Sequence[Band]) -> FileBands | None:
    """Return the bands whose descriptions are the very names of those that are needed."""
    keys = [plain_key(text or "") for text in dataset.descriptions]
    names = [plain_key(band.name) for band in wanted]
    if not names or any(keys.count(name) != 1 for name in names):
        return None
    alpha = _alpha_index(dataset.descriptions, _colours(dataset))
    return FileBands(tuple(wanted), tuple(keys.index(name) + 1 for name in names), None, alpha)


def _by_rules(
    dataset: Any,
    source: str,
    rules: ReadRules,
    wanted: Sequence[Band] | None,
    notes: Sequence[SpectralNote],
) -> FileBands:
    """Recognise bands by what the user says, else by descriptions, colours or wavelengths."""
    colours = _colours(dataset)
    alpha = _alpha_index(dataset.descriptions, colours)
    if alpha is not None and notes[alpha - 1].centre_nm is not None:
        alpha = None
    every = tuple(range(1, dataset.count + 1))
    spectral = tuple(index for index in every if index != alpha)
    sensor = None if rules.sensor is None else load_sensor(rules.sensor)
    descriptions = [dataset.descriptions[index - 1] or None for index in spectral]
    count = _count_given(rules, sensor, bare=not any(descriptions))
    if alpha is not None and count == dataset.count:
        spectral, alpha = every, None
    noted = [notes[index - 1] for index in spectral]
    try:
        if rules.bands == "wavelengths":
            told = _by_wavelength(descriptions, noted, source, partly=True)
        elif rules.bands is not None:
            told = _from_names(rules.bands, len(spectral), sensor, source)
        elif sensor is not None:
            told = _of_sensor(sensor, descriptions, len(spectral), source, wanted)
        else:
            if not any(descriptions):
                descriptions = [_colour_name(colours[index - 1]) for index in spectral]
                descriptions = descriptions if all(descriptions) else [None] * len(spectral)
            told = _of_file(dataset, descriptions, noted, source, wanted)
    except BandsUnrecognisedError as error:
        advice = _advice(rules, sensor, noted, error.fits)
        raise BandsUnrecognisedError(source, error.found, error.fits, advice) from None
    places = range(len(spectral)) if told.places is None else told.places
    bands = [_with_note(b, noted[i], told.sensor) for b, i in zip(told.bands, places, strict=True)]
    kept = _kept(bands, [noted[i] for i in places], rules, source)
    return FileBands(
        tuple(bands[k] for k in kept), tuple(spectral[places[k]] for k in kept), told.sensor, alpha
    )


def _of_file(
    dataset: Any,
    descriptions: Sequence[str | None],
    notes: Sequence[SpectralNote],
    source: str,
    wanted: Sequence[Band] | None,
) -> Recognised:
    """Recognise bands by their names; those that no name explains, by their wavelengths."""
    try:
        return recognise(descriptions, source, _sensors_in_question(dataset), wanted)
    except BandsUnrecognisedError as error:
        if error.fits:
            raise
        radar = _of_radar(descriptions, partly=wanted is not None)
        if radar is not None:
            return radar
        if not any(note.centre_nm for note in notes):
            raise
        return _by_wavelength(descriptions, notes, source, partly=wanted is not None)


def _of_radar(descriptions: Sequence[str | None], *, partly: bool) -> Recognised | None:
    """Return bands whose descriptions name a polarisation ("Sigma0_VV_db"), or a ratio of two."""
    names = [polarisation_name(text or "") for text in descriptions]
    places = tuple(i for i, name in enumerate(names) if name is not None)
    found = [name for name in names if name is not None]
    if not found or len(set(found)) < len(found) or (len(found) < len(names) and not partly):
        return None
    bands = tuple(known_band(name) for name in found)
    sensor = load_sensor("sentinel1_grd") if {*found} <= {"VV", "VH"} else None
    return Recognised(bands, sensor, places)


def _by_wavelength(
    descriptions: Sequence[str | None],
    notes: Sequence[SpectralNote],
    source: str,
    *,
    partly: bool,
) -> Recognised:
    """Return bands under their own names, else under names that their wavelengths make.

    Args:
        descriptions: What the file says of each band.
        notes: Wavelength of each band.
        source: The file; for messages.
        partly: Whether to ignore bands without a wavelength.

    Raises:
        BandsUnrecognisedError: A band has no wavelength, or, ``partly``, none has.
    """
    places = tuple(i for i, note in enumerate(notes) if note.centre_nm is not None)
    if not places or not (partly or len(places) == len(notes)):
        raise BandsUnrecognisedError(source, descriptions)
    if len(places) < len(notes):
        left = [descriptions[i] or f"band {i + 1}" for i in range(len(notes)) if i not in places]
        logger.info("%s: ignoring %s, without wavelength", source, enumerate_names(left))
    names = wavelength_names([notes[i].centre_nm or 0.0 for i in places])
    own = [notes[i].name for i in places]
    keys = [loose_key(name) for name in own]
    chosen = [
        mine if mine and keys.count(key) == 1 else made
        for mine, key, made in zip(own, keys, names, strict=True)
    ]
    return Recognised(tuple(_own_band(name) for name in chosen), None, places)


def _with_note(band: Band, note: SpectralNote, sensor: Sensor | None) -> Band:
    """Return a band with the wavelength and width that its file states of it.

    What a sensor says of its own bands stays as it is.
    """
    if note.centre_nm is None or (sensor is not None and band.wavelength_nm is not None):
        return band
    return replace(band, wavelength_nm=note.centre_nm, width_nm=note.width_nm or band.width_nm)


def _kept(
    bands: Sequence[Band], notes: Sequence[SpectralNote], rules: ReadRules, source: str
) -> list[int]:
    """Return which bands neither the file's list of bad bands nor the user's ranges rule out."""
    is_named = rules.bands is not None and rules.bands != "wavelengths"
    bad = [i for i, note in enumerate(notes) if not note.is_good and not is_named]
    skipped = [
        i
        for i, band in enumerate(bands)
        if band.wavelength_nm is not None
        and any(low <= band.wavelength_nm <= high for low, high in rules.skip_nm)
    ]
    for what, places in (("its bad-band list", bad), ("data.skip_nm", skipped)):
        if places:
            names = enumerate_names([bands[i].name for i in places], most=6)
            logger.info(
                "%s: %s leaves out %s: %s", source, what, counted(len(places), "band"), names
            )
    kept = [i for i in range(len(bands)) if i not in {*bad, *skipped}]
    if not kept:
        raise ConfigError(
            f"data.skip_nm and the bad-band list of {source} leave none of its {len(bands)} bands; "
            f"name fewer ranges, or name its bands with data.bands=[...]"
        )
    return kept


def _advice(
    rules: ReadRules, sensor: Sensor | None, notes: Sequence[SpectralNote], fits: Sequence[str]
) -> str:
    """Return what to set so that the bands are known, given what is set already."""
    count = len(notes)
    if rules.bands == "wavelengths":
        return (
            "data.bands=wavelengths, but none of its bands states one; name them in file order "
            "with data.bands=[...]"
        )
    if sensor is None and not fits and any(note.centre_nm for note in notes):
        return "take those that state a wavelength, with data.bands=wavelengths, or name each band"
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
    if rules.bands is not None and rules.bands != "wavelengths":
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
