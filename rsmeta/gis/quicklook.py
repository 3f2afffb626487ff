"""A PNG of a class map beside its scene, with a legend: for a look, not for a GIS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import rasterio
from rasterio.enums import Resampling

mpl.use("Agg")
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rsmeta.geo.render import colour_classes, stretch_rgb

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.geo.scene import Scene

#: Longest side of a picture in pixels; larger rasters are thinned while they are read.
_LONGEST_PX = 900


def quicklook(
    picture: Path,
    scene: Scene,
    rasters: Sequence[tuple[str, Path]],
    classes: Sequence[tuple[str, int, tuple[int, int, int]]],
) -> None:
    """Draw a scene and class rasters of it side by side.

    Args:
        picture: The PNG to write.
        scene: The scene; shown in true colour where its bands are known.
        rasters: Title and file of each class raster on the scene's grid.
        classes: Name, raster value and colour of each class.
    """
    index_of = np.full(256, -1)
    index_of[[value for _, value, _ in classes]] = range(len(classes))
    panels = [("scene", _scene_picture(scene))]
    for title, path in rasters:
        labels = index_of[_thinned(path)]
        panels.append((title, colour_classes(labels, [colour for _, _, colour in classes])))
    height, width = panels[0][1].shape[:2]
    figure = Figure(
        figsize=(4.2 * len(panels), 4.2 * height / width + 1.2), dpi=110, layout="constrained"
    )
    for axis, (title, image) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axis.imshow(image, interpolation="nearest")
        axis.set(title=title, xticks=[], yticks=[])
    handles = [
        Patch(facecolor=f"#{red:02x}{green:02x}{blue:02x}", edgecolor="0.6", label=name)
        for name, _, (red, green, blue) in classes
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(picture)


def _scene_picture(scene: Scene) -> np.ndarray:
    """Read a scene thinned to the picture's size, by whole steps of pixels."""
    chip = scene.read(scene.grid.full_window)
    step = max(1, -(-max(chip.valid.shape) // _LONGEST_PX))
    return stretch_rgb(chip.data[:, ::step, ::step], chip.valid[::step, ::step], scene.bands)


def _thinned(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        step = max(1, -(-max(raster.shape) // _LONGEST_PX))
        shape = (-(-raster.height // step), -(-raster.width // step))
        labels: np.ndarray = raster.read(1, out_shape=shape, resampling=Resampling.nearest)
    return labels
