"""Which column of polygons holds the classes, and which classes lie on the scenes."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rsmeta.config.data import CLASS_NODATA, WIDE_NODATA
from rsmeta.data.polygon_labels import is_empty_cell
from rsmeta.errors import LabelsError, enumerate_names
from rsmeta.geo.footprint import outline
from rsmeta.geo.polygons import POINTS, VectorFile
from rsmeta.workflows.init.class_sources import of_codes
from rsmeta.workflows.init.guess import Guess, LabelGuesses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import geopandas
    import pandas

    from rsmeta.geo.grid import Grid

#: A column with more distinct values than this holds no classes.
MOST_CLASSES = 64

#: What columns of classes are called, and what others are, in common languages.
_CLASS_WORDS = re.compile(
    r"cl(ass|ase|assi)|klass|kategor|categor|label|legend|lulc|land.?(use|cover)|cover|typ|tipo|"
    r"crop|kultur|cultur|nutz|usage|^uso|ocupa|occup|species|art$|habitat|^lc|corine|clc|^name$|nom"
)
_OTHER_WORDS = re.compile(
    r"date|datum|fecha|time|^id$|^fid|_id$|uuid|user|author|comment|remark|note|area|flaeche|"
    r"shape|perim|length|source|index"
)


def guess_polygons(path: Path, grids: Sequence[Grid]) -> LabelGuesses:
    """Guess the class column of polygons, and list the classes that lie on the scenes.

    Args:
        path: Vector file.
        grids: Grids of the scenes.

    Raises:
        LabelsError: The file cannot be read, holds no polygons on the scenes, or no column with
            two or more classes.
    """
    layer, others = likely_layer(path)
    file = VectorFile(path, layer, error=LabelsError)
    on_scenes, sides = _on_grids(file, grids)
    column, rest = _column(path, on_scenes)
    cells = on_scenes[column.name]
    classes, origin = _classes(on_scenes, column)
    counts = Counter(int(value) for value in _values(cells, classes))
    guesses = [Guess("class_column", str(column.name), _why(column, rest))]
    if others:
        also = enumerate_names(others)
        guesses.insert(0, Guess("layer", layer, f"other layers that may hold labels: {also}"))
    crs = "no CRS" if on_scenes.crs is None else on_scenes.crs.to_string()
    points = on_scenes.geom_type.isin(POINTS)
    what = "points" if points.all() else "polygons and points" if points.any() else "polygons"
    about = f"{len(on_scenes)} {what} on the scenes, {crs if len(crs) < 24 else 'own CRS'}"
    empty = int(cells.map(is_empty_cell).sum())
    about += f"; {empty} without class" if empty else ""
    side_px = float(np.median(sides))
    drawn_as = "point" if points.all() else "polygon"
    return LabelGuesses(about, tuple(guesses), classes, origin, counts, side_px, drawn_as)


def likely_layer(path: Path) -> tuple[str | None, list[str]]:
    """Return the layer with most polygons, or points, where there are several, and the others."""
    import pyogrio

    file = VectorFile(path, error=LabelsError)
    if str(path) != str(file.path) or file.path.suffix.lower() == ".parquet":
        return None, []  # the user names one, or there are no layers
    try:
        names = [(str(name), str(kind)) for name, kind in pyogrio.list_layers(file.path)]
        flat = [name for name, kind in names if "Polygon" in kind or kind == "Unknown"]
        flat = flat or [name for name, kind in names if "Point" in kind]
        if len([name for name, kind in names if kind != "None"]) < 2 or not flat:
            return None, []
        sizes = {name: pyogrio.read_info(file.path, layer=name)["features"] for name in flat}
    except (OSError, RuntimeError, ValueError):
        return None, []  # reading it says what is wrong
    best = max(flat, key=lambda name: sizes[name])
    return best, [name for name in flat if name != best]


def _on_grids(file: VectorFile, grids: Sequence[Grid]) -> tuple[geopandas.GeoDataFrame, np.ndarray]:
    """Return the polygons that lie on any of the scenes, and their sides in pixels."""
    found: dict[Any, float] = {}
    for grid in dict.fromkeys(grids):
        frame = file.read_labels_onto(grid)
        here = frame[frame.intersects(outline(grid))]
        areas = shapely.area(here.geometry.to_numpy())
        sides = np.sqrt(areas / abs(grid.transform.determinant))
        found |= dict(zip(here.index, sides, strict=True))
    if not found:
        raise LabelsError(f"the polygons {file.path} do not overlap the scenes; check both")
    return file.read().loc[list(found)], np.array(list(found.values()))


def likely_column(frame: geopandas.GeoDataFrame) -> str | None:
    """Return the column that looks most like classes; none if none does."""
    scored = _scores(frame)
    return max(scored, key=lambda name: scored[name]) if scored else None


def _scores(frame: geopandas.GeoDataFrame) -> dict[str, int]:
    """Return how much each column looks like classes, of those that may hold them."""
    columns = [name for name in frame.columns if name != frame.geometry.name]
    found = {name: _score(str(name), frame[name]) for name in columns}
    return {name: score for name, score in found.items() if score is not None}


def _column(path: Path, frame: geopandas.GeoDataFrame) -> tuple[pandas.Series[Any], list[str]]:
    """Return the column that looks most like classes, and others that might be it."""
    scored, best = _scores(frame), likely_column(frame)
    if best is None:
        columns = [str(name) for name in frame.columns if name != frame.geometry.name]
        single = [name for name in columns if _of_one_class(frame[name])]
        if single:
            cells = [cell for cell in frame[single[0]].tolist() if not is_empty_cell(cell)]
            raise LabelsError(
                f"{path}: on the scenes, {single[0]} is {str(cells[0])!r} everywhere, and a model "
                f"needs two or more classes; draw polygons of another one"
            )
        raise LabelsError(
            f"{path} has no column with 2 to {MOST_CLASSES} classes (columns: "
            f"{enumerate_names(columns) or 'none'}); add one with the class of each polygon"
        )
    near = [str(name) for name in scored if name != best and scored[name] >= scored[best] - 3]
    return frame[best], near


def _of_one_class(column: pandas.Series[Any]) -> bool:
    cells = [cell for cell in column.tolist() if not is_empty_cell(cell)]
    return len({*map(str, cells)}) == 1 and bool(_CLASS_WORDS.search(str(column.name).lower()))


def _score(name: str, column: pandas.Series[Any]) -> int | None:
    """Return how much a column looks like classes; none: not at all."""
    cells = [cell for cell in column.tolist() if not is_empty_cell(cell)]
    kinds = len({str(cell) for cell in cells})
    is_text = all(isinstance(cell, str) for cell in cells)
    if not 2 <= kinds <= MOST_CLASSES or not (is_text or all(_whole(cell) for cell in cells)):
        return None
    repeats = 2 * kinds <= len(cells)
    score = 2 * is_text + 2 * repeats + 2 * bool(_CLASS_WORDS.search(name.lower()))
    return score - 3 * bool(_OTHER_WORDS.search(name.lower())) - (kinds == len(cells))


def _classes(
    frame: geopandas.GeoDataFrame, column: pandas.Series[Any]
) -> tuple[tuple[dict[str, Any], ...], str]:
    """Return the entries of the classes of a column, and where their values come from."""
    cells = [cell for cell in column.tolist() if not is_empty_cell(cell)]
    if all(isinstance(cell, bool) for cell in cells):
        yes = str(column.name)
        return ({"value": 0, "name": f"no {yes}"}, {"value": 1, "name": yes}), f"{yes}: no, yes"
    if all(_whole(cell) for cell in cells):
        values = sorted({int(float(cell)) for cell in cells})
        if any(value < 0 for value in values):
            raise LabelsError(
                f"the column {column.name} holds negative numbers; a class is named by text or by "
                f"numbers from 0"
            )
        if values[-1] >= WIDE_NODATA:
            numbered = tuple({"value": i, "name": str(v)} for i, v in enumerate(values))
            return numbered, "CHECK: numbers found in the column, too large for a map, as names"
        names_of, origin = of_codes(values)
        listed = tuple({"value": v, "name": f"class_{v}", **names_of.get(v, {})} for v in values)
        return listed, origin or "CHECK: numbers found in the column; give them names"
    names = sorted({str(cell).strip() for cell in cells}, key=lambda name: (name.casefold(), name))
    origin = f"names from {column.name}{_alike(names)}"
    for other in frame.columns:
        if other not in (column.name, frame.geometry.name):
            codes = _codes(frame[other], column)
            if codes is not None:
                ordered = sorted(names, key=lambda name: codes[name])
                named = [{"value": codes[name], "name": name} for name in ordered]
                return tuple(named), f"{origin}, values from {other}"
    return tuple({"value": i, "name": name} for i, name in enumerate(names)), origin


def _alike(names: Sequence[str]) -> str:
    """Return a remark on names that differ in upper and lower case only, else nothing."""
    pairs = [pair for pair in itertools.pairwise(names) if len({*map(str.casefold, pair)}) == 1]
    if not pairs:
        return ""
    return f"; CHECK: {pairs[0][0]} and {pairs[0][1]} are two classes: write them alike if not"


def _codes(column: pandas.Series[Any], names: pandas.Series[Any]) -> dict[str, int] | None:
    """Return the number that a column has for each name, if it has just one, for a byte map."""
    pairs = {
        (str(name).strip(), str(cell))
        for name, cell in zip(names.tolist(), column.tolist(), strict=True)
        if not is_empty_cell(name)
    }
    if not all(_whole(cell) and 0 <= float(cell) < CLASS_NODATA for _, cell in pairs):
        return None
    found = {name: int(float(cell)) for name, cell in pairs}
    one_to_one = len(pairs) == len(found) == len(set(found.values()))
    return found if one_to_one else None


def _values(cells: pandas.Series[Any], classes: Sequence[Mapping[str, Any]]) -> list[int]:
    by_name = {one["name"]: one["value"] for one in classes}
    found = []
    for cell in cells.tolist():
        if not is_empty_cell(cell):
            text = str(cell).strip()
            found.append(by_name[text] if text in by_name else int(float(cell)))
    return found


def _why(column: pandas.Series[Any], rest: Sequence[str]) -> str:
    kinds = column.nunique()
    kind = "text" if column.map(lambda cell: isinstance(cell, str)).any() else "numbers"
    also = "; CHECK: another one in each row" if kinds == len(column) > 9 else ""
    also += f"; could also be: {enumerate_names(rest)}" if rest else ""
    return f"{kind}, {kinds} distinct values{also}"


def _whole(cell: Any) -> bool:
    try:
        return float(cell) % 1 == 0
    except (TypeError, ValueError):
        return False
