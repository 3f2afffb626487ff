"""CIFAR-100 in its binary version: records of two labels and 32 x 32 pixels in three colours.

Source: Krizhevsky 2009; https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from rsmeta.config.data_kinds import DATASETS
from rsmeta.config.images import ImageFileSettings, Share
from rsmeta.data.images.class_names import read_class_names
from rsmeta.data.images.image_set import Found, ImageSet, Pixels
from rsmeta.errors import ConfigError, ImagesError, one_line
from rsmeta.geo.bands import match_bands, select_bands
from rsmeta.geo.sensors import load_sensor

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.data.images.image_set import Wanted
    from rsmeta.geo.bands import Band

_SIDE_PX = 32

#: Bytes of a record: coarse label, fine label, red, green and blue pixels, row by row.
_RECORD = 2 + 3 * _SIDE_PX**2


@DATASETS.register("cifar")
class CifarSettings(ImageFileSettings):
    """CIFAR-100 in its binary version, which holds no program code as the Python version does."""

    filters_speckle: ClassVar[bool] = False

    kind: Literal["cifar"] = Field(description="CIFAR-100, binary version")
    train: str = Field(default="train.bin", description="file of the training images")
    test: str = Field(default="test.bin", description="file of the test images")
    validation: Share = Field(default=0.0, description="share of every training class")
    class_names: str = Field(
        default="fine_label_names.txt", description="file with a class name per line"
    )

    def find(self, wanted: Wanted) -> Found:
        """Open the files of CIFAR-100; see ``ImageSettings``."""
        if wanted.task != "classification":
            raise ConfigError(f"data.kind=cifar has one class per image, not task={wanted.task}")
        hint = self.origin_hint
        names = tuple(spec.name for spec in self.classes or ())
        names = names or read_class_names(self.root / self.class_names, hint)
        rgb = load_sensor("rgb").bands
        bands = wanted.bands or (select_bands(self.use_bands, rgb, "CIFAR-100")
                                 if self.use_bands else rgb)  # fmt: skip
        sets: dict[str, CifarImages] = {}
        for part, name in (("train", self.train), ("test", self.test)):
            path = self.root / name
            records = _records(path, hint)
            if records[:, 1].max() >= len(names):
                raise ImagesError(
                    f"{path} holds the label {records[:, 1].max()}, beyond the {len(names)} class "
                    f"names; check data.class_names"
                )
            sets[part] = CifarImages(path, records, tuple(bands), self)
        return Found(
            names, {"train": sets["train"], "test": sets["test"]}, {"validation": self.validation}
        )


class CifarImages(ImageSet):
    """Images of one file, read from the disk when they are asked for.

    Args:
        path: The file.
        records: Its bytes, (N, 3074) uint8.
        bands: Bands to give, of red, green and blue.
        settings: Scale and offset.
    """

    in_memory = True

    def __init__(
        self, path: Path, records: np.ndarray, bands: tuple[Band, ...], settings: CifarSettings
    ) -> None:
        super().__init__(records[:, 1].astype(np.int64))
        self.path = path
        self.records = records
        self.indices = np.arange(len(records))
        self._bands = bands
        self._places = match_bands(bands, load_sensor("rgb").bands, path)
        self._scale = 1.0 if settings.scale is None else settings.scale
        self._offset = settings.offset or 0.0

    @property
    def bands(self) -> tuple[Band, ...]:
        """The bands to read."""
        return self._bands

    def name(self, index: int) -> str:
        """Return file and number of an image."""
        return f"{self.path}, image {self.indices[index]}"

    def read(self, index: int) -> Pixels:
        """Read an image."""
        pixels = self.records[self.indices[index], 2:].reshape(3, _SIDE_PX, _SIDE_PX)
        data = pixels[self._places].astype(np.float32)
        data = data * np.float32(self._scale) + np.float32(self._offset)
        return Pixels(data, np.ones((_SIDE_PX, _SIDE_PX), np.bool_))

    def _keep(self, indices: np.ndarray) -> None:
        self.indices = self.indices[indices]


def _records(path: Path, hint: str) -> np.ndarray:
    try:
        held = np.memmap(path, np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise ImagesError(f"cannot read {path} ({one_line(error)}){hint}") from error
    if len(held) % _RECORD:
        raise ImagesError(
            f"{path} is no file of CIFAR-100's binary version, or not complete: its {len(held)} "
            f"bytes are no multiple of {_RECORD}{hint}"
        )
    return held.reshape(-1, _RECORD)
