"""YAML file + presets + KEY=VALUE overrides -> ``Settings``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rsmeta.config.base import Strict
from rsmeta.config.composing import as_section, expanded, extended, merged, read_extended
from rsmeta.config.data_kinds import KIND_MARK, data_kinds
from rsmeta.config.resources import config_dir
from rsmeta.config.settings import Settings
from rsmeta.config.yaml_files import parse_yaml, plain, read_yaml
from rsmeta.errors import ConfigError, UnknownNameError, did_you_mean

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

#: ``KEY=VALUE`` strings, or a mapping of keys to values.
Overrides: TypeAlias = Sequence[str] | Mapping[str, Any]

#: What stands for the seed in a text, so that runs of several seeds have files of their own.
SEED = "{seed}"

# Beginnings of file names in an override that YAML would take for an alias or a mapping.
_PLAIN = ("*", "{stem}", SEED)

#: Sections that may be, or start from, a preset in ``configs/<section>/``.
PRESET_SECTIONS = ("data", "model", "tuner", "meta", "loss", "trainer", "predict")


#: What pydantic puts into the path of a value that may have several forms.
_UNION_MARKS = frozenset(
    {"one", "several", "constrained-int", "constrained-float", "literal['auto']",
     "literal['rank']"}
)  # fmt: skip


def load_settings(config: str | Path | Mapping[str, Any], overrides: Overrides = ()) -> Settings:
    """Read and check a configuration.

    Args:
        config: Path of a YAML file, or the mapping that it would hold.
        overrides: ``KEY=VALUE`` strings, the key a dotted path and the value YAML; or a mapping
            of such keys, or of sections, to values, laid over the configuration key by key.

    Returns:
        The checked settings with every default filled in.

    Raises:
        ConfigError: The file is missing or no mapping, a key is unknown (the nearest one is
            suggested), or a value does not fit.
    """
    return read_settings(Settings, config, overrides)


def read_settings(
    model: type[M], config: str | Path | Mapping[str, Any], overrides: Overrides = ()
) -> M:
    """Read and check a configuration of any kind; see ``load_settings``."""
    source = "the configuration" if isinstance(config, Mapping) else str(config)
    return validate(model, expand_presets(read_tree(config, overrides), report=True), source)


def read_tree(config: str | Path | Mapping[str, Any], overrides: Overrides = ()) -> dict[str, Any]:
    """Return what a configuration, over those it extends, holds under its overrides, unchecked.

    Presets stand by name.

    Raises:
        ConfigError: The file is missing or no mapping, or an override cannot be read.
    """
    if isinstance(config, Mapping):
        tree = extended(plain(config), Path())
    else:
        tree = read_extended(Path(config))
    _apply(tree, overrides)
    return {key: expanded(value) for key, value in tree.items()}


def expand_presets(tree: Mapping[str, Any], *, report: bool = False) -> dict[str, Any]:
    """Return a tree of settings with what its presets hold, and its seed, in their place.

    Args:
        tree: What ``read_tree`` returned.
        report: Log it when a preset brings a preset of another section.

    Raises:
        UnknownNameError: There is no such preset.
        ConfigError: Tuner presets bring different ``meta`` presets.
    """
    # A section whose keys are all commented out says nothing.
    whole = {k: v for k, v in tree.items() if v is not None or k not in PRESET_SECTIONS}
    companions = _companions(tree.get("tuner"))
    if companions and not _chosen(tree.get("meta")):
        whole["meta"] = _with_companion(companions, tree.get("meta"))
        if report:
            logger.info("meta=%s comes with tuner=%s; choose another with meta=...",
                        whole["meta"]["preset"], next(iter(companions)))  # fmt: skip
    for section in PRESET_SECTIONS:
        if section in whole:
            given = whole[section]
            several = section == "tuner" and isinstance(given, list)
            whole[section] = (
                [_expand_preset(section, one) for one in given]
                if several
                else _expand_preset(section, given)
            )
    seed = str(whole.get("seed", 0))
    # What a sweep says is of runs with seeds of their own.
    return {k: value if k == "sweep" else _seeded(value, seed) for k, value in whole.items()}


def _seeded(value: Any, seed: str) -> Any:
    """Return a value with the seed put in for ``{seed}`` in every text."""
    if isinstance(value, Mapping):
        return {key: _seeded(one, seed) for key, one in value.items()}
    if isinstance(value, list):
        return [_seeded(one, seed) for one in value]
    return value.replace(SEED, seed) if isinstance(value, str) else value


def validate(model: type[M], tree: Any, source: str) -> M:
    """Return ``tree`` as ``model``, or say in one line the first thing that is wrong.

    Raises:
        ConfigError: An unknown or missing key, or a value that does not fit.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_sentence(model, error)}") from None


def overruled(settings: M, overrides: Overrides) -> M:
    """Return one section of settings with some of its keys set anew.

    Args:
        settings: The section.
        overrides: Keys of the section with their values; see ``load_settings``.

    Raises:
        ConfigError: A key is unknown, or a value does not fit.
    """
    tree = settings.model_dump()
    _apply(tree, overrides)
    source = "the settings" if isinstance(overrides, Mapping) else " ".join(overrides)
    return validate(type(settings), tree, source)


