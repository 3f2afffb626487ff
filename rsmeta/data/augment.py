"""Random changes of training batches, on the device, by kornia."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kornia.augmentation as kornia

if TYPE_CHECKING:
    from rsmeta.config.data import AugmentSettings


class Augment(nn.Module):
    """Mirrors and turns image, validity and labels of pixels, and for transfer changes the gain.

    Works on physical values, before ``Prepare``: light, haze and another sensor act on those as
    factors, so that a model learns what is dark beside its neighbours, not below a threshold. In
    the scenes of training the threshold is good, and a changed gain would hide it.

    Args:
        settings: What to change and how far.
    """

    def __init__(self, settings: AugmentSettings) -> None:
        super().__init__()
        geometric: list[Any] = []
        if settings.flip:
            geometric.append(kornia.RandomHorizontalFlip(p=0.5))
        if settings.flip is True:
            geometric.append(kornia.RandomVerticalFlip(p=0.5))
        if settings.rotate:
            geometric.append(kornia.RandomRotation90(times=(0, 3), p=1.0, resample="nearest"))
        self.geometric = (
            kornia.AugmentationSequential(*geometric, data_keys=["input", "mask", "mask"])
            if geometric
            else None
        )
        self.settings = settings

    def forward(
        self, image: Tensor, valid: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Change a batch.

        Args:
            image: Chips in physical units, (B, C, H, W).
            valid: (B, H, W) bool.
            target: Labels of pixels, (B, H, W): class indices, -1 where unlabelled, or numbers,
                NaN there. Or labels of images, (B,) or (B, K), which no change touches.

        Returns:
            The three, changed alike.
        """
        if self.geometric is not None:
            of_pixels = target.shape == valid.shape
            layers = [valid.float()[:, None], *([target.float()[:, None]] if of_pixels else [])]
            image, seen, *labels = self.geometric(
                image, *layers, data_keys=["input", *["mask"] * len(layers)]
            )
            valid = seen[:, 0] > 0.5
            if of_pixels:
                moved = labels[0][:, 0]
                target = moved if target.is_floating_point() else moved.round().long()
        count, bands = image.shape[:2]
        gain, band_gain = self.settings.gains
        if gain or band_gain:
            exponent = gain * _uniform(image, count, 1)
            exponent = exponent + band_gain * _uniform(image, count, bands)
            image = image * torch.exp(exponent)
        return self._drop_bands(image), valid, target

    def _drop_bands(self, image: Tensor) -> Tensor:
        """Give some bands no value, NaN, which ``Prepare`` takes for their mean."""
        if not self.settings.band_drop:
            return image
        chance = torch.rand(*image.shape[:2], 1, 1, device=image.device)
        # The band with the highest number is always kept.
        dropped = (chance < self.settings.band_drop) & (chance < chance.amax(dim=1, keepdim=True))
        return image.masked_fill(dropped, torch.nan)


def _uniform(like: Tensor, count: int, bands: int) -> Tensor:
    """Return (B, bands, 1, 1) numbers between -1 and 1."""
    return torch.empty(count, bands, 1, 1, device=like.device, dtype=like.dtype).uniform_(-1, 1)
