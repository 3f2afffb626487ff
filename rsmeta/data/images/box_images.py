"""Crops of pictures around oriented boxes."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from rasterio.windows import Window
from torch.nn import functional

from rsmeta.data.images.image_set import ImageSet, Pixels
from rsmeta.data.images.pictures import orientation
from rsmeta.data.images.window_cache import WindowCache
from rsmeta.errors import SceneError

if TYPE_CHECKING:
    from rsmeta.data.images.dota import BoxObjects
    from rsmeta.data.images.files import ImageReader
    from rsmeta.data.images.kinds.boxes import BoxesSettings
    from rsmeta.geo.bands import Band


logger = logging.getLogger(__name__)


class BoxImages(ImageSet):
    """Crops of pictures around oriented boxes.

    A PNG or JPEG is decoded from its top, whichever window of it is needed. So when a picture is
    first read, the windows around all its objects are, and they are kept as long as there is room.

    Args:
        objects: Pictures and boxes.
        labels: Class of each object, (N,) int64.
        reader: Reads the pictures.
        settings: How crops are cut: context, turn, square.
    """

    in_memory = True

    def __init__(
        self, objects: BoxObjects, labels: np.ndarray, reader: ImageReader, settings: BoxesSettings
    ) -> None:
        super().__init__(labels, np.array(objects.picture, np.int64))
        self.pictures = tuple(objects.pictures)
        self.gsds = tuple(objects.gsd_m)
        self.corners = np.array(objects.corners, np.float64).reshape(-1, 4, 2)
        self.reader = reader
        self.settings = settings
        #: Numbers of the objects before some of them were taken, (N,).
        self.numbers = np.arange(len(labels))
        self.cache = WindowCache()

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
        """Read the window around an object, or take what was kept of it."""
        assert self.origins is not None
        picture = int(self.origins[index])
        with self.cache.lock:  # two threads would read the same picture
            if self.cache.begin(picture):
                self._read_all(picture)
        kept = self.cache.get(int(self.numbers[index]))
        return self.reader.read_window(self.pictures[picture], window) if kept is None else kept

    def _read_all(self, picture: int) -> None:
        """Read the windows around all objects from top to bottom, which decodes a picture once."""
        if orientation(self.pictures[picture]) != 1:
            logger.warning("%s has an EXIF turn, which boxes do not follow: they are places in the "
                           "pixels as stored", self.pictures[picture])  # fmt: skip
        indices = np.flatnonzero(self.origins == picture).tolist()
        windows = [(self._frame(index).window(), int(self.numbers[index])) for index in indices]
        for window, number in sorted(windows, key=lambda one: one[0].row_off):
            if not self.cache.full:
                with contextlib.suppress(SceneError):  # it is said when that object is read
                    pixels = self.reader.read_window(self.pictures[picture], window)
                    self.cache.keep(number, pixels)

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
        """Return the window of the picture that the crop is made of, a pixel wider all around."""
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
