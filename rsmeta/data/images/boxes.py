"""Objects cut out of pictures by oriented boxes, as DOTA writes them.

An annotation file stands for one picture of the same name. Its lines are eight numbers (x and y
of the four corners, in pixels, in the order of the outline), a class name, and optionally 1 for
objects that are difficult to tell. Lines like ``imagesource:…`` and ``gsd:…`` come before them.

Source: Xia et al. 2018, "DOTA: A Large-scale Dataset for Object Detection in Aerial Images";
    https://captain-whu.github.io/DOTA/dataset.html, "Annotation format".
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from rasterio.windows import Window
from torch.nn import functional

from rsmeta.data.images.class_names import read_lines
from rsmeta.data.images.files import ImageReader, is_image
from rsmeta.data.images.image_set import Found, ImageSet, Pixels
from rsmeta.data.images.part_store import PartStore
from rsmeta.data.open_scenes import whence
from rsmeta.errors import ImagesError, SceneError, did_you_mean, enumerate_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.config.images import BoxesSettings
    from rsmeta.data.images.image_set import Wanted
    from rsmeta.data.splits import Part
    from rsmeta.geo.bands import Band

#: Lines that say something of the whole picture.
_HEADS = ("imagesource", "acquisition dates", "gsd")


@dataclass
class _Objects:
    """The objects of one part, as they are found.

    Attributes:
        pictures: The pictures' paths.
        gsd_m: Size of each picture's pixels in metres, where its annotations say it.
        picture: Number of each object's picture.
        corners: x and y of each object's four corners, in pixels.
        names: Class name of each object.
    """

    pictures: list[str] = field(default_factory=list)
    gsd_m: list[float | None] = field(default_factory=list)
    picture: list[int] = field(default_factory=list)
    corners: list[list[float]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


class BoxImages(ImageSet):
    """Crops of pictures around oriented boxes.

    A PNG or JPEG is decoded from its top, whatever part of it is wanted. So when a picture is
    first read, the parts around all its objects are, and they are kept as long as there is room.

    Args:
        objects: Pictures and boxes.
        labels: Class of each object, (N,) int64.
        reader: Reads the pictures.
        settings: How crops are cut: context, turn, square.
    """

    def __init__(
        self, objects: _Objects, labels: np.ndarray, reader: ImageReader, settings: BoxesSettings
    ) -> None:
        super().__init__(labels, np.array(objects.picture, np.int64))
        self.pictures = tuple(objects.pictures)
        self.gsds = tuple(objects.gsd_m)
        self.corners = np.array(objects.corners, np.float64).reshape(-1, 4, 2)
        self.reader = reader
        self.settings = settings
        #: Numbers of the objects before some of them were taken, (N,).
        self.numbers = np.arange(len(labels))
        self.parts = PartStore()

    @property
    def bands(self) -> tuple[Band, ...]:
        """Bands of the pictures."""
        return self.reader.bands

    def name(self, index: int) -> str:
        """Return picture and place of an object."""
        x, y = self.corners[index].mean(axis=0)
        return f"{self._picture(index)} (object at x {x:.0f}, y {y:.0f})"

    def read(self, index: int) -> Pixels:
        """Cut an object out; what lies outside the picture is invalid."""
        frame = self._frame(index)
        window, (x, y) = frame.window(), frame.points()
        return _sampled(self._around(index, window), x - window.col_off, y - window.row_off)

    def gsd_m(self, index: int) -> float | None:
        """Return the size of a picture's pixels in metres, as its annotations say."""
        assert self.origins is not None
        return self.gsds[int(self.origins[index])]

    def _around(self, index: int, window: Window) -> Pixels:
        """Read the part around an object, or take what was kept of it."""
        assert self.origins is not None
        picture = int(self.origins[index])
        with self.parts.lock:  # two threads would read the same picture
            if self.parts.begin(picture):
                self._keep_parts(picture)
        kept = self.parts.get(int(self.numbers[index]))
        return self.reader.read_window(self.pictures[picture], window) if kept is None else kept

    def _keep_parts(self, picture: int) -> None:
        """Read the parts around all objects from top to bottom, which decodes a picture once."""
        indices = np.flatnonzero(self.origins == picture).tolist()
        windows = [(self._frame(index).window(), int(self.numbers[index])) for index in indices]
        for window, number in sorted(windows, key=lambda one: one[0].row_off):
            if not self.parts.full:
                with contextlib.suppress(SceneError):  # it is said when that object is read
                    part = self.reader.read_window(self.pictures[picture], window)
                    self.parts.keep(number, part)

    def _frame(self, index: int) -> CropFrame:
        return crop_frame(
            self.corners[index], context=self.settings.context, turn=self.settings.turn,
            square=self.settings.square,
        )  # fmt: skip

    def _picture(self, index: int) -> str:
        assert self.origins is not None
        return self.pictures[int(self.origins[index])]

    def _keep(self, indices: np.ndarray) -> None:
        self.corners = self.corners[indices]
        self.numbers = self.numbers[indices]


