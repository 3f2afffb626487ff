"""From images of any size to the size that a network takes, validity included."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from rsmeta.config.images import ImageSizing
    from rsmeta.data.images.image_set import Pixels


class RandomCrop(NamedTuple):
    """Random numbers in [0, 1) that choose the crop of a training image."""

    area: float
    ratio: float
    down: float
    right: float


class _Box(NamedTuple):
    """A crop of an image in pixels; it may reach over the edges."""

    row: int
    col: int
    height: int
    width: int


def to_chip(
    pixels: Pixels, settings: ImageSizing, crop: RandomCrop | None = None
) -> tuple[Tensor, Tensor]:
    """Bring an image to ``chip_px``.

    Args:
        pixels: The image.
        settings: How: resize, crop.
        crop: Chooses the crop of a training image; none: as in validation.

    Returns:
        Image (C, chip_px, chip_px) float32, 0 where invalid, and validity (chip_px, chip_px).
    """
    height, width = pixels.valid.shape
    chip = settings.chip_px
    if crop is not None and settings.crop == "resized" and settings.resize != "none":
        part = _random_crop(height, width, settings, crop)
        size = _fitted(part, chip) if settings.resize == "fit" else (chip, chip)
        return _padded(*_resized(*_cut(pixels, part), size), chip)
    free = crop is not None and settings.crop != "centre"
    place = (crop.down, crop.right) if free and crop is not None else (0.5, 0.5)
    if settings.resize == "squash":
        return _resized(*_cut(pixels, _Box(0, 0, height, width)), (chip, chip))
    if settings.resize == "fit":
        whole = _Box(0, 0, height, width)
        return _padded(*_resized(*_cut(pixels, whole), _fitted(whole, chip)), chip, place)
    side = chip
    if settings.resize == "shorter":
        resize_px = settings.resize_px or round(chip / 0.875)
        side = max(1, round(chip * min(height, width) / resize_px))
    part = _Box(_start(height, side, place[0]), _start(width, side, place[1]), side, side)
    return _resized(*_cut(pixels, part), (chip, chip))


def _random_crop(height: int, width: int, settings: ImageSizing, crop: RandomCrop) -> _Box:
    """Return a box of random area and shape; the shape gives way where it does not fit."""
    low, high = settings.crop_scale
    area = (low + crop.area * (high - low)) * height * width
    narrow, wide = (math.log(one) for one in settings.crop_ratio)
    ratio = math.exp(narrow + crop.ratio * (wide - narrow))
    part_width = min(width, max(1, round(math.sqrt(area * ratio))))
    part_height = min(height, max(1, round(math.sqrt(area / ratio))))
    row, col = _start(height, part_height, crop.down), _start(width, part_width, crop.right)
    return _Box(row, col, part_height, part_width)


def _start(size: int, part: int, place: float) -> int:
    """Place a part; a larger one than there is stands centrally over it."""
    free = size - part
    return min(free, int(place * (free + 1))) if free >= 0 else free // 2


def _fitted(part: _Box, chip: int) -> tuple[int, int]:
    factor = chip / max(part.height, part.width)
    return max(1, round(part.height * factor)), max(1, round(part.width * factor))


def _cut(pixels: Pixels, part: _Box) -> tuple[Tensor, Tensor]:
    """Return image (C, h, w) and validity (h, w) of a part; outside, all is invalid and 0."""
    rows = slice(max(part.row, 0), part.row + part.height)
    cols = slice(max(part.col, 0), part.col + part.width)
    data, valid = pixels.data[:, rows, cols], pixels.valid[rows, cols]
    if valid.shape != (part.height, part.width):
        top, left = max(-part.row, 0), max(-part.col, 0)
        edges = (
            (top, part.height - top - valid.shape[0]), (left, part.width - left - valid.shape[1])
        )  # fmt: skip
        data, valid = np.pad(data, ((0, 0), *edges)), np.pad(valid, edges)
    return torch.from_numpy(np.ascontiguousarray(data)), torch.from_numpy(valid.copy())


def _resized(image: Tensor, valid: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Resize by area-aware bilinear weights, over the valid pixels only."""
    if image.shape[1:] == size:
        return torch.where(valid, image, 0.0), valid
    if bool(valid.all()):
        return _interpolated(image, size), torch.ones(size, dtype=torch.bool)
    weight = _interpolated(valid[None].float(), size)
    values = _interpolated(torch.where(valid, image, 0.0), size) / weight.clamp(min=1e-6)
    now_valid = weight[0] >= 0.5
    return torch.where(now_valid, values, 0.0), now_valid


def _interpolated(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize each band; on one thread, since waking others costs more than they do."""
    height, width = size
    bands = [
        np.asarray(Image.fromarray(band).resize((width, height), Image.Resampling.BILINEAR))
        for band in image.numpy()
    ]
    return torch.from_numpy(np.stack(bands))


def _padded(
    image: Tensor, valid: Tensor, chip: int, place: tuple[float, float] = (0.5, 0.5)
) -> tuple[Tensor, Tensor]:
    """Place an image in a chip; what it does not fill is invalid."""
    rows, cols = chip - image.shape[1], chip - image.shape[2]
    if not (rows or cols):
        return image, valid
    top, left = _start(chip, image.shape[1], place[0]), _start(chip, image.shape[2], place[1])
    edges = (left, cols - left, top, rows - top)
    return functional.pad(image, edges), functional.pad(valid, edges)
