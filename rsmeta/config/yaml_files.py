"""Read YAML as its users mean it: nothing is dropped, and only numbers become numbers.

A key that appears twice is an error. ``yes``, ``no``, ``on``, ``off``, dates, ``12:30`` and
numbers with leading zeros stay text, which YAML 1.1 turns into truth values and other numbers.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rsmeta.errors import ConfigError, one_line

#: More values than any settings file has; aliases of aliases can multiply to far more.
_MOST_VALUES = 100_000

#: Bytes that tell text from imagery and data bases.
_HEAD_BYTES = 1024
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with fewer guesses and without silence."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 as PyYAML has it

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        """Compose one node, and count what aliases repeat."""
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        assert node is not None
        if is_alias:
            if id(node) not in self.sizes:
                raise yaml.MarkedYAMLError(None, None, "an alias contains itself", node.start_mark)
            return node
        size = 1 + sum(_sizes(node, self.sizes))
        self.sizes[id(node)] = size
        if size > _MOST_VALUES:
            raise yaml.MarkedYAMLError(
                None, None, f"its aliases repeat more than {_MOST_VALUES} values", node.start_mark
            )
        return node

    def __init__(self, text: str | bytes) -> None:
        super().__init__(text)
        self.sizes: dict[int, int] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Make a dictionary; a key that appears twice is an error (a merged one may be repeated).

        Raises:
            MarkedYAMLError: A key appears twice.
        """
        seen: dict[Any, Any] = {}
        for key_node, _ in node.value:
            key = (key_node.tag, key_node.value) if isinstance(key_node.value, str) else None
            if key in seen and key is not None:
                first = seen[key].start_mark.line + 1
                raise yaml.MarkedYAMLError(
                    None, None, f"the key {key[1]!r} appears twice (first in line {first})",
                    key_node.start_mark,
                )  # fmt: skip
            seen[key] = key_node
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


def _sizes(node: yaml.Node, sizes: dict[int, int]) -> list[int]:
    """Return how many values the children of a node stand for."""
    if isinstance(node, yaml.ScalarNode):
        return []
    children = [
        child
        for entry in node.value
        for child in (entry if isinstance(node, yaml.MappingNode) else (entry,))
    ]
    return [sizes[id(child)] for child in children]


def _resolve(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_resolve("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF")
_resolve("int", r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[0-1_]+)$", "-+0123456789")
_resolve(
    "float",
    r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
    "-+0123456789.",
)
_resolve("merge", r"^(?:<<)$", "<")
_resolve("null", r"^(?:~|null|Null|NULL|)$", "~nN")
_Loader.yaml_implicit_resolvers.setdefault("", []).extend(
    _Loader.yaml_implicit_resolvers["~"][:1]  # an empty scalar
)


def parse_yaml(text: str | bytes) -> Any:
    """Return what a YAML text holds.

    Raises:
        ConfigError: It is no YAML, a key appears twice, or it is nested or repeated beyond reason.
    """
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{line}{one_line(said)}") from error
    except RecursionError:
        raise ConfigError("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of too many digits
        raise ConfigError(one_line(error)[:200]) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; UTF-8, or UTF-16 with a byte order mark.

    Raises:
        ConfigError: The file is missing, is no YAML, or is not a mapping.
    """
    text = _text_of(Path(path))
    try:
        tree = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"cannot read {path} as YAML ({one_line(error)})") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds no settings; it must be a mapping such as 'data: …'")
    return plain(tree)


def plain(tree: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a deep copy whose mappings are plain dictionaries."""
    return {key: _plain(value) for key, value in tree.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _text_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(_HEAD_BYTES)
            is_text = b"\0" not in text or text.startswith(_UTF16)
            text += file.read() if is_text else b""
    except FileNotFoundError:
        raise ConfigError(f"no configuration at {path}; check the path") from None
    except IsADirectoryError:
        inside = "".join(f", such as {one}" for one in sorted(path.glob("*.yaml"))[:1])
        raise ConfigError(f"{path} is a folder; give a configuration file{inside}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({one_line(error)})") from error
    if not is_text:
        raise ConfigError(f"{path} is no configuration; give a YAML file, as rsmeta init writes")
    return text
