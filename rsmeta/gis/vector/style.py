"""How polygons of classes are drawn: QML for QGIS, SLD for map servers."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.config.data import ClassSpec

_QML_HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
# The oldest QGIS that reads all of it.
_QGIS = "3.16.0-Hannover"
#: Stands out from water, vegetation and bare ground, and from most classes.
_BRIGHT = "255,0,170"
_SLD = {
    "version": "1.1.0",
    "xmlns": "http://www.opengis.net/sld",
    "xmlns:se": "http://www.opengis.net/se",
    "xmlns:ogc": "http://www.opengis.net/ogc",
}


def qml_text(classes: Sequence[ClassSpec], column: str) -> str:
    """Return a style for QGIS: one filled colour per class, named in the legend, no outlines.

    Args:
        classes: Names and colours.
        column: Column that holds the name of the class.
    """
    root = Element("qgis", version=_QGIS, styleCategories="Symbology")
    renderer = SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr=column, symbollevels="0",
        enableorderby="0", forceraster="0",
    )  # fmt: skip
    categories = SubElement(renderer, "categories")
    symbols = SubElement(renderer, "symbols")
    for number, spec in enumerate(classes):
        SubElement(
            categories, "category", value=spec.name, symbol=str(number), label=spec.name,
            render="true", type="string",
        )  # fmt: skip
        _qml_fill(symbols, str(number), spec)
    indent(root)
    return _QML_HEAD + tostring(root, encoding="unicode") + "\n"


def outlines_qml(column: str) -> str:
    """Return a style for QGIS: empty bright squares, each with the number that a column holds."""
    root = Element("qgis", version=_QGIS, styleCategories="Symbology|Labeling", labelsEnabled="1")
    renderer = SubElement(
        root, "renderer-v2", type="singleSymbol", symbollevels="0", enableorderby="0",
        forceraster="0",
    )  # fmt: skip
    _qml_symbol(SubElement(renderer, "symbols"), "0", {
        "color": f"{_BRIGHT},0", "style": "no", "outline_style": "solid",
        "outline_color": f"{_BRIGHT},255", "outline_width": "0.7", "outline_width_unit": "MM",
        "joinstyle": "miter", "offset": "0,0",
    })  # fmt: skip
    settings = SubElement(SubElement(root, "labeling", type="simple"), "settings")
    text = SubElement(
        settings, "text-style", fieldName=column, isExpression="0", fontSize="10",
        fontSizeUnit="Point", textColor=f"{_BRIGHT},255", textOpacity="1", namedStyle="Bold",
    )  # fmt: skip
    SubElement(
        text, "text-buffer", bufferDraw="1", bufferSize="1", bufferSizeUnits="MM",
        bufferColor="255,255,255,255", bufferOpacity="1",
    )  # fmt: skip
    indent(root)
    return _QML_HEAD + tostring(root, encoding="unicode") + "\n"


def _qml_fill(symbols: Element, name: str, spec: ClassSpec) -> None:
    red, green, blue = spec.rgb
    _qml_symbol(symbols, name, {
        "color": f"{red},{green},{blue},255", "style": "solid", "outline_style": "no",
        "outline_color": f"{red},{green},{blue},255", "outline_width": "0",
        "joinstyle": "bevel", "offset": "0,0",
    })  # fmt: skip


def _qml_symbol(symbols: Element, name: str, options: Mapping[str, str]) -> None:
    symbol = SubElement(
        symbols, "symbol", type="fill", name=name, alpha="1", clip_to_extent="1", force_rhr="0"
    )
    layer = SubElement(
        symbol, "layer", {"class": "SimpleFill", "pass": "0"}, locked="0", enabled="1"
    )
    listed = SubElement(layer, "Option", type="Map")
    for key, value in options.items():  # twice: QGIS before 3.18 reads the second form only
        SubElement(listed, "Option", type="QString", name=key, value=value)
    for key, value in options.items():
        SubElement(layer, "prop", k=key, v=value)


def sld_text(classes: Sequence[ClassSpec], column: str, layer: str) -> str:
    """Return the same style for map servers.

    Args:
        classes: Names and colours.
        column: Column that holds the name of the class.
        layer: Name of the layer.

    Source: OGC 05-078r4 and 05-077r4, Styled Layer Descriptor and Symbology Encoding 1.1.
    """
    root, features = _sld_root(layer)
    for spec in classes:
        rule = SubElement(features, "se:Rule")
        SubElement(rule, "se:Name").text = spec.name
        equal = SubElement(SubElement(rule, "ogc:Filter"), "ogc:PropertyIsEqualTo")
        SubElement(equal, "ogc:PropertyName").text = column
        SubElement(equal, "ogc:Literal").text = spec.name
        fill = SubElement(SubElement(rule, "se:PolygonSymbolizer"), "se:Fill")
        SubElement(fill, "se:SvgParameter", name="fill").text = spec.colour
    return _sld_text(root)


def outlines_sld(column: str, layer: str) -> str:
    """Return the style of ``outlines_qml`` for map servers."""
    root, features = _sld_root(layer)
    rule = SubElement(features, "se:Rule")
    colour = "#" + "".join(f"{int(part):02x}" for part in _BRIGHT.split(","))
    stroke = SubElement(SubElement(rule, "se:PolygonSymbolizer"), "se:Stroke")
    SubElement(stroke, "se:SvgParameter", name="stroke").text = colour
    SubElement(stroke, "se:SvgParameter", name="stroke-width").text = "2"
    text = SubElement(rule, "se:TextSymbolizer")
    SubElement(SubElement(text, "se:Label"), "ogc:PropertyName").text = column
    SubElement(SubElement(text, "se:Fill"), "se:SvgParameter", name="fill").text = colour
    return _sld_text(root)


def _sld_root(layer: str) -> tuple[Element, Element]:
    """Return the root of a style, and the element that its rules go into."""
    root = Element("StyledLayerDescriptor", _SLD)
    named = SubElement(root, "NamedLayer")
    SubElement(named, "se:Name").text = layer
    return root, SubElement(SubElement(named, "UserStyle"), "se:FeatureTypeStyle")


def _sld_text(root: Element) -> str:
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"
