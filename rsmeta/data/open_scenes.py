"""Open the scenes that settings name, and settle which of their bands are used."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from rsmeta.errors import ConfigError
from rsmeta.geo.computed import named_band
from rsmeta.geo.radar import is_radar, radar_unit
from rsmeta.geo.sampling import spread_pixels
from rsmeta.geo.scene import ReadRules, expand_sources, open_scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.data import ReadSettings, SceneSettings
    from rsmeta.geo.bands import Band
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
    )


def wanted_bands(settings: ReadSettings, first: Scene) -> tuple[Band, ...]:
    """Return the bands that the settings choose, as the first scene has them.

    A ratio of polarisations is their difference where the scene is in decibels.
    """
    if settings.use_bands is None:
        return first.bands
    named = [named_band(name, first.bands) for name in settings.use_bands]
    chosen = first.select(named).bands
    return tuple(_in_unit(band, first) for band in chosen)


def _in_unit(band: Band, scene: Scene) -> Band:
    """Return a computed band of radar so that it is the ratio of powers in the scene's unit."""
    formula = band.formula
    if formula is None or not (is_radar(formula.first) and is_radar(formula.second)):
        return band
    pixels, _ = spread_pixels(scene.select([formula.first]))
    unit = radar_unit(float(pixels.mean(dtype="float64"))) if pixels.size else None
    if formula.kind == "ratio" and unit == "decibels":
        formula = formula._replace(kind="difference")
        logger.info("%s is %s, as the scene is in decibels", band.name, formula)
    elif formula.kind == "difference" and unit is not None and unit != "decibels":
        logger.warning(
            "%s of %s is no ratio; write %s/%s for it", band.name, unit, formula.first.name,
            formula.second.name,
        )  # fmt: skip
    return replace(band, formula=formula)
