"""Open the scenes that settings name, and settle which of their bands are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.errors import ConfigError
from rsmeta.geo.bands import COMMON_NAMES, Band, generic_band
from rsmeta.geo.scene import ReadRules, expand_sources, open_scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.data import ReadSettings, SceneSettings
    from rsmeta.geo.scene import Scene


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
    """Return the bands that the settings choose, as the first scene has them."""
    if settings.use_bands is None:
        return first.bands
    wanted = [
        generic_band(name) if name in COMMON_NAMES else Band(name)  # a sensor's own name
        for name in settings.use_bands
    ]
    return first.select(wanted).bands