@dataclass(frozen=True)
class CropFrame:
    """Where the pixels of a crop lie in its picture.

    Attributes:
        centre: x and y of the middle, in pixels of the picture.
        along: Direction of the crop's rows, as (x, y) of length 1.
        width_px: Pixels in a row.
        height_px: Rows.
    """

    centre: tuple[float, float]
    along: tuple[float, float]
    width_px: int
    height_px: int

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y of every pixel's centre, (height_px, width_px) each."""
        right = np.arange(self.width_px) + 0.5 - self.width_px / 2
        down = np.arange(self.height_px)[:, np.newaxis] + 0.5 - self.height_px / 2
        cos, sin = self.along
        x = self.centre[0] + right * cos - down * sin
        y = self.centre[1] + right * sin + down * cos
        return x, y

    def window(self) -> Window:
        """Return the part of the picture that the crop is made of, a pixel wider all around."""
        x, y = self.points()
        left, top = int(np.floor(x.min())) - 1, int(np.floor(y.min())) - 1
        right, bottom = int(np.ceil(x.max())) + 1, int(np.ceil(y.max())) + 1
        return Window(left, top, right - left, bottom - top)


def crop_frame(
    corners: np.ndarray, *, context: float = 1.0, turn: bool = True, square: bool = False
) -> CropFrame:
    """Return the frame of a crop around an oriented box; its pixels are as large as before.

    Args:
        corners: x and y of the box's corners in the order of its outline, (4, 2).
        context: Side of the crop / side of the box.
        turn: The first side of the box becomes the upper side of the crop; else the crop is
            upright around the box.
        square: Make both sides as long as the longer one.
    """
    centre = corners.mean(axis=0)
    if turn:
        upper = (corners[1] - corners[0] + corners[2] - corners[3]) / 2
        side = (corners[3] - corners[0] + corners[2] - corners[1]) / 2
        width, height = float(np.hypot(*upper)), float(np.hypot(*side))
        along = upper / width if width else np.array([1.0, 0.0])
    else:
        low, high = corners.min(axis=0), corners.max(axis=0)
        centre, along = (low + high) / 2, np.array([1.0, 0.0])
        width, height = (high - low).tolist()
    if square:
        width = height = max(width, height)
    return CropFrame(
        (float(centre[0]), float(centre[1])), (float(along[0]), float(along[1])),
        max(1, round(width * context)), max(1, round(height * context)),
    )  # fmt: skip


def find_boxes(settings: BoxesSettings, wanted: Wanted) -> Found:
    """Find the objects that annotation files describe.

    Args:
        settings: The ``data`` section.
        wanted: Task and bands.

    Raises:
        ImagesError: A folder or picture is missing, or a line is no box.
    """
    if wanted.task != "classification":
        raise ImagesError(
            f"data.kind=boxes gives one class per object, not what task={wanted.task} needs"
        )
    held_out: dict[Part, str | float | None] = {
        "validation": settings.validation, "test": settings.test,
    }  # fmt: skip
    objects: dict[Part, _Objects] = {"train": _objects(settings.root / settings.train, settings)}
    shares: dict[Part, float] = {}
    for part, given in held_out.items():
        if isinstance(given, str):
            objects[part] = _objects(settings.root / given, settings)
        elif given is not None:
            shares[part] = given
    names = tuple(spec.name for spec in settings.classes or ())
    names = names or tuple(sorted({name for one in objects.values() for name in one.names}))
    reader = ImageReader.of(
        settings, objects["train"].pictures, bands=wanted.bands, as_rgb=settings.colour == "rgb"
    )
    number = {name: i for i, name in enumerate(names)}
    sets: dict[Part, ImageSet] = {}
    for part, found in objects.items():
        labels = np.array([number[name] for name in found.names], np.int64)
        sets[part] = BoxImages(found, labels, reader, settings)
    return Found(names, sets, shares)