def _apply(tree: dict[str, Any], overrides: Overrides) -> None:
    """Lay overrides over a tree of settings."""
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            set_key(tree, str(key), value, merge=True)
        return
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"{override!r} is no override; write KEY=VALUE, e.g. data.chip_px=96")
        try:
            value = text if text.startswith(_PLAIN) else parse_yaml(text)
        except ConfigError as error:
            raise ConfigError(f"{override!r}: the value is no YAML ({error})") from error
        set_key(tree, key, value)


def set_key(tree: dict[str, Any], key: str, value: Any, *, merge: bool = False) -> None:
    """Set a key by its dotted path; mappings on the way are made, and presets kept as such.

    Args:
        tree: Settings, changed in place.
        key: Dotted path.
        value: What to set.
        merge: Lay a mapping over the one that is there, key by key, instead of replacing it.

    Raises:
        ConfigError: The path leads into a list.
    """
    *parents, leaf = key.split(".")
    node = tree
    for name in parents:
        below = node.get(name)
        if isinstance(below, list):
            raise ConfigError(
                f"{key} reaches into the list {name}; give the whole list, as "
                f"{name}='[lora, {{preset: ln, lr_scale: 2}}]'"
            )
        node[name] = node = as_section(below)
    merges = merge and isinstance(value, Mapping)
    node[leaf] = merged(as_section(node.get(leaf)), value) if merges else value


def _expand_preset(section: str, given: Any) -> Any:
    if isinstance(given, str):
        given = {"preset": given}
    if not isinstance(given, dict) or "preset" not in given:
        return given
    keys = dict(given)
    name = str(keys.pop("preset"))
    return merged(_preset(section, name)[0], keys)


def _preset(section: str, name: str) -> tuple[dict[str, Any], str | None]:
    """Return the keys of a preset, and the ``meta`` preset that it names as its companion."""
    if name not in preset_names(section):
        raise UnknownNameError(f"{section} preset", name, preset_names(section))
    keys = read_yaml(config_dir() / section / f"{name}.yaml")
    return keys, keys.pop("meta", None) if section == "tuner" else None


def preset_companion(section: str, name: str) -> str | None:
    """Return the ``meta`` preset that goes with a tuner preset where none is chosen; or none."""
    return _preset(section, name)[1]


def _companions(tuner: Any) -> dict[str, str]:
    """Return the companions that the presets of a ``tuner`` section name, by preset."""
    found = {}
    for given in tuner if isinstance(tuner, list) else [tuner]:
        name = given.get("preset") if isinstance(given, Mapping) else given
        companion = _preset("tuner", name)[1] if isinstance(name, str) else None
        if isinstance(name, str) and companion is not None:
            found[name] = companion
    return found


def _chosen(meta: Any) -> bool:
    """Whether a ``meta`` section says itself how scales come about."""
    return meta is not None and not (
        isinstance(meta, Mapping) and meta.keys().isdisjoint({"preset", "strategy"})
    )


def _with_companion(companions: Mapping[str, str], meta: Any) -> dict[str, Any]:
    """Return the ``meta`` section that tuner presets bring, with the given keys over it."""
    if len(set(companions.values())) > 1:
        pairs = ", ".join(f"{name}: {companion}" for name, companion in companions.items())
        raise ConfigError(
            f"tuner presets bring different meta presets ({pairs}); choose with meta=..."
        )
    return {"preset": next(iter(companions.values())), **(meta or {})}


def _sentence(model: type[BaseModel], error: ValidationError) -> str:
    """Say the first problem of a failed validation: the key, the value, what to do."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"] if part not in _UNION_MARKS]
    where = [part for part in path if not part.startswith(KIND_MARK)]
    key = ".".join(where)
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, path[:-1])
        near = did_you_mean(where[-1], known)
        return f"unknown key {key!r}{near or '; known here: ' + ', '.join(sorted(known))}"
    if first["type"] == "missing":
        return f"the key {key!r} is missing; see: rsmeta help all"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if first["type"] in {"value_error", "assertion_error"}:
        return f"{key}: {message}" if key else message
    return f"{key}={first['input']!r}: {message[0].lower()}{message[1:]}"


def _known_keys(model: type[BaseModel], where: Sequence[str]) -> list[str]:
    """Return the keys that ``model`` takes at a path inside it."""
    models = [model]
    for part in where:
        if part.isdigit():  # an entry of a list of the models found last
            continue
        if part.startswith(KIND_MARK):
            models = [data_kinds()[part.removeprefix(KIND_MARK)]]
            continue
        field = models[0].model_fields.get(part)
        if field is None:  # a key of a mapping of the models found last
            continue
        models = _models_in(field.annotation)
        if not models:
            return []
    first = models[0]
    return first.known_keys() if issubclass(first, Strict) else list(first.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the settings models that a type annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models_in(arg)]


def dump_settings(settings: BaseModel) -> str:
    """Return the settings as YAML that ``load_settings`` reads back to the same settings."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def preset_names(section: str) -> list[str]:
    """Return the names of the presets that ship for a section, sorted."""
    return sorted(path.stem for path in (config_dir() / section).glob("*.yaml"))


def preset_comment(section: str, name: str) -> str:
    """Return the first comment line of a preset: what it is for."""
    text = (config_dir() / section / f"{name}.yaml").read_text(encoding="utf-8")
    first = text.split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
