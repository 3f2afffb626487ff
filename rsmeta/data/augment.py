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
    """Mirrors and turns image, validity and labels together, and changes the image's gain.

    Works on physical values, before ``Prepare``: light, haze and another sensor act on those as
    factors, so that a model learns what is dark beside its neighbours, not below a threshold.

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

    def forward(self, image: Tensor, valid: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Change a batch.

        Args:
            image: Chips in physical units, (B, C, H, W).
            valid: (B, H, W) bool.
            mask: Class indices, (B, H, W) int64, -1 where unlabelled.

        Returns:
            The three, changed alike.
        """
        if self.geometric is not None:
            layers = torch.stack([valid.float(), mask.float()], dim=1)
            image, valid_layer, mask_layer = self.geometric(image, layers[:, :1], layers[:, 1:])
            valid, mask = valid_layer[:, 0] > 0.5, mask_layer[:, 0].round().long()
        count, bands = image.shape[:2]
        exponent = self.settings.gain * _uniform(image, count, 1)
        exponent = exponent + self.settings.band_gain * _uniform(image, count, bands)
        return image * torch.exp(exponent), valid, mask


def _uniform(like: Tensor, count: int, bands: int) -> Tensor:
    """Return (B, bands, 1, 1) numbers between -1 and 1."""
    return torch.empty(count, bands, 1, 1, device=like.device, dtype=like.dtype).uniform_(-1, 1)
