"""Classification datasets of TorchGeo, by their name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from rsmeta.config.data_kinds import DATASETS
from rsmeta.config.images import ImageFileSettings, Share
from rsmeta.config.torchgeo import known_dataset
from rsmeta.errors import RsmetaError

if TYPE_CHECKING:
    from rsmeta.data.images.image_set import Found, Wanted


@DATASETS.register("torchgeo")
class TorchgeoSettings(ImageFileSettings):
    """A classification dataset of TorchGeo, by its name."""

    filters_speckle: ClassVar[bool] = False

    kind: Literal["torchgeo"] = Field(description="a classification dataset of TorchGeo")
    dataset: str = Field(description="its name, such as EuroSAT100; see: rsmeta list datasets")
    options: dict[str, Any] = Field(
        default={},
        description="the dataset's own: bands; num_classes of BigEarthNet; version of So2Sat",
    )
    validation: Share = Field(
        default=0.2,
        description="share of every training class where the dataset has no validation part",
    )
    test: Share = Field(
        default=0.2, description="share of every training class where it has no test part"
    )
    download: bool = Field(default=False, description="fetch it where it is missing")

    @model_validator(mode="after")
    def _dataset_is_known(self) -> TorchgeoSettings:
        try:
            known_dataset(self.dataset).chosen(self.options)
        except RsmetaError as error:
            raise ValueError(str(error)) from None
        return self

    def find(self, wanted: Wanted) -> Found:
        """Open the dataset's parts; see ``ImageSettings``."""
        from rsmeta.data.images.torchgeo_images import find_in_torchgeo  # TorchGeo loads slowly

        return find_in_torchgeo(self, wanted)
