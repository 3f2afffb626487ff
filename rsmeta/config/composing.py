"""Lay settings over settings: keys over those of a base file, variables of the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsmeta.config.yaml_files import plain, read_yaml
from rsmeta.errors import ConfigError

#: The key of a configuration that names the files whose settings it starts from.
EXTENDS = "extends"

#: A variable of the environment in a text.
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def extended(
    tree: Mapping[str, Any], folder: Path, behind: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Return settings laid over those of the files that their key ``extends`` names.

    Of several files the later ones count more. Mappings are laid over one another key by key; a
    section that names a preset, is a list, or is empty replaces the whole section.

    Args:
        tree: Settings, which may have the key ``extends``.
        folder: Folder that the names of base files start from.
        behind: Files that lead here.

    Raises:
        ConfigError: A base file is missing, is no YAML, or leads back to itself.
    """
    own = dict(tree)
    named = own.pop(EXTENDS, None)
    if named is None:
        return own
    bases = [named] if isinstance(named, str) else named
    if not isinstance(bases, list) or not all(isinstance(one, str) and one for one in bases):
        raise ConfigError(f"extends={named!r} must name a file, or a list of files")
    result: dict[str, Any] = {}
    for base in bases:
        path = folder / expanded(base)
        if path.resolve() in behind:
            chain = " -> ".join(one.name for one in (*behind, path))
            raise ConfigError(f"{path} extends itself ({chain}); break the circle")
        result = laid_over(result, read_extended(path, behind))
    return laid_over(result, own)


def read_extended(path: Path, behind: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a configuration with the files that it extends.

    Raises:
        ConfigError: One of them cannot be read.
    """
    return extended(plain(read_yaml(path)), path.parent, (*behind, path.resolve()))


def laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return whole settings over others, section by section."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        replaces = not isinstance(value, Mapping) or "preset" in value or below is None
        result[key] = value if replaces else merged(as_section(below), value)
    return result


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return one mapping over another, key by key at every depth."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, Mapping) and isinstance(below, dict):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result


def as_section(given: Any) -> dict[str, Any]:
    """Return a section to override keys of: a preset's name is kept, anything else replaced."""
    if isinstance(given, str):
        return {"preset": given}
    return dict(given) if isinstance(given, Mapping) else {}


def expanded(value: Any) -> Any:
    """Return a value with ``~/`` and ``${NAME}`` replaced in every text.

    Raises:
        ConfigError: There is no such variable in the environment.
    """
    if isinstance(value, Mapping):
        return {key: expanded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [expanded(one) for one in value]
    if not isinstance(value, str):
        return value
    for name in _VARIABLE.findall(value):
        if name not in os.environ:
            raise ConfigError(f"{value!r}: the environment has no variable {name}; set it")
    text = _VARIABLE.sub(lambda match: os.environ[match[1]], value)
    return str(Path(text).expanduser()) if text.startswith("~/") else text
