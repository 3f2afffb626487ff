"""Open the scenes that settings name, and settle which of their bands are used."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from rsmeta.errors import ConfigError, enumerate_names
from rsmeta.geo.bands import measured
from rsmeta.geo.computed import named_band
from rsmeta.geo.radar import is_radar, radar_unit
from rsmeta.geo.sampling import spread_pixels
from rsmeta.geo.scene import ReadRules, expand_sources, open_scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.data import ReadSettings, SceneSettings
    from rsmeta.geo.bands import Band
    from rsmeta.geo.radar import RadarUnit
    from rsmeta.geo.scene import Scene


logger = logging.getLogger(__name__)


def open_scenes(settings: SceneSettings, patterns: Sequence[str]) -> list[Scene]:
    """Open every scene that file names or patterns lead to, read as the settings say.

    Raises:
        ConfigError: There is no folder at ``settings.root``.
        SceneError: A name leads nowhere, or to something that is no scene.
    """
    check_root(settings)
    rules = read_rules(settings)
    return (
        [open_scene(s, rules) for s in expand_sources(patterns, settings.root)] if patterns else []
    )


def check_root(settings: ReadSettings) -> None:
    """Check that there is a folder at ``settings.root``; else say where its data come from.

    Raises:
        ConfigError: There is none.
    """
    if not settings.root.is_dir():
        raise ConfigError(
            f"no folder at data.root={settings.root}; give it as data.root=FOLDER"
            f"{settings.origin_hint}"
        )


def read_rules(settings: ReadSettings) -> ReadRules:
    """Return what the settings say about how files are read."""
    return ReadRules(
        sensor=settings.sensor,
        bands=settings.bands,
        scale=settings.scale,
        offset=settings.offset,
        nodata=settings.nodata,
        valid_if=settings.valid_if,
        skip_nm=settings.skip_nm,
        speckle=settings.speckle,
    )


def wanted_bands(settings: ReadSettings, first: Scene) -> tuple[Band, ...]:
    """Return the bands that the settings choose, as the first scene has them.

    A ratio of polarisations is their difference where the scene is in decibels.
    """
    if settings.use_bands is None:
        check_speckle(settings, first, first.bands)
        return first.bands
    named = [named_band(name, first.bands) for name in settings.use_bands]
    chosen = first.select(named).bands
    check_speckle(settings, first, chosen)
    return tuple(_in_unit(band, first) for band in chosen)


def check_speckle(settings: ReadSettings, first: Scene | None, bands: Sequence[Band]) -> None:
    """Check that there is speckle to filter, in the unit that the settings say.

    Args:
        settings: The ``data`` section.
        first: The first scene, whose values tell; none: they are not looked at.
        bands: Its bands in use.

    Raises:
        ConfigError: No band is of radar, or its values are in another unit.
    """
    if settings.speckle is None:
        return
    radar = [band for band in measured(bands) if is_radar(band)]
    if not radar:
        names = enumerate_names([band.name for band in bands], most=8)
        raise ConfigError(f"data.speckle filters radar, and none of {names} is; omit it")
    unit = None if first is None else _unit(replace(first, speckle=None), radar[0])
    found = "linear" if unit == "linear backscatter" else unit
    if found not in (None, settings.speckle.unit):
        fix = f"set data.speckle.unit={found}" if found != "digital numbers" else (
            "convert it to backscatter, or omit data.speckle"
        )  # fmt: skip
        raise ConfigError(
            f"data.speckle takes {radar[0].name} for {settings.speckle.unit}, but by its mean it "
            f"holds {unit}; {fix}"
        )


def _unit(scene: Scene, band: Band) -> RadarUnit | None:
    """Return what a band of radar is in, by some of its pixels; none: it has none."""
    pixels, _ = spread_pixels(scene.select([band]))
    return radar_unit(float(pixels.mean(dtype="float64"))) if pixels.size else None


def _in_unit(band: Band, scene: Scene) -> Band:
    """Return a computed band of radar so that it is the ratio of powers in the scene's unit."""
    formula = band.formula
    if formula is None or not (is_radar(formula.first) and is_radar(formula.second)):
        return band
    unit = _unit(scene, formula.first)
    if formula.kind == "ratio" and unit == "decibels":
        formula = formula._replace(kind="difference")
        logger.info("%s is %s, as the scene is in decibels", band.name, formula)
    elif formula.kind == "difference" and unit is not None and unit != "decibels":
        logger.warning(
            "%s of %s is no ratio; write %s/%s for it", band.name, unit, formula.first.name,
            formula.second.name,
        )  # fmt: skip
    return replace(band, formula=formula)
