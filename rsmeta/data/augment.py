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
    """Mirrors and turns image, validity and labels together; shifts and scales the image.

    Args:
        settings: What to change and how far.
    """

    def __init__(self, settings: AugmentSettings) -> None:
        super().__init__()
        geometric: list[Any] = []
        if settings.flip:
            geometric += [kornia.RandomHorizontalFlip(p=0.5), kornia.RandomVerticalFlip(p=0.5)]
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
            image: Prepared chips, (B, C, H, W), in standard deviations from the mean.
            valid: (B, H, W) bool.
            mask: Class indices, (B, H, W) int64, -1 where unlabelled.

        Returns:
            The three, changed alike; invalid pixels of the image stay 0.
        """
        if self.geometric is not None:
            layers = torch.stack([valid.float(), mask.float()], dim=1)
            image, valid_layer, mask_layer = self.geometric(image, layers[:, :1], layers[:, 1:])
            valid, mask = valid_layer[:, 0] > 0.5, mask_layer[:, 0].round().long()
        return self._radiometric(image) * valid[:, None], valid, mask

    def _radiometric(self, image: Tensor) -> Tensor:
        """Shift, scale and blur with noise: illumination, haze and sensor differ by scene."""
        shape = (len(image), 1, 1, 1)
        contrast = torch.empty(shape, device=image.device).uniform_(-1, 1) * self.settings.contrast
        shift = torch.empty(shape, device=image.device).uniform_(-1, 1) * self.settings.brightness
        changed = image * (1 + contrast) + shift
        if self.settings.noise:
            changed = changed + self.settings.noise * torch.randn_like(changed)
        return changed
