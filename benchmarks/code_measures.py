"""Measure the code: sizes of functions and modules, import cycles, and the calls behind a command.

    python benchmarks/code_measures.py [CHECKOUT] [--calls rsmeta.workflows.train:train ...]

Everything is read from the syntax tree; nothing is imported or run. ``--calls`` follows the calls
that can be resolved by name (functions, classes and methods of rsmeta) from a function, each
function once, in the order of the code, and counts the modules and the steps between them.
"""

from __future__ import annotations

import argparse
import ast
import graphlib
import itertools
import statistics
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef

#: Folder of a checkout -> name of the package it is installed as.
PACKAGES = {"rsmeta": "rsmeta", "cli": "rsmeta_cli"}


def read_modules(root: Path) -> dict[str, ast.Module]:
    """Return the syntax tree of every module by name; a package is named without __init__."""
    return {
        ".".join((package, *path.relative_to(root / folder).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): ast.parse(path.read_text(encoding="utf-8"))
        for folder, package in PACKAGES.items()
        for path in sorted((root / folder).rglob("*.py"))
    }


def _run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree, but not what only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _run_time_nodes(node)


def _imported(tree: ast.AST, modules: dict[str, ast.Module]) -> Iterator[tuple[str, str, str]]:
    """Yield (local name, module, name in it) for each run-time import of rsmeta."""
    for node in _run_time_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in modules:
                    yield alias.asname or alias.name, alias.name, ""
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = alias.asname or alias.name
                if f"{node.module}.{alias.name}" in modules:
                    yield name, f"{node.module}.{alias.name}", ""
                elif node.module in modules:
                    yield name, node.module, alias.name


def import_graph(modules: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return the modules that each module imports, inside functions too."""
    return {
        name: {target for _, target, _ in _imported(tree, modules)} - {name}
        for name, tree in modules.items()
    }


def import_cycle(modules: dict[str, ast.Module]) -> list[str]:
    """Return one import cycle, its first module repeated at the end; empty if there is none."""
    try:
        graphlib.TopologicalSorter(import_graph(modules)).prepare()
    except graphlib.CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


def _parameters(function: Function) -> int:
    given = function.args
    names = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in names)


def measures(root: Path) -> dict[str, str]:
    """Return the measures of a checkout as text."""
    modules = read_modules(root)
    functions = [
        node
        for tree in modules.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = sorted((f.end_lineno or f.lineno) - f.lineno + 1 for f in functions)
    parameters = sorted(map(_parameters, functions))
    files = [path for folder in PACKAGES for path in (root / folder).rglob("*.py")]
    total = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)

    def p90(values: list[int]) -> int:
        return values[int(0.9 * len(values))]

    return {
        "functions": f"{len(functions):,}",
        "lines per function: median / p90 / max": f"{statistics.median(lines):.0f} / {p90(lines)} "
        f"/ {lines[-1]}",
        "parameters per function: p90 / max": f"{p90(parameters)} / {parameters[-1]}",
        "modules": f"{len(modules):,}",
        "lines": f"{total:,}",
        "import cycle": " -> ".join(import_cycle(modules)) or "none",
    }


class Calls:
    """The calls from one function, as far as names resolve them.

    Args:
        modules: Syntax trees by module name.
    """

    def __init__(self, modules: dict[str, ast.Module]) -> None:
        self._names: dict[str, dict[str, tuple[str, str]]] = {}
        self._defined: dict[tuple[str, str], Function | ast.ClassDef] = {}
        owners: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for module, tree in modules.items():
            imported = _imported(tree, modules)
            self._names[module] = {local: (target, name) for local, target, name in imported}
            for node in tree.body:
                if isinstance(node, Function | ast.ClassDef):
                    self._defined[module, node.name] = node
                if isinstance(node, ast.ClassDef):
                    for item in node.body:
                        if isinstance(item, Function):
                            self._defined[module, f"{node.name}.{item.name}"] = item
                            owners[item.name].append((module, f"{node.name}.{item.name}"))
        # A method is followed if only one class defines its name.
        self._methods = {name: found[0] for name, found in owners.items() if len(found) == 1}

    def follow(self, module: str, function: str) -> list[str]:
        """Return the module of each function reached, in the order of the code."""
        trace: list[str] = []
        seen: set[tuple[str, str]] = set()
        self._follow((module, function), seen, trace)
        return trace

    def _follow(self, at: tuple[str, str], seen: set[tuple[str, str]], trace: list[str]) -> None:
        node = self._defined.get(at)
        if node is None or at in seen:
            return
        seen.add(at)
        if isinstance(node, ast.ClassDef):
            self._follow((at[0], f"{at[1]}.__init__"), seen, trace)
            return
        trace.append(at[0])
        for call in (inner for inner in ast.walk(node) if isinstance(inner, ast.Call)):
            target = self._resolve(at[0], call.func)
            if target is not None:
                self._follow(target, seen, trace)
                if trace[-1] != at[0]:
                    trace.append(at[0])  # the call returns

    def _resolve(self, module: str, called: ast.expr) -> tuple[str, str] | None:
        names = self._names[module]
        if isinstance(called, ast.Name):
            return names.get(called.id) or (module, called.id)
        if not isinstance(called, ast.Attribute):
            return None
        if isinstance(called.value, ast.Name) and called.value.id in names:
            target, name = names[called.value.id]
            return target, f"{name}.{called.attr}" if name else called.attr
        return self._methods.get(called.attr)


def main() -> None:
    """Print the measures as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", nargs="?", type=Path, default=Path())
    parser.add_argument("--calls", nargs="+", default=[], metavar="MODULE:FUNCTION")
    given = parser.parse_args()
    for name, value in measures(given.checkout).items():
        print(f"{name:40} {value}")
    calls = Calls(read_modules(given.checkout))
    for place in given.calls:
        trace = calls.follow(*place.split(":"))
        hops = sum(a != b for a, b in itertools.pairwise(trace))
        print(f"{place}: {len(set(trace))} modules, {hops} steps between modules")


if __name__ == "__main__":
    main()
