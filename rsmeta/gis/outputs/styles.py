"""Styles beside a raster: QML for QGIS, SLD for map servers."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from rsmeta.gis.outputs.raster_spec import Ramp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.data import ClassSpec
    from rsmeta.gis.outputs.map_statistics import MapStatistics
    from rsmeta.gis.outputs.raster_spec import RasterProduct

# Colours of a ramp that are listed; programs interpolate between them.
_STOPS = 11
_SLD = "http://www.opengis.net/sld"
_QML_HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
# The oldest QGIS that reads all of it.
_QGIS = "3.16.0-Hannover"


def qml_text(product: RasterProduct, statistics: MapStatistics) -> str:
    """Return the style of a finished raster for QGIS, which loads ``<name>.qml`` automatically.

    Of several bands the first is drawn.

    Args:
        product: The raster.
        statistics: Statistics of the map.
    """
    root = Element("qgis", version=_QGIS, styleCategories="Symbology")
    pipe = SubElement(root, "pipe")
    if isinstance(product.drawn, Ramp):
        _qml_ramp(pipe, stops_of(product.drawn, statistics), product.raster.unit)
    else:
        _qml_palette(pipe, product.drawn)
    SubElement(root, "blendMode").text = "0"
    indent(root)
    return _QML_HEAD + tostring(root, encoding="unicode") + "\n"


def sld_text(product: RasterProduct, statistics: MapStatistics) -> str:
    """Return the style of a finished raster for map servers.

    Quantities are the numbers as they are stored: servers do not scale them.

    Args:
        product: The raster.
        statistics: Statistics of the map.

    Source: OGC 02-070, Styled Layer Descriptor 1.0.0, section 11.
    """
    root = Element("StyledLayerDescriptor", version="1.0.0", xmlns=_SLD)
    layer = SubElement(root, "NamedLayer")
    SubElement(layer, "Name").text = name = product.raster.descriptions[0]
    style = SubElement(layer, "UserStyle")
    SubElement(style, "Name").text = name
    rule = SubElement(SubElement(style, "FeatureTypeStyle"), "Rule")
    symbolizer = SubElement(rule, "RasterSymbolizer")
    SubElement(symbolizer, "Opacity").text = "1"
    channel = SubElement(SubElement(symbolizer, "ChannelSelection"), "GrayChannel")
    SubElement(channel, "SourceChannelName").text = "1"
    entries = _entries(product, statistics)
    colours = SubElement(symbolizer, "ColorMap")
    colours.set("type", "ramp" if isinstance(product.drawn, Ramp) else "values")
    for quantity, colour, label in entries:
        SubElement(
            colours, "ColorMapEntry", color=colour, quantity=f"{quantity:.10g}", label=label,
            opacity="1",
        )  # fmt: skip
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def range_of(ramp: Ramp, statistics: MapStatistics) -> tuple[float, float]:
    """Return the numbers that get the first and the last colour of a ramp.

    A ramp without ends gets two standard deviations around the mean, so that outliers do not wash
    out the rest.
    """
    if ramp.low is not None and ramp.high is not None:
        return ramp.low, ramp.high
    numbers = statistics.numbers
    if not numbers.count:
        return 0.0, 1.0
    low = max(numbers.low, numbers.mean - 2 * numbers.deviation)
    high = min(numbers.high, numbers.mean + 2 * numbers.deviation)
    return (low, high) if high > low else (low, low + 1.0)


def stops_of(ramp: Ramp, statistics: MapStatistics) -> list[tuple[float, str]]:
    """Return numbers, ascending, and their colours as ``#rrggbb``."""
    from matplotlib import colormaps  # slow to import
    from matplotlib.colors import to_hex

    low, high = range_of(ramp, statistics)
    shares = [i / (_STOPS - 1) for i in range(_STOPS)]
    return [(low + (high - low) * s, to_hex(colormaps[ramp.name](s))) for s in shares]


def _entries(product: RasterProduct, statistics: MapStatistics) -> list[tuple[float, str, str]]:
    if not isinstance(product.drawn, Ramp):
        return [(spec.value, spec.colour, spec.name) for spec in product.drawn]
    stops = stops_of(product.drawn, statistics)
    return [
        (number / product.raster.scale, colour, _label(number, product.raster.unit))
        for number, colour in stops
    ]


def _label(number: float, unit: str | None) -> str:
    return f"{number:.4g} {unit}" if unit else f"{number:.4g}"


def _qml_renderer(pipe: Element, kind: str) -> Element:
    return SubElement(
        pipe, "rasterrenderer", type=kind, band="1", opacity="1", alphaBand="-1", nodataColor=""
    )


def _qml_palette(pipe: Element, classes: Sequence[ClassSpec]) -> None:
    palette = SubElement(_qml_renderer(pipe, "paletted"), "colorPalette")
    for spec in classes:
        SubElement(
            palette, "paletteEntry", value=str(spec.value), color=spec.colour, label=spec.name,
            alpha="255",
        )  # fmt: skip


def _qml_ramp(pipe: Element, stops: Sequence[tuple[float, str]], unit: str | None) -> None:
    (low, _), (high, _) = stops[0], stops[-1]
    ends = {"minimumValue": f"{low:.10g}", "maximumValue": f"{high:.10g}"}
    renderer = _qml_renderer(pipe, "singlebandpseudocolor")
    renderer.set("classificationMin", ends["minimumValue"])
    renderer.set("classificationMax", ends["maximumValue"])
    shader = SubElement(
        SubElement(renderer, "rastershader"), "colorrampshader", colorRampType="INTERPOLATED",
        classificationMode="1", clip="0",
    )  # fmt: skip
    shader.attrib.update(ends)
    ramp = SubElement(shader, "colorramp", type="gradient", name="[source]")
    inner = [
        f"{(number - low) / (high - low):.4g};{_rgba(colour)}" for number, colour in stops[1:-1]
    ]
    options = {
        "color1": _rgba(stops[0][1]), "color2": _rgba(stops[-1][1]), "discrete": "0",
        "rampType": "gradient", "stops": ":".join(inner),
    }  # fmt: skip
    listed = SubElement(ramp, "Option", type="Map")
    for name, value in options.items():  # twice: QGIS before 3.18 reads the second form only
        SubElement(listed, "Option", type="QString", name=name, value=value)
    for name, value in options.items():
        SubElement(ramp, "prop", k=name, v=value)
    for number, colour in stops:
        SubElement(
            shader, "item", value=f"{number:.10g}", color=colour, label=_label(number, unit),
            alpha="255",
        )  # fmt: skip


def _rgba(colour: str) -> str:
    return ",".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5)) + ",255"
