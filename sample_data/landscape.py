"""Write the landscape: two Sentinel-2-like scenes with their labels, the same for a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import geopandas
import numpy as np
import rasterio
import shapely
from rasterio.features import shapes

from rsmeta.sample_data.ground import Ground, lay_out, mixed_labels
from rsmeta.sample_data.materials import BANDS, CLASSES, class_value
from rsmeta.sample_data.places import PIXEL_M, PLACES, SIDE_PX, Place
from rsmeta.sample_data.sensor import COUNTS, Sky, draw_sky, observe

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CRS = "EPSG:32633"
POLYGON_CRS = "EPSG:4326"


@dataclass(frozen=True)
class SampleData:
    """Where the landscape's files are; west comes before east.

    Attributes:
        folder: Holds all of them.
        scenes: 13 bands, counts of 1e-4 top-of-atmosphere reflectance, 0 without data.
        labels: Class values, 0 without label.
        polygons: A part of the western labels as polygons in another CRS, column ``class``.
        classes: YAML with value, name and colour of each class.
    """

    folder: Path
    scenes: tuple[Path, ...]
    labels: tuple[Path, ...]
    polygons: Path
    classes: Path


def make_landscape(folder: Path, *, seed: int = 0) -> SampleData:
    """Make and write both places: 480 x 480 pixels of 10 m each.

    Args:
        folder: Where to write; made where it is missing, files in it are replaced.
        seed: The same seed gives the same pixels.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = SampleData(
        folder=folder,
        scenes=tuple(folder / f"{place.name}.tif" for place in PLACES),
        labels=tuple(folder / f"{place.name}_labels.tif" for place in PLACES),
        polygons=folder / f"{PLACES[0].name}_polygons.gpkg",
        classes=folder / "classes.yaml",
    )
    for index, place in enumerate(PLACES):
        rng = np.random.default_rng([seed, index])
        ground = lay_out(rng, place)
        sky = draw_sky(rng, place)
        counts = observe(rng, place, ground, sky)
        labels = label_pixels(ground, sky, counts)
        _write_scene(made.scenes[index], place, counts)
        _write_labels(made.labels[index], place, labels)
        if index == 0:
            _write_polygons(made.polygons, place, labels, rng)
    made.classes.write_text(_classes_yaml(), encoding="utf-8")
    return made


def label_pixels(ground: Ground, sky: Sky, counts: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the class of each 10 m pixel, (H, W); 0 for veils, mixtures and no data."""
    labels = mixed_labels(ground.label)
    labels[(sky.opacity > 0.08) | (sky.shadow > 0.25)] = 0
    labels[(sky.shadow > 0.6) & (sky.opacity <= 0.08)] = class_value("cloud shadow")
    labels[sky.opacity > 0.5] = class_value("cloud")
    labels[(counts == 0).any(axis=0)] = 0
    return labels


def _profile(place: Place) -> dict[str, object]:
    return {
        "driver": "GTiff",
        "width": SIDE_PX,
        "height": SIDE_PX,
        "crs": CRS,
        "transform": rasterio.Affine(PIXEL_M, 0, place.west_m, 0, -PIXEL_M, place.north_m),
        "nodata": 0,
        "compress": "deflate",
        "predictor": 2,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
    }


def _write_scene(path: Path, place: Place, counts: NDArray[np.uint16]) -> None:
    profile = _profile(place) | {"count": len(BANDS), "dtype": "uint16", "interleave": "band"}
    with rasterio.open(path, "w", **profile) as file:
        file.write(counts)
        file.descriptions = BANDS
        file.scales = [1 / COUNTS] * len(BANDS)
        file.update_tags(
            TIFFTAG_DATETIME=place.acquired,
            TIFFTAG_IMAGEDESCRIPTION="made-up landscape, Sentinel-2 L1C like; not an acquisition",
        )


def _write_labels(path: Path, place: Place, labels: NDArray[np.uint8]) -> None:
    with rasterio.open(path, "w", count=1, dtype="uint8", **_profile(place)) as file:
        file.write(labels, 1)
        file.set_band_description(1, "land cover")
        colours = {c.value: (*c.rgb, 255) for c in CLASSES}
        file.write_colormap(1, {0: (0, 0, 0, 0), **colours})
        file.update_tags(1, **{f"CLASS_{c.value}": c.name for c in CLASSES})


def _write_polygons(
    path: Path, place: Place, labels: NDArray[np.uint8], rng: np.random.Generator
) -> None:
    """Write a part of the patches of one class as polygons, a pixel in from their edges."""
    names = {c.value: c.name for c in CLASSES}
    found = [
        (names[int(value)], shapely.geometry.shape(outline).buffer(-PIXEL_M).simplify(PIXEL_M / 2))
        for outline, value in shapes(
            labels, mask=labels > 0, transform=_profile(place)["transform"]
        )
    ]
    kept = [
        (name, patch)
        for name, patch in found
        if patch.geom_type == "Polygon" and patch.area > 3000 and rng.random() < 0.35
    ]
    frame = geopandas.GeoDataFrame(
        {"class": [name for name, _ in kept]}, geometry=[patch for _, patch in kept], crs=CRS
    )
    path.unlink(missing_ok=True)
    frame.to_crs(POLYGON_CRS).to_file(path, driver="GPKG", layer="land_cover")


def _classes_yaml() -> str:
    lines = [f'{c.value}: {{name: {c.name}, colour: "{c.colour}"}}' for c in CLASSES]
    return "\n".join(["# value: name and colour; 0 means no label", *lines, ""])
