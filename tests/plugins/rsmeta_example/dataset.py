"""A kind of image data: one ``.npz`` file with images of four bands and a class for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from rsmeta.config.images import ImageFileSettings
from rsmeta.data.images.image_set import Found, ImageSet, Pixels
from rsmeta.errors import ImagesError
from rsmeta_example.sensor import CAMERA

if TYPE_CHECKING:
    from rsmeta.data.images.image_set import Wanted
    from rsmeta.geo.bands import Band


class ArrayFileSettings(ImageFileSettings):
    """Images (N, 4, H, W) and labels (N,) as two arrays of one file."""

    kind: Literal["array_file"] = Field(description="images and labels as arrays of a .npz file")
    file: str = Field(description="the file, below root")
    validation: float = Field(default=0.25, gt=0, lt=1, description="share of every class")

    def find(self, wanted: Wanted) -> Found:
        """Open the file; see ``ImageSettings``."""
        path = self.root / self.file
        try:
            arrays = np.load(path, allow_pickle=False)
            images, labels = arrays["images"], arrays["labels"]
        except (OSError, KeyError, ValueError) as error:
            raise ImagesError(f"cannot read {path} ({error}); check data.file") from error
        names = tuple(spec.name for spec in self.classes or ())
        names = names or tuple(f"class {i}" for i in range(labels.max() + 1))
        return Found(names, {"train": ArrayImages(images, labels)}, {"validation": self.validation})


class ArrayImages(ImageSet):
    """Images in memory.

    Args:
        images: (N, 4, H, W), as the example camera stores them.
        labels: Class numbers (N,).
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        super().__init__(labels.astype(np.int64))
        self.images = images

    @property
    def bands(self) -> tuple[Band, ...]:
        """Bands of every image."""
        return CAMERA.bands

    def name(self, index: int) -> str:
        """Return where an image comes from."""
        return f"image {index}"

    def read(self, index: int) -> Pixels:
        """Read an image."""
        raw = self.images[index]
        return Pixels(raw.astype(np.float32) * np.float32(CAMERA.scale), (raw != 0).all(axis=0))

    def _keep(self, indices: np.ndarray) -> None:
        self.images = self.images[indices]
