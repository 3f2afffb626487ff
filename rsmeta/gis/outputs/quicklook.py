"""Pictures of maps for people, with legend, scale bar and north arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from rasterio.enums import Resampling

from rsmeta.geo.handles import open_quietly
from rsmeta.geo.render import colour_classes, stretch_rgb
from rsmeta.gis.outputs.map_decorations import (
    class_legend,
    legend_height_in,
    pixel_ratio,
    place_marks,
    ramp_legend,
)
from rsmeta.gis.outputs.raster_spec import Ramp
from rsmeta.gis.outputs.styles import range_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from rsmeta.config.data import ClassSpec
    from rsmeta.geo.scene import Scene
    from rsmeta.gis.outputs.map_statistics import MapStatistics
    from rsmeta.gis.outputs.raster_spec import RasterProduct
    from rsmeta.gis.outputs.rasters import Finished

mpl.use("Agg")

#: Longest side of a picture in pixels; larger rasters are thinned on reading.
_LONGEST_PX = 900
_DPI = 110
_SIDE_IN = 6.0
_NARROWEST_IN = 3.0
_TITLE_IN = 0.4
_RAMP_IN = 0.8
# Rasters longer than this many times their width are drawn squeezed.
_LONGEST_RATIO = 5.0


def map_picture(picture: Path, raster: Finished, statistics: MapStatistics, *, title: str) -> None:
    """Draw a finished map.

    Args:
        picture: The PNG to write.
        raster: The map.
        statistics: Its statistics: of many classes those that cover most are listed first.
        title: Title above the map.
    """
    product, grid = raster.product, raster.product.raster.grid
    values = _thinned(raster.hidden)
    pixel = pixel_ratio(grid)
    ratio = grid.height_px / grid.width_px * pixel
    drawn = min(max(ratio, 1 / _LONGEST_RATIO), _LONGEST_RATIO)
    listed = _listed(product, statistics)
    width = max(_SIDE_IN / max(drawn, 1), _NARROWEST_IN)
    columns = max(2, int(width // 1.4))
    below = legend_height_in(len(listed), columns=columns) if listed else _RAMP_IN
    size = (width, _SIDE_IN * min(drawn, 1) + _TITLE_IN + below)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axis = figure.subplots()
    if isinstance(product.drawn, Ramp):
        ends = range_of(product.drawn, statistics)
        image = np.ma.masked_invalid(values)
        _show(axis, image, title, cmap=product.drawn.name, vmin=ends[0], vmax=ends[1])
        name, unit = product.raster.descriptions[0], product.raster.unit
        ramp_legend(figure, axis, product.drawn.name, ends, f"{name} [{unit}]" if unit else name)
    else:
        _show(axis, _coloured(values, product.drawn), title)
        class_legend(figure, listed, columns=columns)
    axis.set_aspect(pixel if drawn == ratio else "auto")
    place_marks(axis, grid)
    figure.savefig(picture)


def quicklook(
    picture: Path,
    scene: Scene,
    rasters: Sequence[tuple[str, Path]],
    classes: Sequence[ClassSpec],
) -> None:
    """Draw a scene and class rasters of it side by side.

    Args:
        picture: The PNG to write.
        scene: The scene; shown in true colour where its bands are known.
        rasters: Title and file of each class raster on the scene's grid.
        classes: The classes of them all.
    """
    panels = [("scene", _scene_picture(scene))]
    panels += [(title, _coloured(_thinned(path), classes)) for title, path in rasters]
    pixel = pixel_ratio(scene.grid)
    size = (4.2 * len(panels), 4.2 * scene.grid.height_px / scene.grid.width_px * pixel + 1.2)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axes = figure.subplots(1, len(panels))
    for axis, (title, image) in zip(axes, panels, strict=True):
        _show(axis, image, title)
        axis.set_aspect(pixel)
    place_marks(axes[0], scene.grid)
    class_legend(figure, [(spec.name, spec.colour) for spec in classes], columns=5)
    figure.savefig(picture)


def _show(axis: Axes, image: np.ndarray, title: str, **drawn: Any) -> None:
    axis.imshow(image, interpolation="nearest", **drawn)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, parse_math=False)


def _listed(product: RasterProduct, statistics: MapStatistics) -> list[tuple[str, str]]:
    """Return names and colours in the order of the classes; many are sorted by their cover."""
    specs = list(product.drawn) if not isinstance(product.drawn, Ramp) else []
    if len(specs) > 16:
        shares = dict(zip((spec.value for spec in specs), statistics.pixels, strict=True))
        specs.sort(key=lambda spec: -shares[spec.value])
        specs = [spec for spec in specs if shares[spec.value]]
    return [(spec.name, spec.colour) for spec in specs]


def _coloured(values: np.ndarray, classes: Sequence[ClassSpec]) -> np.ndarray:
    index_of = np.full(max(int(values.max()), *(spec.value for spec in classes)) + 1, -1)
    index_of[[spec.value for spec in classes]] = range(len(classes))
    return colour_classes(index_of[values], [spec.rgb for spec in classes])


def _scene_picture(scene: Scene) -> np.ndarray:
    """Read a scene thinned to the picture's size, by whole steps of pixels."""
    chip = scene.read(scene.grid.full_window)
    step = max(1, -(-max(chip.valid.shape) // _LONGEST_PX))
    return stretch_rgb(chip.data[:, ::step, ::step], chip.valid[::step, ::step], scene.bands)


def _thinned(path: Path) -> np.ndarray:
    with open_quietly(path) as raster:
        step = max(1, -(-max(raster.shape) // _LONGEST_PX))
        shape = (-(-raster.height // step), -(-raster.width // step))
        values: np.ndarray = raster.read(1, out_shape=shape, resampling=Resampling.nearest)
    return values
