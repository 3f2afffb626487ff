"""Polygons of a class map: one per region of touching pixels of a class."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import shapely
from rasterio.windows import Window

from rsmeta.errors import GridMismatchError, SceneError
from rsmeta.geo.grid import Grid
from rsmeta.geo.handles import open_raster, reading
from rsmeta.geo.pixel_area import pixel_areas_m2
from rsmeta.gis.labelling import label_regions
from rsmeta.gis.progress import no_progress, split_progress, with_progress
from rsmeta.gis.tags import map_classes
from rsmeta.gis.vector.merging import merge_small
from rsmeta.gis.vector.outlines import trace
from rsmeta.gis.vector.regions import Strip, find_regions
from rsmeta.gis.vector.rings import Outlines
from rsmeta.gis.vector.shaping import simplify, smooth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from rsmeta.config.data import ClassSpec
    from rsmeta.config.polygons import PolygonSettings
    from rsmeta.gis.progress import OnProgress
    from rsmeta.gis.vector.regions import Regions

logger = logging.getLogger(__name__)

#: Pixels of a strip: with all that is made of them they take a few hundred MB.
_STRIP_PX = 6_000_000
_FEWEST_ROWS = 16
_MOST_ROWS = 2048


class Polygons(NamedTuple):
    """Some of the polygons of a map, N in number.

    Attributes:
        shapes: Shapely polygons in the map's CRS, (N,).
        value: Class value of each, (N,) int32.
        pixels: How many pixels it was made of, (N,) int64.
        area_m2: Their area on the ellipsoid, (N,); none without a CRS.
        confidence: Mean of the confidence over them, (N,); none where that is not known.
    """

    shapes: NDArray[np.object_]
    value: NDArray[np.int32]
    pixels: NDArray[np.int64]
    area_m2: NDArray[np.float64] | None
    confidence: NDArray[np.float64] | None

    def take(self, chosen: NDArray[np.integer]) -> Polygons:
        """Return some of them."""
        area_m2, sure = self.area_m2, self.confidence
        return Polygons(
            self.shapes[chosen], self.value[chosen], self.pixels[chosen],
            None if area_m2 is None else area_m2[chosen], None if sure is None else sure[chosen],
        )  # fmt: skip


@dataclass(frozen=True)
class ClassMap:
    """A class map in a file, seen in strips.

    Attributes:
        path: The map.
        confidence: Its confidence, on the same grid; NaN: unknown.
        grid: The grid of both.
        classes: What the values mean.
        strip_rows: Rows of a strip.
    """

    path: Path
    confidence: Path | None
    grid: Grid
    classes: Sequence[ClassSpec]
    strip_rows: int

    @property
    def tops(self) -> Sequence[int]:
        """First row of each strip; the first one starts above the map."""
        return range(-1, self.grid.height_px, self.strip_rows)

    def strips(
        self, on_progress: OnProgress = no_progress, *, measured: bool = False
    ) -> Iterator[Strip]:
        """Read the strips from top to bottom; each shows the last row of the one before.

        Rows above and below the map are not valid.

        Args:
            on_progress: Called when a strip has been worked on.
            measured: With areas and confidence, which cost time.
        """
        for top in with_progress(self.tops, len(self.tops), on_progress):
            yield self._strip(top, min(top + self.strip_rows, self.grid.height_px), measured)

    def _strip(self, top: int, last: int, measured: bool) -> Strip:
        first, end = max(top, 0), min(last + 1, self.grid.height_px)
        window = Window(0, first, self.grid.width_px, end - first)
        with reading(str(self.path)):
            dataset = open_raster(str(self.path))
            values = dataset.read(1, window=window)
        nodata = dataset.nodata
        valid = np.ones(values.shape, bool) if nodata is None else values != nodata
        areas = pixel_areas_m2(self.grid.crop(window)) if measured else None
        areas = np.zeros((1, 1)) if areas is None else areas
        sure = None
        if measured and self.confidence is not None:
            sure = _read_shares(self.confidence, window)
        if top < 0:  # above and below
            values, valid = _with_row(values, 0), _with_row(valid, 0)
            sure = None if sure is None else _with_row(sure, 0)
            areas = areas if len(areas) == 1 else _with_row(areas, 0)
        if last == self.grid.height_px:
            values, valid = _with_row(values, 1), _with_row(valid, 1)
            sure = None if sure is None else _with_row(sure, 1)
            areas = areas if len(areas) == 1 else _with_row(areas, 1)
        return Strip(values, valid, areas, sure, shown=int(top >= 0))


def _read_shares(path: Path, window: Window) -> NDArray[np.float32]:
    """Read a raster of shares as they are meant; NaN where there is none."""
    with reading(str(path)):
        dataset = open_raster(str(path))
        stored = dataset.read(1, window=window)
    shares: NDArray[np.float32] = stored * np.float32(dataset.scales[0])
    return shares if dataset.nodata is None else np.where(stored == dataset.nodata, np.nan, shares)


def _with_row(array: NDArray[Any], side: int) -> NDArray[Any]:
    """Return an array with a row of zeros before (0) or behind (1) it."""
    return np.pad(array, ((1 - side, side), (0, 0)))


def open_map(path: str | Path, confidence: str | Path | None = None) -> ClassMap:
    """Open a map that ``rsmeta predict`` wrote, and its confidence.

    Raises:
        SceneError: A file cannot be read, or the map does not name its classes.
        GridMismatchError: The confidence lies on another grid.
    """
    dataset = open_raster(str(path))
    classes = map_classes(path)
    grid = Grid(dataset.crs or None, dataset.transform, dataset.height, dataset.width)
    if confidence is not None:
        other = open_raster(str(confidence))
        own = Grid(other.crs or None, other.transform, other.height, other.width)
        if own.shape != grid.shape or own.shift_px(grid) != (0, 0):
            raise GridMismatchError(
                f"{confidence} does not lie on the grid of {path}; give the confidence that was "
                f"written with this map"
            )
    rows = min(max(_FEWEST_ROWS, _STRIP_PX // grid.width_px), _MOST_ROWS)
    rows = 1 << (rows.bit_length() - 1)  # a power of two, so that strips end where tiles do
    return ClassMap(
        Path(path), None if confidence is None else Path(confidence), grid, classes, rows
    )


def polygons_of(
    source: ClassMap, settings: PolygonSettings, on_progress: OnProgress = no_progress
) -> Iterator[Polygons]:
    """Give the polygons of a map in portions, strip by strip as they are finished.

    Pixels that touch along a side belong together, those that touch at a corner do not. Polygons
    are valid, and those of neighbours share all points of their border.

    Args:
        source: The map.
        settings: Smallest area, simplification, smoothing.
        on_progress: Called as the map is gone through.

    Raises:
        SceneError: The map cannot be read, or holds a value that is no class of it.
    """
    merges = settings.smallest_m2 > 0
    *before, tracing = split_progress(on_progress, 3 if merges else 2)
    regions = find_regions(source.strips(before[0], measured=True))
    _check_values(source, regions)
    if merges:
        if source.grid.crs is None:
            raise SceneError(f"{source.path} has no CRS, so areas are not known; set smallest_m2=0")
        regions = merge_small(regions, source.strips(before[1]), settings.smallest_m2)
    is_shaped = settings.smooth or settings.simplify_px > 0
    outlines = Outlines(keep_cuts=is_shaped)
    for number, strip in enumerate(source.strips(tracing)):
        top = source.tops[number]
        labels = regions.of(number, label_regions(strip.values, strip.valid)[1])
        lines, pieces = trace(labels, top, source.grid.height_px)
        if settings.smooth:
            lines = smooth(lines)
        if settings.simplify_px > 0:
            cuts = np.array([top + 0.5, top + len(labels) - 0.5])
            lines = simplify(lines, settings.simplify_px, cuts)
        outlines.add(lines, pieces)
        done, shapes = outlines.finish(regions.last_strip <= number)
        if len(done):
            yield _placed(source.grid, regions, done, shapes)


def _check_values(source: ClassMap, regions: Regions) -> None:
    unknown = set(np.unique(regions.value).tolist()) - {spec.value for spec in source.classes}
    if unknown:
        raise SceneError(
            f"{source.path} holds the value {min(unknown)}, which is none of its classes; give a "
            f"map as rsmeta predict wrote it"
        )


def _placed(
    grid: Grid, regions: Regions, done: NDArray[np.integer], shapes: NDArray[np.object_]
) -> Polygons:
    """Return finished polygons in the CRS, their outer rings counter-clockwise."""
    placed = shapely.transform(shapes, lambda at: np.stack(grid.xy(at[:, 0], at[:, 1]), axis=1))
    if grid.transform.determinant > 0:  # y runs with the rows: all rings were turned round
        placed = shapely.orient_polygons(placed)
    return Polygons(
        placed,
        regions.value[done],
        regions.pixels[done],
        None if grid.crs is None else regions.area_m2[done],
        None if regions.confidence is None else regions.confidence[done],
    )