def _objects(folder: Path, settings: BoxesSettings) -> _Objects:
    """Read the annotations of one folder; pictures without an object are left out."""
    pictures = _files_by_stem(folder / settings.images, settings)
    annotations = _files_by_stem(folder / settings.annotations, settings)
    names = tuple(spec.name for spec in settings.classes or ())
    found = _Objects()
    for stem, file in annotations.items():
        if stem not in pictures:
            raise ImagesError(
                f"{file} has no picture {folder / settings.images / stem}.*; check data.images"
                f"{whence(settings)}"
            )
        before = len(found.names)
        gsd_m = _read_boxes(file, found, settings, names)
        if len(found.names) > before:
            found.pictures.append(str(pictures[stem]))
            found.gsd_m.append(gsd_m)
    if not found.names:
        raise ImagesError(
            f"the annotations in {folder / settings.annotations} hold no object; check "
            f"data.annotations, data.difficult and data.min_box_px{whence(settings)}"
        )
    return found


def _files_by_stem(folder: Path, settings: BoxesSettings) -> dict[str, Path]:
    if not folder.is_dir():
        raise ImagesError(f"no folder at {folder}; check data.root{whence(settings)}")
    kept = (p for p in sorted(folder.iterdir()) if is_image(p) or p.suffix == ".txt")
    return {path.stem: path for path in kept}


def _read_boxes(
    file: Path, found: _Objects, settings: BoxesSettings, names: Sequence[str]
) -> float | None:
    """Add the objects of one annotation file; return the size of the picture's pixels, if known."""
    gsd_m = None
    for line, text in read_lines(file, "annotations"):
        if text.lower().startswith(_HEADS):
            gsd_m = _gsd(text) or gsd_m
            continue
        words = text.split()
        corners = _numbers(words[:8])
        if len(words) < 9 or corners is None:
            raise ImagesError(
                f"{file}, line {line}: {text[:80]!r} is no oriented box; write x1 y1 x2 y2 x3 y3 "
                f"x4 y4 class difficult"
            )
        if names and words[8] not in names:
            raise ImagesError(
                f"{file}, line {line}: {words[8]!r} is no class{did_you_mean(words[8], names)}; "
                f"classes: {enumerate_names(list(names))}"
            )
        difficult = words[9:10] == ["1"]
        if (settings.difficult or not difficult) and _shorter(corners) >= settings.min_box_px:
            found.picture.append(len(found.pictures))
            found.corners.append(corners)
            found.names.append(words[8])
    return gsd_m


def _gsd(text: str) -> float | None:
    name, _, value = text.partition(":")
    numbers = _numbers([value]) if name.lower() == "gsd" else None
    return numbers[0] if numbers and 0 < numbers[0] < np.inf else None


def _numbers(words: Sequence[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _shorter(corners: Sequence[float]) -> float:
    points = np.array(corners).reshape(4, 2)
    return float(min(np.hypot(*(points[1] - points[0])), np.hypot(*(points[2] - points[1]))))


def _sampled(around: Pixels, x: np.ndarray, y: np.ndarray) -> Pixels:
    """Return the values at places given in pixels, bilinear over the valid pixels, (C, h, w)."""
    height, width = around.valid.shape
    grid = np.stack([2 * x / width - 1, 2 * y / height - 1], axis=-1).astype(np.float32)
    layers = np.concatenate(
        [np.where(around.valid, around.data, np.float32(0)), around.valid[np.newaxis]]
    ).astype(np.float32)
    found = functional.grid_sample(
        torch.from_numpy(layers)[None], torch.from_numpy(grid)[None],
        mode="bilinear", padding_mode="zeros", align_corners=False,
    )[0].numpy()  # fmt: skip
    weight, valid = found[-1], found[-1] >= 0.5
    values = np.where(valid, found[:-1] / np.maximum(weight, 1e-6), np.float32(0))
    return Pixels(values.astype(np.float32), valid)
