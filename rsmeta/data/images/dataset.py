"""Images by key as samples of one size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset

from rsmeta.config.images import ImageSizing
from rsmeta.data.images.resize import to_chip
from rsmeta.data.images.window_cache import WindowCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from rsmeta.config.images import ImageSettings
    from rsmeta.data.images.image_set import ImageSet, Pixels
    from rsmeta.data.images.resize import RandomCrop
    from rsmeta.data.images.sampler import ImageKey


class ImageDataset(Dataset[dict[str, Any]]):
    """Images of one part, or of several behind one another, by ``ImageKey``.

    A sample holds ``image`` (C, chip_px, chip_px) float32 in physical units, ``valid``
    (chip_px, chip_px) bool and ``label``: () int64, (K,) float32, or () float32.

    Args:
        sets: The images.
        settings: The ``data`` section: how they are resized and cropped.
        cache: Keeps what was decoded, under the numbers of these images; none: nothing is kept.
    """

    def __init__(
        self,
        sets: Sequence[ImageSet],
        settings: ImageSettings,
        cache: WindowCache | None = None,
    ) -> None:
        self.sets = tuple(sets)
        self.settings = settings
        self.cache = cache or WindowCache(0)

    def __len__(self) -> int:
        """Return the number of images."""
        return sum(map(len, self.sets))

    def __getitem__(self, key: ImageKey) -> dict[str, Any]:
        """Read one image."""
        index, images = key.image, self.sets[0]
        for images in self.sets:
            if index < len(images):
                break
            index -= len(images)
        pixels = images.read(index) if images.in_memory else self._decoded(images, index, key.image)
        image, valid = self._sized(pixels, key.crop)
        return {"image": image, "valid": valid, "label": torch.as_tensor(images.labels[index])}

    def _decoded(self, images: ImageSet, index: int, number: int) -> Pixels:
        """Read an image, or take what was kept of it."""
        pixels = self.cache.get(number)
        if pixels is None:
            pixels = images.read(index)
            if not self.cache.full:
                self.cache.keep(number, pixels)
        return pixels

    def _sized(self, pixels: Pixels, crop: RandomCrop | None) -> tuple[Tensor, Tensor]:
        if isinstance(self.settings, ImageSizing):
            return to_chip(pixels, self.settings, crop)
        image, valid = torch.from_numpy(pixels.data), torch.from_numpy(pixels.valid)
        return torch.where(valid, image, 0.0), valid
