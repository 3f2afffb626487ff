"""Read from rsmeta's own source what a registry will hold: importing it would import torch."""

from __future__ import annotations

import ast
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROOT = Path(__file__).parents[1]


class Entry(NamedTuple):
    """A registered class.

    Attributes:
        registry: Name of its registry in the source, such as ``LOSSES``.
        name: Name that it is registered under.
        line: First line of its docstring.
        options: Default of each option.
    """

    registry: str
    name: str
    line: str
    options: dict[str, object]


def source_entries(package: str) -> list[Entry] | None:
    """Return what the modules of a package register by decorator.

    Args:
        package: A package directly below ``rsmeta``, such as ``losses``.

    Returns:
        Its entries; none where other packages may add to them, which only the registry knows.
    """
    if any(group.startswith("rsmeta.") for group in entry_points().groups):
        return None
    trees = [ast.parse(path.read_bytes()) for path in sorted((_ROOT / package).glob("*.py"))]
    classes = {
        node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)
    }
    return [
        Entry(registry, name, _first_line(node), _options(node, classes))
        for node in classes.values()
        for registry, name in _registered(node)
    ]


def _registered(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield registry and name of each ``@REGISTRY.register("name")``."""
    for made in node.decorator_list:
        match made:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=registry), attr="register"),
                args=[ast.Constant(value=str(name))],
            ):
                yield registry, name


def _first_line(node: ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").split("\n")[0]


def _options(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> dict[str, object]:
    """Return option defaults of a class; its own ``Options`` go before those of its bases."""
    for value in _assigned(node, "Options"):
        return _defaults(classes[value.id], classes) if value.id in classes else {}
    for base in _bases(node, classes):
        return _options(base, classes)
    return {}


def _assigned(node: ast.ClassDef, name: str) -> Iterator[ast.Name]:
    for line in node.body:
        match line:
            case (
                ast.Assign(targets=[ast.Name(id=target)], value=ast.Name() as value)
                | ast.AnnAssign(target=ast.Name(id=target), value=ast.Name() as value)
            ) if target == name:
                yield value


def _bases(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> Iterator[ast.ClassDef]:
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            yield classes[base.id]


def _defaults(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> dict[str, object]:
    """Return the default of each field of a settings class, inherited ones first."""
    found: dict[str, object] = {}
    for base in _bases(node, classes):
        found |= _defaults(base, classes)
    for line in node.body:
        match line:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call(keywords=keywords)):
                given = {word.arg: word.value for word in keywords}
                if "default" in given:
                    found[name] = ast.literal_eval(given["default"])
    return found
