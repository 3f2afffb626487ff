"""Objects cut out of pictures by oriented boxes, as DOTA writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from rsmeta.config.data_kinds import DATASETS
from rsmeta.config.images import ImageFileSettings, PlaceOrShare, divided
from rsmeta.data.images.dota import read_objects
from rsmeta.data.images.image_set import Found
from rsmeta.errors import ImagesError

if TYPE_CHECKING:
    from rsmeta.data.images.image_set import Wanted


@DATASETS.register("boxes")
class BoxesSettings(ImageFileSettings):
    """Objects cut out of pictures, by oriented boxes as DOTA writes them."""

    kind: Literal["boxes"] = Field(description="objects cut out by oriented boxes (DOTA)")
    train: str = Field(default="train", description="folder with pictures and annotations")
    validation: PlaceOrShare = Field(
        default="val", description="such a folder, or a share of the training pictures' objects"
    )
    test: PlaceOrShare | None = Field(
        default=None, description="such a folder, or a share of the training pictures' objects"
    )
    images: str = Field(default="images", description="folder of the pictures in such a folder")
    annotations: str = Field(
        default="labelTxt", description="folder of the annotations in such a folder"
    )
    context: float = Field(
        default=1.2, ge=1, description="side of a crop / side of the object's box"
    )
    turn: bool = Field(
        default=True, description="turn the crop with the box; else it is upright around the box"
    )
    square: bool = Field(
        default=True, description="crops as wide as high, by the longer side of the box"
    )
    difficult: bool = Field(default=True, description="objects marked as difficult count too")
    min_box_px: float = Field(
        default=2.0, ge=1, description="boxes with a shorter side below this are left out"
    )

    def find(self, wanted: Wanted) -> Found:
        """Find the objects that annotation files describe; see ``ImageSettings``."""
        from rsmeta.data.images.box_images import BoxImages  # torch and GDAL load slowly
        from rsmeta.data.images.files import ImageReader

        if wanted.task != "classification":
            raise ImagesError(
                f"data.kind=boxes gives one class per object, not what task={wanted.task} needs"
            )
        places, shares = divided(validation=self.validation, test=self.test)
        folders = {"train": self.train, **places}
        objects = {part: read_objects(self.root / name, self) for part, name in folders.items()}
        names = tuple(spec.name for spec in self.classes or ())
        names = names or tuple(sorted({name for one in objects.values() for name in one.names}))
        reader = ImageReader.of(
            self, objects["train"].pictures, bands=wanted.bands, as_rgb=self.colour == "rgb"
        )
        number = {name: i for i, name in enumerate(names)}
        sets = {
            part: BoxImages(
                found, np.array([number[name] for name in found.names], np.int64), reader, self
            )
            for part, found in objects.items()
        }
        return Found(names, dict(sets), shares)
