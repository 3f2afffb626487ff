"""A configuration with a ``sweep`` section -> the settings of every single run."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from rsmeta.config.load import Overrides, expand_presets, read_tree, set_key, validate
from rsmeta.config.settings import Settings
from rsmeta.errors import ConfigError, RsmetaError, counted

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.config.sweep import SweepSettings

#: Longest name of a folder that is made of a point as it is.
_NAME_LENGTH = 100


@dataclass(frozen=True, eq=False)  # told apart by identity: values of a point may be mappings
class SweepRun:
    """One run of a sweep.

    Attributes:
        point: Values by dotted key.
        seed: The run's seed.
        settings: All its settings; they name no sweep.
    """

    point: Mapping[str, Any]
    seed: int
    settings: Settings

    @property
    def label(self) -> str:
        """The point and the seed as a user writes them."""
        return " ".join([*(f"{k}={v}" for k, v in cells(self.point).items()), f"seed={self.seed}"])

    @property
    def folder(self) -> str:
        """Name of the run's folder: that of its point, and the seed.

        It follows from the values alone, so that a sweep which is given further ones later
        finds its finished runs again.
        """
        text = "_".join(f"{key}-{value}" for key, value in cells(self.point).items()) or "all"
        name = re.sub(r"[^\w.+-]+", "-", text).strip("-.")
        if name != text or len(name) > _NAME_LENGTH:  # another point could be written like this
            name = f"{name[:_NAME_LENGTH]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        return f"{name}/seed-{self.seed}"


def cells(point: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of a point as YAML on one line."""
    return {key: _flow(value) for key, value in point.items()}


def read_sweep(
    config: str | Path | Mapping[str, Any], overrides: Overrides = ()
) -> tuple[SweepSettings, list[SweepRun]]:
    """Read and check a configuration with a sweep, and every run of it.

    Args:
        config: Path of a YAML file, or the mapping that it would hold.
        overrides: ``KEY=VALUE`` strings, or a mapping; the values of points go over them.

    Returns:
        The section, and the runs: points in order, with their seeds together.

    Raises:
        ConfigError: A configuration is wrong, or there is no sweep in it.
        UnknownNameError: A value of a point names a preset that is not there.
    """
    tree = read_tree(config, overrides)
    source = "the configuration" if isinstance(config, Mapping) else str(config)
    sweep = validate(Settings, expand_presets(tree), source).sweep
    if sweep is None:
        raise ConfigError("there is no section sweep; add e.g. sweep: {seeds: [0, 1, 2]}")
    del tree["sweep"]
    return sweep, [
        SweepRun(point, seed, _settings_at(tree, point, seed))
        for point in sweep.every_point()
        for seed in sweep.seeds
    ]


def _settings_at(tree: Mapping[str, Any], point: Mapping[str, Any], seed: int) -> Settings:
    changed = copy.deepcopy({**tree, "seed": seed})
    # whole sections first, so that they do not undo what is said of their keys
    for key in sorted(point, key=lambda key: key.count(".")):
        set_key(changed, key, copy.deepcopy(point[key]))
    label = " ".join(f"{key}={value}" for key, value in cells(point).items())
    source = f"the sweep at {label}" if label else "the configuration"
    try:
        settings = validate(Settings, expand_presets(changed), source)
    except ConfigError:
        raise
    except RsmetaError as error:
        raise ConfigError(f"{source}: {error}") from error
    if settings.trainer.devices != 1 or settings.trainer.num_nodes != 1:
        raise ConfigError(
            f"{source}: trainer.devices={settings.trainer.devices} on "
            f"{counted(settings.trainer.num_nodes, 'machine')}, but each run of a sweep has one "
            f"device; drop both keys, and set sweep.parallel"
        )
    return settings


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("...").strip()
