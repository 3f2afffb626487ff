"""A vector file of what was held out: part, class and polygon, or the area of each part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rsmeta.data.label_index import labelled_windows
from rsmeta.data.polygon_labels import PolygonLabels
from rsmeta.geo.footprint import outline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rsmeta.config.data import ClassSpec
    from rsmeta.data.build_splits import IndexedScene
    from rsmeta.data.chips import LabelledScene
    from rsmeta.data.splits import Part

#: Columns of the file, beside the geometry.
COLUMNS = ("part", "class", "polygon", "scene")


def write_split(
    parts: Mapping[Part, Sequence[IndexedScene]], classes: Sequence[ClassSpec], path: Path
) -> None:
    """Write the polygons that label each part, or where labels are rasters its area.

    A polygon is named by its row in the label file, from 0; it is cut to its part. The file is in
    degrees, unless scenes have no CRS.

    Raises:
        OSError: It cannot be written.
    """
    import geopandas
    import pandas

    frames = []
    for part, indexed in parts.items():
        for one in indexed:
            scene = one.labelled.scene
            rows = [(part, *row) for row in _rows(one.labelled, classes)]
            table = {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}
            crs = None if scene.grid.crs is None else scene.grid.crs.to_wkt()
            frame = geopandas.GeoDataFrame(table, geometry=[row[-1] for row in rows], crs=crs)
            frames.append(frame if crs is None else frame.to_crs("EPSG:4326"))
    whole = geopandas.GeoDataFrame(pandas.concat(frames, ignore_index=True))
    whole.to_file(path, driver="GPKG", layer="split")


def _rows(
    labelled: LabelledScene, classes: Sequence[ClassSpec]
) -> Iterator[tuple[str | None, int | None, str, Any]]:
    """Yield class, polygon, scene and geometry."""
    scene, labels = labelled.scene, labelled.labels
    area: Any = outline(scene.grid)
    if labelled.region is not None:
        cut = shapely.difference if labelled.region.inverted else shapely.intersection
        area = cut(area, labelled.region.geometry)
    if not isinstance(labels, PolygonLabels):
        yield None, None, scene.name, area
        return
    seen: set[int] = set()
    for window, strata, _ in labelled_windows(labelled):
        seen |= set(np.unique(labels.read_owners(window)[strata >= 0]).tolist())
    for i in sorted(seen):
        shape = shapely.intersection(labels.shapes.iloc[i], area)
        yield classes[labels.classes[i]].name, int(labels.shapes.index[i]), scene.name, shape
