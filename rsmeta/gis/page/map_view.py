"""What the page's text and what its viewer need of a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsmeta.errors import enumerate_names
from rsmeta.gis.outputs.map_statistics import MapStatistics
from rsmeta.gis.outputs.raster_spec import QUANTITY_RAMP, Ramp
from rsmeta.gis.outputs.styles import stops_of
from rsmeta.gis.page.charts import histogram_chart
from rsmeta.gis.page.layers import NUMBER_STEPS
from rsmeta.gis.page.scores import number_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.gis.class_map import ClassMap, Cover
    from rsmeta.gis.page.layers import Layers
    from rsmeta.gis.quantity_map import QuantityMap, Spread

#: Of more classes than this only those that occur are listed, by their area.
_MOST_IN_ORDER = 24


def class_view(
    class_map: ClassMap, cover: Cover, layers: Layers, *, imagery_name: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the page's text and what its viewer need of a map of classes.

    Args:
        class_map: The map.
        cover: What its classes cover.
        layers: Its thinned layers.
        imagery_name: What is said to lie below the map.
    """
    measured = cover.areas_m2 or tuple(map(float, cover.pixels))
    total = sum(measured) or 1.0
    classes: list[dict[str, Any]] = [
        {
            "index": index,
            "name": spec.name,
            "colour": spec.colour,
            "pixels": pixels,
            "share": amount / total,
            "area": None if cover.areas_m2 is None else area_text(amount),
        }
        for index, (spec, pixels, amount) in enumerate(
            zip(class_map.classes, cover.pixels, measured, strict=True)
        )
    ]
    listed = classes
    if len(classes) > _MOST_IN_ORDER:
        listed = sorted((one for one in classes if one["pixels"]), key=lambda one: -one["share"])
    view = {
        "quantity": None,
        "classes": listed,
        "many": len(listed) > _MOST_IN_ORDER,
        "left_out": len(classes) - len(listed),
        "described": _described([one["name"] for one in listed]),
        **_common(layers, imagery_name),
    }
    legend = [{"name": spec.name, "colour": spec.colour} for spec in class_map.classes]
    return view, {**layers.packed(), "legend": legend, "quantity": None, "grid": _grid(layers)}


def quantity_view(
    quantity: QuantityMap, spread: Spread, layers: Layers, *, imagery_name: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the page's text and what its viewer need of a map of numbers.

    Args:
        quantity: The map.
        spread: What its numbers come to.
        layers: Its thinned layers.
        imagery_name: What is said to lie below the map.
    """
    numbers, (low, high) = spread.statistics, spread.span
    # the same colours for the same numbers as the styles beside the map have
    stops = stops_of(Ramp(QUANTITY_RAMP), MapStatistics((), None, numbers=numbers))
    summary = {"smallest": numbers.low, "mean": numbers.mean, "largest": numbers.high,
               "standard deviation": numbers.deviation}  # fmt: skip
    known = {name: with_unit(value, quantity.unit) for name, value in summary.items()}
    view = {
        "quantity": {
            "name": quantity.name,
            "unit": quantity.unit,
            "chart": histogram_chart(spread.counts, spread.span, stops, title=_titled(quantity)),
            "statistics": known if numbers.count else {},
            "outside": spread.below + spread.above,
        },
        "described": quantity.name,
        **_common(layers, imagery_name),
    }
    drawn = {
        "unit": quantity.unit, "low": low, "high": high, "steps": NUMBER_STEPS,
        "cut": [spread.below > 0, spread.above > 0],
        "stops": [[number, colour] for number, colour in stops],
    }  # fmt: skip
    return view, {**layers.packed(), "legend": [], "quantity": drawn, "grid": _grid(layers)}


def _common(layers: Layers, imagery_name: str) -> dict[str, Any]:
    return {
        "step": layers.step,
        "has_confidence": layers.confidence is not None,
        "has_imagery": layers.imagery is not None,
        "imagery_name": imagery_name,
    }


def _described(names: Sequence[str]) -> str:
    shown = list(names[:_MOST_IN_ORDER])
    more = [f"{len(names) - len(shown)} more"] if len(names) > len(shown) else []
    return enumerate_names([*shown, *more])


def _titled(quantity: QuantityMap) -> str:
    unit = f" in {quantity.unit}" if quantity.unit else ""
    return f"Histogram of {quantity.name}{unit}"


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


def with_unit(value: float, unit: str | None) -> str:
    """Return a number with its unit, if it has one."""
    return f"{number_text(value)} {unit}" if unit else number_text(value)
