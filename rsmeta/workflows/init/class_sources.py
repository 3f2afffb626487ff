"""Names and colours of the values of a label raster, from whatever lies in or beside the file."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import rasterio

from rsmeta.config.legends import LEGENDS, legend_of_codes
from rsmeta.config.yaml_files import parse_yaml
from rsmeta.errors import RsmetaError
from rsmeta.files import read_text
from rsmeta.gis.tags import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

#: Value -> ``name``, and ``colour`` where it is known.
Known = dict[int, dict[str, str]]

#: What files of class names are called beside a label raster, without their ending.
_NAMES = ("{stem}", "{stem}_classes", "classes", "class_names", "legend", "labels")

#: Usages of columns of a raster attribute table (GDAL, ``GDALRATFieldUsage``).
_NAME, _VALUE = "2", "5"


def known_classes(path: Path, values: Sequence[int]) -> tuple[Known, str]:
    """Return what is known of the values of a label raster, and where from.

    A source counts only if it names two or more of the values. Colours of the file's own colour
    table are added to names without.

    Args:
        path: The label raster.
        values: Values that occur.
    """
    for source, read in _sources(path):
        try:
            found = {value: one for value, one in read().items() if value in values}
        except (OSError, ValueError, RsmetaError, ElementTree.ParseError):
            continue  # a file that happens to be called so
        if len(found) > 1:
            return found, f"names from {source}"
    return of_codes(values)


def of_codes(values: Sequence[int]) -> tuple[Known, str]:
    """Return names of values that are codes of a published legend, and which one; 0 may be more."""
    codes = sorted({*values} - {0})
    legend = legend_of_codes(codes)
    if legend is None:
        return {}, ""
    names = {code: LEGENDS[legend][code]._asdict() for code in codes}
    return names, f"CHECK: the values are codes of {legend}"


def _sources(path: Path) -> Iterator[tuple[str, Callable[[], Known]]]:
    yield "the file's tags", lambda: _own_tags(path)
    for file, read in (
        (path.with_name(path.name + ".aux.xml"), _aux),
        (path.with_suffix(".qml"), _qml),
    ):
        if file.exists():
            yield file.name, lambda file=file, read=read: read(file)  # type: ignore[misc]
    for name in _NAMES:
        for suffix in (".yaml", ".yml", ".json", ".csv", ".txt"):
            file = path.with_name(name.replace("{stem}", path.stem) + suffix)
            if file.exists():
                yield file.name, lambda file=file: _listed(file)  # type: ignore[misc]


def _own_tags(path: Path) -> Known:
    with rasterio.open(path) as raster:
        entries = json.loads(raster.tags().get(CLASSES, "[]"))
    return {one["value"]: {"name": one["name"], "colour": one["colour"]} for one in entries}


def _aux(file: Path) -> Known:
    """Read category names or an attribute table that GDAL or ArcGIS keeps beside a raster."""
    tree = ElementTree.fromstring(file.read_bytes())
    band = tree.find("PAMRasterBand")
    if band is None:
        return {}
    listed = band.findall("CategoryNames/Category")
    found: Known = {i: {"name": one.text.strip()} for i, one in enumerate(listed) if one.text}
    usages = [one.findtext("Usage") for one in band.findall("GDALRasterAttributeTable/FieldDefn")]
    if _NAME in usages and _VALUE in usages:
        for row in band.findall("GDALRasterAttributeTable/Row"):
            cells = [cell.text or "" for cell in row.findall("F")]
            name = cells[usages.index(_NAME)].strip()
            if name:
                found[int(float(cells[usages.index(_VALUE)]))] = {"name": name}
    return found


def _qml(file: Path) -> Known:
    """Read the palette of a QGIS style."""
    tree = ElementTree.fromstring(file.read_bytes())
    return {
        int(float(one.get("value", ""))): {
            "name": one.get("label", "").strip(), "colour": one.get("color", "")[:7],
        }
        for one in tree.iter("paletteEntry")
        if one.get("label", "").strip()
    }  # fmt: skip


def _listed(file: Path) -> Known:
    """Read a YAML or JSON mapping of values to names, or lines of a value and a name."""
    text = read_text(file)
    if file.suffix in (".yaml", ".yml", ".json"):
        return _of_tree(parse_yaml(text))
    rows = [row for row in csv.reader(text.splitlines(), delimiter=_delimiter(text)) if row]
    pairs = [(row[0].strip(), row[1].strip()) for row in rows if len(row) > 1]
    return {int(value): {"name": name} for value, name in pairs if value.isdecimal() and name}


def _delimiter(text: str) -> str:
    first = text.strip().splitlines()[-1] if text.strip() else ""
    return next((mark for mark in (",", ";", "\t", ":") if mark in first), " ")


def _of_tree(tree: Any) -> Known:
    if isinstance(tree, dict) and len(tree) == 1:  # under a heading such as "classes"
        tree = next(iter(tree.values()))
    if isinstance(tree, list):
        if all(isinstance(one, dict) and "value" in one and "name" in one for one in tree):
            tree = {one["value"]: one for one in tree}
        else:
            tree = dict(enumerate(tree))
    if not isinstance(tree, dict):
        return {}
    found: Known = {}
    for value, name in tree.items():
        named = name if isinstance(name, dict) else {"name": name}
        if str(value).isdecimal() and named.get("name"):
            colour = named.get("colour") or named.get("color")
            found[int(value)] = {"name": str(named["name"])}
            found[int(value)] |= {"colour": str(colour)} if colour else {}
    return found
