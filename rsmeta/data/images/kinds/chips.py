"""Chips cut out of labelled scenes, each with the class that most of its pixels have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from rsmeta.config.data import DataSettings
from rsmeta.config.data_kinds import DATASETS
from rsmeta.config.images import ImageSettings

if TYPE_CHECKING:
    from rsmeta.data.images.image_set import Found, Wanted


@DATASETS.register("chips")
class ChipsSettings(ImageSettings, DataSettings):  # type: ignore[misc]
    """Chips cut out of labelled scenes, each with the class of most of its pixels."""

    kind: Literal["chips"] = Field(  # type: ignore[assignment]
        description="chips cut out of labelled scenes"
    )
    stride_px: int | None = Field(
        default=None, ge=1, description="pixels from one chip to the next; none: chip_px"
    )
    majority: float = Field(
        default=0.8, gt=0, le=1, description="smallest share of its pixels that a chip's class has"
    )
    present: float = Field(
        default=0.1, gt=0, le=1, description="for multilabel: smallest share of a class that counts"
    )

    @property
    def fix_for_empty_class(self) -> str:
        """What to do about a class without training images."""
        return "lower data.majority or data.stride_px, or drop them from data.classes"

    def find(self, wanted: Wanted) -> Found:
        """Cut the chips; see ``ImageSettings``."""
        from rsmeta.data.images.chip_images import find_chips  # torch and GDAL load slowly

        return find_chips(self, wanted)
