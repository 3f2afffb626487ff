"""Where the YAML files that ship with rsmeta lie."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from rsmeta.errors import ConfigError


@cache
def config_dir() -> Path:
    """Return the folder of the shipped presets, sensors and experiments.

    An installed rsmeta holds it as the package data ``rsmeta.configs``; in a checkout it is
    the folder ``configs`` beside the package.

    Raises:
        ConfigError: Neither is there.
    """
    try:
        installed = files("rsmeta.configs")
    except ModuleNotFoundError:
        installed = None
    places = [] if installed is None else [Path(str(installed.joinpath("sensors"))).parent]
    places.append(Path(__file__).resolve().parents[2] / "configs")
    for place in places:
        if (place / "sensors").is_dir():
            return place
    raise ConfigError(
        f"rsmeta's own configs are missing (looked in {places[-1]}); install rsmeta again"
    )
