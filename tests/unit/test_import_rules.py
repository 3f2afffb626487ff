"""What imports promise: no circles, and one clear line on a platform that does not work."""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import rsmeta

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(rsmeta.__file__).parent


def _run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from _run_time_nodes(node)


def _imports(file: Path, modules: set[str]) -> set[str]:
    """Return what a file imports of the package, inside functions too."""
    found: set[str] = set()
    for node in _run_time_nodes(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else node.module for name in inner}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & modules


def test_no_module_imports_itself_through_others() -> None:
    files = {
        ".".join(("rsmeta", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): file
        for file in PACKAGE.rglob("*.py")
    }
    modules = set(files)
    graph = {name: _imports(file, modules) - {name} for name, file in files.items()}
    assert len(graph) > 200
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_windows_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    code = compile((PACKAGE / "__init__.py").read_text(encoding="utf-8"), "rsmeta", "exec")
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ImportError, match=r"runs on Linux and macOS; .* WSL 2") as refused:
        exec(code, {"__name__": "rsmeta"})
    assert refused.value.name == "rsmeta"
