"""What a pixel says of itself: local means and deviations, normalised differences of bands."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Sums of two bands smaller than this count as 0, and so does their index.
_NOTHING = 1e-6

#: Values well below this are not put on a logarithmic scale.
_DARK = 0.01


class Surroundings:
    """Bands of an image and of the surroundings of its pixels, each computed once when asked for.

    Args:
        x: Bands in physical units, (B, C, H, W), NaN where a pixel is not valid.
    """

    def __init__(self, x: Tensor) -> None:
        self._valid = x.isfinite().all(dim=1, keepdim=True)
        self.bands = torch.where(self._valid, x, 0.0)
        self._local: dict[int, tuple[Tensor, Tensor]] = {}
        self._ratios: dict[int, Tensor] = {}

    def local(self, side_px: int) -> tuple[Tensor, Tensor]:
        """Return mean and deviation, each (B, C, H, W), of the valid pixels of squares."""
        if side_px not in self._local:
            self._local[side_px] = local_statistics(self.bands, self._valid, side_px)
        return self._local[side_px]

    def ratios(self, side_px: int) -> Tensor:
        """Return the ``ratios`` of the bands (1), or of their means in squares."""
        if side_px not in self._ratios:
            image = self.bands if side_px == 1 else self.local(side_px)[0]
            self._ratios[side_px] = ratios(image)
        return self._ratios[side_px]


def normalised_difference(first: Tensor, second: Tensor) -> Tensor:
    """Return (first - second) / (first + second) in [-1, 1]; 0 where the sum is 0."""
    total = first + second
    ratio = ((first - second) / total).clamp(-1, 1)
    return torch.where(total.abs() > _NOTHING, ratio, 0.0)


def ratios(image: Tensor) -> Tensor:
    """Return logarithms of all bands, and the normalised difference of each pair of bands.

    Both take differences of brightness out, whatever unit bands are in. The logarithm is linear
    around 0, so that dark or negative values are no outliers.

    Args:
        image: (B, C, H, W), finite.

    Returns:
        (B, C + C (C - 1) / 2, H, W).
    """
    pairs = [
        normalised_difference(image[:, i : i + 1], image[:, i + 1 :])
        for i in range(image.shape[1] - 1)
    ]
    return torch.cat([torch.asinh(image / _DARK), *pairs], dim=1)


def local_statistics(image: Tensor, valid: Tensor, side_px: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the valid pixels in a square around each pixel.

    Args:
        image: (B, C, H, W); anything finite where not valid.
        valid: (B, 1, H, W) bool.
        side_px: Odd side of the square; at the image's edges the part inside counts.

    Returns:
        Two tensors (B, C, H, W) of the image's type; 0 where no pixel of the square is valid.
    """
    # In double: a variance is a small difference of large numbers (digital numbers, kelvin).
    weight = valid.double()
    seen = _box_mean(weight, side_px)
    share = torch.where(seen > 0, seen, 1.0)
    values = torch.where(valid, image, 0.0).double()
    mean = _box_mean(values, side_px) / share
    variance = _box_mean(values.square(), side_px) / share - mean.square()
    return mean.to(image.dtype), variance.clamp_min(0).sqrt().to(image.dtype)


def _box_mean(x: Tensor, side_px: int) -> Tensor:
    """Return the mean over squares, with zeros beyond the edges."""
    half = side_px // 2
    total = functional.pad(x, (half, half, half, half))
    for dim in (2, 3):  # adding shifted images is several times faster than pooling
        length = total.shape[dim] - 2 * half
        total = sum(total.narrow(dim, i, length) for i in range(1, side_px)) + total.narrow(
            dim, 0, length
        )
    return total / side_px**2
