"""Random changes of training batches, on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

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
        if self.settings.flip or self.settings.rotate:
            ways = self._ways(len(image))
            of_pixels = target.shape == valid.shape
            image, valid = _moved(image, ways), _moved(valid, ways)
            target = _moved(target, ways) if of_pixels else target
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

    def _ways(self, count: int) -> Tensor:
        """Draw how each of so many chips is moved, (B,): quarter turns, plus 4 if mirrored before.

        Drawn on the CPU: on a GPU, every number that decides what is done would be waited for.
        """
        turns = torch.randint(4, (count,)) if self.settings.rotate else torch.zeros(count).long()
        mirrored = torch.randint(2, (count,)) if self.settings.flip else torch.zeros(count).long()
        if self.settings.flip is True:  # upside down is mirrored and turned by a half
            upside_down = torch.randint(2, (count,))
            turns, mirrored = (turns + 2 * upside_down) % 4, mirrored ^ upside_down
        return turns + 4 * mirrored


def _moved(layer: Tensor, ways: Tensor) -> Tensor:
    """Return chips (B, …, H, W) mirrored and turned each its way, (B,); H equals W for turns."""
    moved = torch.empty_like(layer)
    for way in sorted(set(ways.tolist())):
        which = (ways == way).nonzero()[:, 0].to(layer.device)
        some = layer[which]
        some = some.flip(-1) if way >= 4 else some
        moved[which] = some.rot90(way % 4, (-2, -1))
    return moved


def _uniform(like: Tensor, count: int, bands: int) -> Tensor:
    """Return (B, bands, 1, 1) numbers between -1 and 1."""
    return torch.empty(count, bands, 1, 1, device=like.device, dtype=like.dtype).uniform_(-1, 1)
