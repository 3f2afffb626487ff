"""One HTML page that holds all that it shows: no file beside it, no network.

Everything that comes from files (names of classes, settings, metadata) is escaped by the template;
a policy in the page lets no other script than its own run, and nothing be loaded.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import rsmeta

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.gis.class_map import ClassMap, Cover
    from rsmeta.gis.page_layers import Layers

_FOLDER = Path(__file__).with_name("page")


@dataclass(frozen=True)
class Page:
    """What a page shows; parts without content are left out.

    Attributes:
        title: Its heading.
        kind: What it is about, above the heading.
        facts: Name and value of what matters first.
        map: Map and legend, as of ``map_view``.
        layers: What the viewer draws, as of ``map_view``.
        accuracy: The map against a reference, as ``MapAccuracy.as_dict`` gives it, with ``unit``,
            ``reference_name``, ``area_unit`` and ``area_scale``.
        parts: The model on parts of its configuration, likewise, with ``title`` and ``name``.
        charts: Curves of the training: ``title``, ``svg`` and ``legend``.
        scales: Learned scales: ``positions``, ``rows`` and ``chart``.
        pictures: ``title`` and ``data`` (an address that holds the picture).
        provenance: Name and value.
        settings: ``name`` and ``text``.
    """

    title: str
    kind: str
    facts: Sequence[Mapping[str, str]] = ()
    map: Mapping[str, Any] | None = None
    layers: Mapping[str, Any] | None = None
    accuracy: Mapping[str, Any] | None = None
    parts: Sequence[Mapping[str, Any]] = ()
    charts: Sequence[Mapping[str, Any]] = ()
    scales: Mapping[str, Any] | None = None
    pictures: Sequence[Mapping[str, str]] = ()
    provenance: Sequence[Mapping[str, str]] = field(default=())
    settings: Sequence[Mapping[str, str]] = ()


def render(page: Page) -> str:
    """Return the page as HTML."""
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page_html: str = _template().render(
        **vars(page),
        style=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),  # our own, not given
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        version=rsmeta.__version__,
        made=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )
    return page_html


@cache
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.j2")


def map_view(
    class_map: ClassMap, cover: Cover, layers: Layers, *, imagery_name: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the page's text and what its viewer need of a map.

    Args:
        class_map: The map.
        cover: What its classes cover.
        layers: Its thinned layers.
        imagery_name: What is said to lie below the map.
    """
    measured = cover.areas_m2 or tuple(map(float, cover.pixels))
    total = sum(measured) or 1.0
    classes = [
        {
            "name": spec.name,
            "colour": spec.colour,
            "pixels": pixels,
            "share": amount / total,
            "area": None if cover.areas_m2 is None else area_text(amount),
        }
        for spec, pixels, amount in zip(class_map.classes, cover.pixels, measured, strict=True)
    ]
    view = {
        "classes": classes,
        "step": layers.step,
        "has_confidence": layers.confidence is not None,
        "has_imagery": layers.imagery is not None,
        "imagery_name": imagery_name,
    }
    legend = [{"name": one["name"], "colour": one["colour"]} for one in classes]
    return view, {**layers.packed(), "legend": legend, "grid": _grid(layers)}


def _grid(layers: Layers) -> dict[str, Any]:
    grid = layers.grid
    across, down = grid.pixel_size
    aspect, gsd_m = down / across, None
    if grid.crs is not None:
        gsd_m = grid.gsd_m
        if grid.crs.is_geographic and gsd_m is not None:
            # a degree of longitude is shorter than one of latitude, but at the equator
            metres_down = down * float(grid.crs.units_factor[1]) * _EARTH_RADIUS_M
            aspect = metres_down**2 / gsd_m**2
        gsd_m = None if gsd_m is None else gsd_m / aspect**0.5
    return {
        "transform": list(grid.transform)[:6],
        "aspect": aspect,
        "gsd_m": gsd_m,  # along a row
        "digits": 5 if grid.crs is not None and grid.crs.is_geographic else 1,
    }


#: Mean radius of the Earth: how far apart parallels lie needs no more than this for a picture.
_EARTH_RADIUS_M = 6_371_008.8


def area_text(area_m2: float) -> str:
    """Return an area in the unit that suits it."""
    if area_m2 >= 1e8:
        return f"{area_m2 / 1e6:,.0f} km²"
    if area_m2 >= 1e6:
        return f"{area_m2 / 1e6:,.2f} km²"
    if area_m2 >= 1e4:
        return f"{area_m2 / 1e4:,.2f} ha"
    return f"{area_m2:,.0f} m²"
