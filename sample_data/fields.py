"""Random fields and the few image operations that the landscape needs, in numpy alone."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

Image = NDArray[np.float32]


def as_image(values: ArrayLike) -> Image:
    """Return the values as float32; no copy where they are already."""
    return np.asarray(values, np.float32)


def fractal(rng: np.random.Generator, side_px: int, *, longest_px: float, slope: float) -> Image:
    """Draw a smooth random field by shaping white noise in the frequency domain.

    Args:
        rng: Source of randomness.
        side_px: Height and width.
        longest_px: Wavelength beyond which the power stops growing, in pixels.
        slope: Exponent of the amplitude: 1 is rough, 2 is smooth as hills are.

    Returns:
        Field (side, side) of mean 0 and standard deviation 1; opposite edges fit together.
    """
    noise = np.fft.rfft2(rng.standard_normal((side_px, side_px)))
    rows = np.fft.fftfreq(side_px)[:, np.newaxis]
    columns = np.fft.rfftfreq(side_px)[np.newaxis]
    frequency = np.maximum(np.hypot(rows, columns), 1 / longest_px)
    field = np.fft.irfft2(noise * frequency**-slope, s=(side_px, side_px)).astype(np.float32)
    return as_image((field - field.mean()) / field.std())


def blur(image: Image, sigma_px: float) -> Image:
    """Return ``image`` (H, W) under a Gaussian, edges repeated."""
    if sigma_px <= 0:
        return image
    radius = max(1, round(3 * sigma_px))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)
    weights /= weights.sum()
    for _ in "yx":  # rows first; turned over, the columns are rows too
        padded = np.pad(image, ((radius, radius), (0, 0)), mode="edge")
        length = len(image)
        image = np.zeros_like(image)
        for shift, weight in enumerate(weights.astype(np.float32)):
            image += weight * padded[shift : shift + length]
        image = np.ascontiguousarray(image.T)
    return image


def shrink(image: Image, factor: int) -> Image:
    """Return the means of ``factor`` x ``factor`` cells."""
    height, width = image.shape
    parts = image.reshape(height // factor, factor, width // factor, factor)
    return as_image(parts.mean(axis=(1, 3), dtype=np.float32))


def enlarge(image: Image, factor: int) -> Image:
    """Return ``image`` with ``factor`` times the rows and columns, bilinear."""
    for axis in (0, 1):
        length = image.shape[axis]
        centre = (np.arange(length * factor) + 0.5) / factor - 0.5
        first = np.clip(np.floor(centre).astype(int), 0, length - 1)
        second = np.minimum(first + 1, length - 1)
        shape = (-1, 1) if axis == 0 else (1, -1)
        share = np.clip(centre - first, 0, 1).astype(np.float32).reshape(shape)
        image = np.take(image, first, axis) * (1 - share) + np.take(image, second, axis) * share
    return image


def cells(
    rng: np.random.Generator, x: Image, y: Image, count: int
) -> tuple[NDArray[np.int64], Image]:
    """Divide the ground among ``count`` random centres.

    Args:
        rng: Source of randomness.
        x: Eastward position of each pixel, (H, W); warp it for crooked borders.
        y: Southward position, (H, W).
        count: How many centres.

    Returns:
        The number of the nearest centre, (H, W), and how much farther the second one is,
        (H, W), in the units of ``x``: zero on a border.
    """
    centres_x = rng.uniform(x.min(), x.max(), count)
    centres_y = rng.uniform(y.min(), y.max(), count)
    nearest = np.full(x.shape, np.inf, np.float32)
    second = nearest.copy()
    number = np.zeros(x.shape, np.int64)
    for i, (cx, cy) in enumerate(zip(centres_x, centres_y, strict=True)):
        distance = np.hypot(x - np.float32(cx), y - np.float32(cy))
        closer = distance < nearest
        second = np.where(closer, nearest, np.minimum(second, distance))
        number[closer] = i
        nearest = np.minimum(nearest, distance)
    return number, second - nearest


def distance_to_path(x: Image, y: Image, path: NDArray[np.float64]) -> Image:
    """Return the distance of each pixel (H, W) to a line through the points (N, 2) = (x, y)."""
    best = np.full(x.shape, np.inf, np.float32)
    for (ax, ay), (bx, by) in itertools.pairwise(path):
        dx, dy = bx - ax, by - ay
        along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
        gap = np.hypot(x - ax - along * dx, y - ay - along * dy)
        best = np.minimum(best, gap.astype(np.float32))
    return best
