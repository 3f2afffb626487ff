"""Write scenes, label rasters and label polygons of a place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import geopandas
import rasterio
import shapely
from rasterio.features import shapes

from rsmeta.sample_data.materials import CLASSES

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from rsmeta.sample_data.picture import Picture
    from rsmeta.sample_data.places import Place

CRS = "EPSG:32633"
POLYGON_CRS = "EPSG:4326"


def write_scene(path: Path, place: Place, picture: Picture) -> None:
    """Write the pixels, each band with its name and scaling."""
    count, dtype = len(picture.bands), picture.pixels.dtype
    profile = _profile(place, picture) | {
        "count": count,
        "dtype": dtype,
        "nodata": picture.nodata,
        "predictor": 2 if dtype.kind == "u" else 3,
        "interleave": "band",
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(picture.pixels)
        file.descriptions = picture.bands
        file.scales = [picture.scale] * count
        file.offsets = [picture.offset] * count
        file.update_tags(
            TIFFTAG_DATETIME=place.acquired,
            TIFFTAG_IMAGEDESCRIPTION=f"made-up landscape, {picture.title}; not an acquisition",
        )


def write_labels(path: Path, place: Place, picture: Picture) -> None:
    """Write the class of each pixel, with names and colours."""
    profile = _profile(place, picture) | {"nodata": 0, "predictor": 2}
    with rasterio.open(path, "w", count=1, dtype="uint8", **profile) as file:
        file.write(picture.labels, 1)
        file.set_band_description(1, "land cover")
        colours = {c.value: (*c.rgb, 255) for c in CLASSES}
        file.write_colormap(1, {0: (0, 0, 0, 0), **colours})
        file.update_tags(1, **{f"CLASS_{c.value}": c.name for c in CLASSES})


def write_polygons(path: Path, place: Place, picture: Picture, rng: np.random.Generator) -> None:
    """Write a part of the patches of one class as polygons, a pixel in from their edges."""
    names = {c.value: c.name for c in CLASSES}
    side_m, labels = picture.pixel_m, picture.labels
    found = [
        (names[int(value)], shapely.geometry.shape(outline).buffer(-side_m).simplify(side_m / 2))
        for outline, value in shapes(labels, mask=labels > 0, transform=_transform(place, picture))
    ]
    kept = [
        (name, patch)
        for name, patch in found
        if patch.geom_type == "Polygon" and patch.area > 30 * side_m**2 and rng.random() < 0.35
    ]
    frame = geopandas.GeoDataFrame(
        {"class": [name for name, _ in kept]}, geometry=[patch for _, patch in kept], crs=CRS
    )
    path.unlink(missing_ok=True)
    frame.to_crs(POLYGON_CRS).to_file(path, driver="GPKG", layer="land_cover")


def _transform(place: Place, picture: Picture) -> rasterio.Affine:
    east, south = picture.inset_m
    side_m = picture.pixel_m
    return rasterio.Affine(side_m, 0, place.west_m + east, 0, -side_m, place.north_m - south)


def _profile(place: Place, picture: Picture) -> dict[str, object]:
    height, width = picture.labels.shape
    return {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "crs": CRS,
        "transform": _transform(place, picture),
        "compress": "deflate",
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
    }
