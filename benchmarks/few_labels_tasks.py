"""The tasks of ``bench_few_labels.py``: scenes with few labels, in grouped folds.

A fold holds out whole polygons or fields, or blocks of a dense label raster, to test on. Of what is
left, training takes all, or only a few pixels or small squares, none of it within ``GAP_PX`` of a
test label.
"""

from __future__ import annotations

import warnings
import zlib
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import geopandas
import numpy as np
import rasterio
import shapely
import yaml
from rasterio.features import rasterize, shapes
from scipy import ndimage
from sklearn.model_selection import StratifiedGroupKFold

from rsmeta.sample_data import make_landscape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

FOLDS, REPEATS = 5, 2
#: Training labels keep this distance to test labels.
GAP_PX = 2
#: Side of the squares that stand for polygons a user draws.
SQUARE_PX = 8
#: Classes of the landscapes: name -> label values.
COVER: dict[int, dict[str, tuple[int, ...]]] = {
    5: {"water": (1,), "forest": (2, 3), "field": (4, 5, 6, 7)},
    20: {"water": (1,), "broadleaf": (2,), "conifer": (3,), "grass": (4,), "crop": (5, 6),
         "soil": (7,), "built-up": (8,)},
    100: {"water": (1,), "broadleaf": (2,), "conifer": (3,), "grass": (4,), "green crop": (5,),
          "mature crop": (6,), "soil": (7,), "built-up": (8,), "wetland": (9,)},
}  # fmt: skip
_CLOUDS = {"shadow": (0,), "water": (1,), "land": (3,), "cloud": (4,)}


