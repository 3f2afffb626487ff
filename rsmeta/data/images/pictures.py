"""Pictures of any colour model as red, green, blue from 0 to 255, upright, with their validity."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from rasterio.windows import Window

from rsmeta.data.images.image_set import Pixels
from rsmeta.errors import SceneUnreadableError, counted
from rsmeta.geo.handles import open_raster, reading

if TYPE_CHECKING:
    from rasterio import DatasetReader

#: Left, top, right and bottom in pixels; pixels before and after, of rows and of columns.
_Box: TypeAlias = tuple[int, int, int, int]
_Edges: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

#: What PIL raises for files that are damaged or no pictures.
_DAMAGED = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)

#: Colours of 16 bits per number of a colour of 8 bits.
_PER_BYTE = 257

#: Formats whose EXIF turn GDAL does not heed.
_TURNABLE = (".jpg", ".jpeg", ".png", ".webp")

#: How rows and columns are turned to make a picture upright, by EXIF's orientation; the axes are
#: those of (…, H, W). Source: EXIF 2.32 (CIPA DC-008), tag 0x0112.
_UPRIGHT = {
    2: lambda a: a[..., :, ::-1],
    3: lambda a: a[..., ::-1, ::-1],
    4: lambda a: a[..., ::-1, :],
    5: lambda a: a.swapaxes(-1, -2),
    6: lambda a: a.swapaxes(-1, -2)[..., :, ::-1],
    7: lambda a: a.swapaxes(-1, -2)[..., ::-1, ::-1],
    8: lambda a: a.swapaxes(-1, -2)[..., ::-1, :],
}


def read_colours(path: str, window: Window | None = None) -> Pixels:
    """Read a picture as stored: red, green, blue (3, H, W), 0 to 255; transparent is invalid.

    Args:
        path: The picture.
        window: What of it to read; what reaches over its edges is invalid. None: all of it.

    Raises:
        SceneUnreadableError: It cannot be read, or its numbers cannot be taken for colours.
    """
    try:
        with Image.open(path) as picture:
            inside, edges = _inside(window, picture.size)
            pixels = _colours_of(picture if window is None else picture.crop(inside), path)
    except UnidentifiedImageError:  # such as colours of 16 bits in a TIFF
        file = open_raster(path)
        inside, edges = _inside(window, (file.width, file.height))
        pixels = _colours_by_gdal(file, path, inside)
    except _DAMAGED as error:
        raise SceneUnreadableError(path, error) from error
    return Pixels(np.pad(pixels.data, ((0, 0), *edges)), np.pad(pixels.valid, edges))


def upright(pixels: Pixels, path: str) -> Pixels:
    """Return a whole picture turned as its EXIF data say that it was taken."""
    turn = _UPRIGHT.get(orientation(path))
    if turn is None:
        return pixels
    return Pixels(np.ascontiguousarray(turn(pixels.data)), np.ascontiguousarray(turn(pixels.valid)))


def orientation(path: str) -> int:
    """Return EXIF's orientation of a picture, 1 to 8; 1 where there is none: as it is stored."""
    if not path.lower().endswith(_TURNABLE):
        return 1
    try:
        with Image.open(path) as picture:
            return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGED:  # reading says it
        return 1


def _colours_of(picture: Image.Image, path: str) -> Pixels:
    valid = np.ones((picture.height, picture.width), np.bool_)
    if picture.mode in {"I", "F"} and picture.format != "PNG":
        raise SceneUnreadableError(
            path, "its numbers of 32 bits cannot be taken for colours; use data.colour=as_is"
        )
    if picture.mode.startswith("I"):
        grey = np.asarray(picture, np.float32) / np.float32(_PER_BYTE)
        return Pixels(np.stack([grey] * 3), valid)
    if picture.mode[-1] in "aA" or "transparency" in picture.info:
        coloured = np.asarray(picture.convert("RGBA"))
        valid = coloured[..., 3] > 0
    else:
        coloured = np.asarray(picture.convert("RGB"))
    data = coloured[..., :3].transpose(2, 0, 1).astype(np.float32)
    return Pixels(np.where(valid, data, np.float32(0)), valid)


def _inside(window: Window | None, size: tuple[int, int]) -> tuple[_Box, _Edges]:
    """Return what of a window lies in a picture, and the rows and columns around that do not."""
    width, height = size
    if window is None:
        return (0, 0, width, height), ((0, 0), (0, 0))
    left, cols = _overlap(int(window.col_off), int(window.width), width)
    top, rows = _overlap(int(window.row_off), int(window.height), height)
    right = left + int(window.width) - sum(cols)
    bottom = top + int(window.height) - sum(rows)
    return (left, top, right, bottom), (rows, cols)


def _overlap(start: int, length: int, size: int) -> tuple[int, tuple[int, int]]:
    """Return where a stretch begins inside 0..size, and how much of it lies before and after."""
    before = min(max(-start, 0), length)
    after = min(max(start + length - size, 0), length)
    return max(start, 0), (before, after)


def _colours_by_gdal(file: DatasetReader, path: str, box: _Box) -> Pixels:
    kinds = {str(dtype) for dtype in file.dtypes}
    if file.count > 4 or not kinds <= {"uint8", "uint16"}:
        raise SceneUnreadableError(
            path,
            f"{counted(file.count, 'band')} of {', '.join(sorted(kinds))} cannot be taken for "
            f"colours; use data.colour=as_is",
        )
    window = Window.from_slices((box[1], box[3]), (box[0], box[2]))
    with reading(path):
        data = file.read((1, 1, 1) if file.count < 3 else (1, 2, 3), window=window)
        valid = file.dataset_mask(window=window) > 0
    colours = data.astype(np.float32) / np.float32(_PER_BYTE if "uint16" in kinds else 1)
    return Pixels(np.where(valid, colours, np.float32(0)), valid)
