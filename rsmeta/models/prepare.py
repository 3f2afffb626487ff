"""Prepare: the one way in which pixels enter a network, in training and in prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from rsmeta.models.records import InputForm


#: One number per band, (C,).
BandValues: TypeAlias = "Sequence[float] | NDArray[np.floating[Any]] | Tensor"


class Prepare(nn.Module):
    """Normalise each band, and give it its mean wherever a pixel is not valid.

    Args:
        mean: Mean of each band, physical units, (C,).
        std: Standard deviation of each band likewise; a constant band (0) is only centred.
        form: ``standard``: in standard deviations from the mean; ``two_sigma``: mean ± 2 std
            become 0 and 1, and what lies outside is clipped, as multispectral SatMAE has it;
            ``physical``: as it is, with NaN in place of what is not valid.

    Raises:
        ValueError: ``mean`` and ``std`` differ in length, or are not finite, or ``std`` < 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: BandValues, std: BandValues, form: InputForm = "standard") -> None:
        super().__init__()
        centre = torch.as_tensor(mean, dtype=torch.float32).clone()
        spread = torch.as_tensor(std, dtype=torch.float32).clone()
        if centre.ndim != 1 or centre.shape != spread.shape:
            raise ValueError(
                f"mean {tuple(centre.shape)} and std {tuple(spread.shape)} must be (C,)"
            )
        if not (centre.isfinite().all() and spread.isfinite().all() and (spread >= 0).all()):
            raise ValueError(
                f"mean {centre.tolist()} and std {spread.tolist()} must be finite, std >= 0"
            )
        self.form = form
        self.register_buffer("mean", centre)
        self.register_buffer("std", torch.where(spread > 0, spread, torch.ones_like(spread)))

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return what the backbone takes.

        Args:
            image: Bands in physical units, (B, C, H, W); anything, NaN too, where not valid.
            valid: True where all of a pixel counts, (B, H, W) bool.

        Returns:
            Normalised bands (B, C, H, W); each band's mean where a pixel is not valid or a value
            is not finite.
        """
        if self.form == "physical":
            return torch.where(valid[:, None] & image.isfinite(), image, torch.nan)
        normal = (image - self.mean[:, None, None]) / self.std[:, None, None]
        normal = torch.where(valid[:, None] & normal.isfinite(), normal, 0.0)
        return ((normal + 2) / 4).clamp(0, 1) if self.form == "two_sigma" else normal