class Fold(NamedTuple):
    """Labels of one fold, on the scene's grid.

    Attributes:
        owners: Number of the polygon that labels a pixel for training, (H, W) int32; 0: none.
        test: Classes to test on, (H, W) uint8, from 1; 0: none.
    """

    owners: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class Task:
    """A scene with all its labels.

    Attributes:
        name: What it is called in the table.
        scene: Its file.
        labels: Classes (H, W) uint8, from 1; 0: none.
        groups: What is held out together, (H, W) int32, from 1.
        classes: Names of the classes.
        budget: What training may see of the labels that are left: so many pixels, or squares.
        data: Further keys of the ``data`` section.
    """

    name: str
    scene: Path
    labels: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]
    budget: tuple[Literal["pixels", "squares"], int] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def fold(self, number: int) -> Fold:
        """Return the labels of one of ``FOLDS * REPEATS`` folds."""
        repeat, group = divmod(number, FOLDS)
        labelled = self.labels > 0
        pairs = np.unique(np.stack([self.groups[labelled], self.labels[labelled]], 1), axis=0)
        splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=repeat)
        with warnings.catch_warnings():  # of classes with fewer polygons than folds
            warnings.simplefilter("ignore", UserWarning)
            split = list(splitter.split(pairs, pairs[:, 1], pairs[:, 0]))[group]
        held_out = np.isin(self.groups, pairs[split[1], 0]) & labelled
        for one in range(1, len(self.classes) + 1):
            mine = pairs[pairs[:, 1] == one, 0]
            if len(mine) < 2:  # a class with one field only stays in training
                held_out &= self.labels != one
        near = ndimage.maximum_filter(held_out, 2 * GAP_PX + 1)
        left = labelled & ~near
        rng = np.random.default_rng([zlib.crc32(self.name.encode()), number])
        return Fold(self._drawn(left, rng), np.where(held_out, self.labels, 0).astype(np.uint8))

    def _drawn(self, left: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.budget is None:
            return np.where(left, self.groups, 0).astype(np.int32)
        kind, count = self.budget
        owners = np.zeros(left.shape, np.int32)
        half = SQUARE_PX // 2 if kind == "squares" else 0
        order = rng.permutation(np.unique(self.labels[left]))
        for number in range(1, count + 1):
            mine = left & (self.labels == order[number % len(order)]) & (owners == 0)
            places = np.argwhere(mine)
            row, col = places[rng.integers(len(places))]
            rows = slice(max(row - half, 0), row + max(half, 1))
            cols = slice(max(col - half, 0), col + max(half, 1))
            owners[rows, cols][mine[rows, cols]] = number
        return owners

    def write(self, fold: Fold, folder: Path) -> tuple[Path, Path]:
        """Write training labels as polygons and test labels as a raster; return both files."""
        with rasterio.open(self.scene) as scene:
            crs, transform = scene.crs, scene.transform
        parts: dict[int, list[shapely.Geometry]] = {}
        for outline, owner in shapes(fold.owners, mask=fold.owners > 0, transform=transform):
            parts.setdefault(int(owner), []).append(shapely.geometry.shape(outline))
        names = [self.classes[self.labels[fold.owners == owner][0] - 1] for owner in parts]
        areas = [shapely.union_all(own) for own in parts.values()]
        folder.mkdir(parents=True, exist_ok=True)
        train = folder / "train.gpkg"
        train.unlink(missing_ok=True)
        geopandas.GeoDataFrame({"class": names}, geometry=areas, crs=crs).to_file(train)
        return train, self.write_raster(fold.test, folder / "test.tif")

    def write_raster(self, labels: np.ndarray, path: Path) -> Path:
        """Write classes (H, W) on the scene's grid; return the file."""
        with rasterio.open(self.scene) as scene:
            kept = {key: scene.profile[key] for key in ("height", "width", "crs", "transform")}
        with rasterio.open(
            path, "w", driver="GTiff", count=1, dtype="uint8", compress="deflate", **kept
        ) as file:
            file.write(labels, 1)
        return path


def pixels(task: Task, fold: Fold) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return bands and classes of the training pixels, and of the test pixels."""
    with rasterio.open(task.scene) as scene:
        image = scene.read()
    valid = (image != task.data.get("nodata", np.nan)).all(axis=0)
    train, test = (fold.owners > 0) & valid, (fold.test > 0) & valid
    return (image[:, train].T.astype(np.float64), task.labels[train],
            image[:, test].T.astype(np.float64), fold.test[test])  # fmt: skip


def tasks(data: Path, work: Path) -> dict[str, Callable[[], Task]]:
    """Return the tasks by name, each made when it is called.

    Args:
        data: Folder of the shared scenes.
        work: Folder for the landscapes that are generated.
    """
    made: dict[str, Callable[[], Task]] = {"beaufort": partial(_beaufort, data)}
    for date in range(5):
        made[f"slovenia {date}"] = partial(_slovenia, data, date)
    made["indian pines"] = partial(_indian_pines, data)
    for sensor, count in (("sentinel2", 10), ("sentinel2", 100), ("sentinel2", 1000),
                          ("landsat5", 100), ("landsat7", 100)):  # fmt: skip
        name = f"clouds {sensor} {count} px"
        made[name] = partial(_clouds, data, sensor, count, name)
    for sensor, count in (("sentinel2", 5), ("sentinel2", 20), ("sentinel2", 100),
                          ("landsat8", 20), ("sentinel1", 20)):  # fmt: skip
        name = f"landscape {sensor} {count}"
        made[name] = partial(_landscape, work, sensor, count, name)
    return made


def _beaufort(data: Path) -> Task:
    folder = data / "beaufort_s2"
    classes = ("Sand", "WetSand", "Emergent Wetland", "Forested Wetland", "Herbaceous",
               "Subtidal Haline")  # fmt: skip
    labels, groups = _burnt(
        folder / "scene.tif", folder / "training_polygons.gpkg", "Classname", classes
    )
    return Task(
        "beaufort", folder / "scene.tif", labels, groups, classes, data={"nodata": 255}
    )  # fmt: skip


def _slovenia(data: Path, date: int) -> Task:
    folder = data / "slovenia_s2"
    classes = ("forest", "grassland", "schrubland", "artificial surface")
    scene = folder / f"scene_{date}.tif"
    labels, groups = _burnt(scene, folder / "landcover.gpkg", "LULC_NAME", classes)
    return Task(f"slovenia {date}", scene, labels, groups, classes)


def _indian_pines(data: Path) -> Task:
    folder = data / "indian_pines"
    names = yaml.safe_load((folder / "classes.yaml").read_text(encoding="utf-8"))["classes"]
    with rasterio.open(folder / "labels.tif") as file:
        values = file.read(1)
    # what has one field only can be trained, but never tested
    several = {
        name: (value,) for value, name in names.items() if ndimage.label(values == value)[1] > 1
    }
    labels = _renumbered(folder / "labels.tif", several)
    return Task("indian pines", folder / "scene.tif", labels, _fields(labels), tuple(several))


def _clouds(data: Path, sensor: str, count: int, name: str) -> Task:
    folder = data / "cloudmask"
    labels = _renumbered(folder / f"{sensor}_mask.tif", _CLOUDS)
    return Task(name, folder / f"{sensor}.tif", labels, _blocks(labels.shape, 64), tuple(_CLOUDS),
                ("pixels", count))  # fmt: skip


def _landscape(work: Path, sensor: str, count: int, name: str) -> Task:
    made = _landscapes(work / "landscapes", sensor)
    labels = _renumbered(made.labels[0], COVER[count])
    return Task(name, made.scenes[0], labels, _blocks(labels.shape, labels.shape[0] // 8),
                tuple(COVER[count]), ("squares", count))  # fmt: skip


_landscapes = cache(lambda folder, sensor: make_landscape(folder, sensor=sensor))


def _burnt(
    scene: Path, polygons: Path, column: str, classes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return class and number of the polygon of each pixel of a scene."""
    with rasterio.open(scene) as file:
        frame = geopandas.read_file(polygons).to_crs(file.crs)
        grid = {"out_shape": file.shape, "transform": file.transform}
    frame = frame[frame[column].isin(classes)]
    numbers = range(1, len(frame) + 1)
    groups = rasterize(zip(frame.geometry, numbers, strict=True), dtype="int32", **grid)
    values = np.array([0, *(classes.index(name) + 1 for name in frame[column])], np.uint8)
    labels: np.ndarray = values[groups]
    return labels, groups


def _fields(labels: np.ndarray) -> np.ndarray:
    """Return the number of the connected field of one class that each pixel is of."""
    groups, last = np.zeros(labels.shape, np.int32), 0
    for value in np.unique(labels[labels > 0]):
        found, count = ndimage.label(labels == value)
        groups[found > 0] = found[found > 0] + last
        last += count
    return groups


def _blocks(shape: tuple[int, int], side_px: int) -> np.ndarray:
    rows, cols = np.indices(shape, np.int32) // side_px
    numbers: np.ndarray = rows * (cols.max() + 1) + cols + 1
    return numbers


def _renumbered(path: Path, classes: Mapping[str, tuple[int, ...]]) -> np.ndarray:
    """Return classes from 1, in the order of their names; 0: none of them."""
    with rasterio.open(path) as file:
        values = file.read(1)
    labels = np.zeros(values.shape, np.uint8)
    for number, mine in enumerate(classes.values(), start=1):
        labels[np.isin(values, mine)] = number
    return labels
