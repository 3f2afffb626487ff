"""The ``.aux.xml`` beside a raster: categories, attribute table, statistics.

GDAL and everything built on it read them from there: a GeoTIFF has no place for them. A map in
uint16 gets no colour table here either: GDAL could not convert it to PNG.

Source: GDAL, "Persistent Auxiliary Metadata", and its enumeration GDALRATFieldUsage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from rsmeta.gis.outputs.raster_spec import Ramp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.data import ClassSpec
    from rsmeta.gis.outputs.map_statistics import MapStatistics
    from rsmeta.gis.outputs.raster_spec import RasterProduct

_INTEGER, _REAL, _STRING = 0, 1, 2

# Name, type and usage of each column. Counts are real: whole numbers of GDAL's end at 2^31.
_COLUMNS = (
    ("Value", _INTEGER, 5), ("Class", _STRING, 2), ("Red", _INTEGER, 6), ("Green", _INTEGER, 7),
    ("Blue", _INTEGER, 8), ("Count", _REAL, 1),
)  # fmt: skip
_AREA = ("Area_m2", _REAL, 0)


def pam_text(product: RasterProduct, statistics: MapStatistics) -> str | None:
    """Return the text of the ``.aux.xml`` of a finished raster; none: it would be empty.

    Args:
        product: The raster.
        statistics: Statistics of the map.
    """
    root = Element("PAMDataset")
    band = SubElement(root, "PAMRasterBand", band="1")
    if not isinstance(product.drawn, Ramp):
        _categories(band, product.drawn)
        _table(band, product.drawn, statistics)
    elif statistics.numbers.count:
        _statistics(band, statistics)
    else:
        return None
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _categories(band: Element, classes: Sequence[ClassSpec]) -> None:
    """Name every value up to the largest: GDAL numbers the names from 0."""
    names = {spec.value: spec.name for spec in classes}
    listed = SubElement(band, "CategoryNames")
    for value in range(max(names) + 1):
        _text(listed, "Category", names.get(value, ""))


def _table(band: Element, classes: Sequence[ClassSpec], statistics: MapStatistics) -> None:
    table = SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    columns = _COLUMNS if statistics.areas_m2 is None else (*_COLUMNS, _AREA)
    for index, (name, kind, usage) in enumerate(columns):
        column = SubElement(table, "FieldDefn", index=str(index))
        for key, value in (("Name", name), ("Type", kind), ("Usage", usage)):
            _text(column, key, value)
    for index, spec in enumerate(classes):
        row = SubElement(table, "Row", index=str(index))
        cells = [spec.value, spec.name, *spec.rgb, statistics.pixels[index]]
        if statistics.areas_m2 is not None:
            cells.append(round(statistics.areas_m2[index], 3))
        for cell in cells:
            _text(row, "F", cell)


def _statistics(band: Element, statistics: MapStatistics) -> None:
    listed = SubElement(band, "Metadata")
    numbers = statistics.numbers
    for key, value in (
        ("MINIMUM", numbers.low), ("MAXIMUM", numbers.high), ("MEAN", numbers.mean),
        ("STDDEV", numbers.deviation),
    ):  # fmt: skip
        SubElement(listed, "MDI", key=f"STATISTICS_{key}").text = repr(value)


def _text(parent: Element, name: str, value: Any) -> None:
    SubElement(parent, name).text = str(value)
