"""The ``data`` section where each image has one label: folders, indexes, chips, boxes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from rsmeta.config.base import Strict
from rsmeta.config.data import (
    ClassSpec,
    DataSettings,
    ReadSettings,
    Sampling,
    TargetSpec,
    class_specs,
)
from rsmeta.config.torchgeo import known_dataset
from rsmeta.errors import RsmetaError, did_you_mean


class ImbalanceSettings(Strict):
    """Makes a long-tailed training set from a balanced one, in the order of the classes."""

    factor: float = Field(
        gt=0, le=1, description="images of the rarest class / images of the most frequent one"
    )
    type: Literal["exp", "step"] = Field(
        default="exp",
        description="n_max * factor^(i / (K - 1)) images of class i; or all of the first half of "
        "the classes and n_max * factor of the others",
    )


class GroupSettings(Strict):
    """Which classes count as many, medium and few where groups are scored."""

    many: str | tuple[str, ...] = Field(
        default=(), description="class names or numbers; or a file with one per line"
    )
    medium: str | tuple[str, ...] = Field(
        default=(), description="class names or numbers; or a file with one per line"
    )
    few: str | tuple[str, ...] = Field(
        default=(), description="class names or numbers; or a file with one per line"
    )


class ImageDraws(Strict):
    """Which images of the training part are used, and how often."""

    chips_per_epoch: int | None = Field(
        default=None,
        ge=1,
        description="images drawn in one epoch; none: as many as there are to train on",
    )
    sampling: Sampling = Field(
        default="instance",
        description="every image once (instance); classes equally (class), by the square root of "
        "their images (sqrt), from the first to the second over the epochs (progressive); or as "
        "many images of every class as the rarest has (down)",
    )
    imbalance: ImbalanceSettings | None = Field(
        default=None, description="thin the training classes out: {factor: 0.01, type: exp}"
    )
    shots: int | None = Field(
        default=None, ge=1, description="training images per class at most, drawn by the seed"
    )
    groups: GroupSettings | None = Field(
        default=None,
        description="classes of many, medium, few images; none: by their counts in training",
    )
    corrupt: Literal["error", "skip"] = Field(
        default="error",
        description="images that cannot be read end the run; or all are read before it begins, "
        "and those are left out and counted",
    )


class ImageFileSettings(ImageDraws, ReadSettings):
    """Images of any size in files of their own, brought to ``chip_px``."""

    chip_px: int = Field(default=224, ge=16, description="side of an image as the network sees it")
    classes: Annotated[tuple[ClassSpec, ...] | None, BeforeValidator(class_specs)] = Field(
        default=None, description="class names in the order of their numbers; none: from the data"
    )
    target: TargetSpec | None = Field(
        default=None, description="instead of classes: the quantity that the labels are"
    )
    colour: Literal["as_is", "rgb"] = Field(
        default="as_is",
        description="rgb: grey, palette and CMYK pictures become red, green, blue",
    )
    resize: Literal["shorter", "squash", "fit", "none"] = Field(
        default="shorter",
        description="shorter side to resize_px, then a central crop; the whole image squashed; the "
        "longer side to chip_px, the rest invalid (fit); or no change of pixel size (none)",
    )
    resize_px: int | None = Field(
        default=None, ge=16, description="for resize=shorter; none: chip_px / 0.875"
    )
    crop: Literal["resized", "random", "centre"] = Field(
        default="resized",
        description="training images: a random part brought to chip_px (resized), a random place "
        "after resize (random), or as in validation (centre)",
    )
    crop_scale: tuple[float, float] = Field(
        default=(0.5, 1.0), description="for crop=resized: smallest and largest share of the area"
    )
    crop_ratio: tuple[float, float] = Field(
        default=(0.75, 4 / 3), description="for crop=resized: smallest and largest width / height"
    )

    @field_validator("crop_scale", "crop_ratio")
    @classmethod
    def _ascends(cls, given: tuple[float, float]) -> tuple[float, float]:
        if not 0 < given[0] <= given[1]:
            raise ValueError(f"{list(given)} is no range of positive numbers from small to large")
        return given

    @field_validator("crop_scale")
    @classmethod
    def _is_share(cls, given: tuple[float, float]) -> tuple[float, float]:
        if given[1] > 1:
            raise ValueError(f"{list(given)} reaches beyond the whole image; at most 1")
        return given

    @model_validator(mode="after")
    def _resize_holds_the_chip(self) -> ImageFileSettings:
        if self.resize_px is not None and self.resize_px < self.chip_px:
            raise ValueError(
                f"resize_px={self.resize_px} is smaller than chip_px={self.chip_px}; raise it"
            )
        return self


def _checked_share(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value < 1:
        raise ValueError(f"{value} is no share of the training images: at least 0 and below 1")
    return value


#: A place of their own for held-out images, or a share of the training images.
PlaceOrShare: TypeAlias = Annotated[float | str, BeforeValidator(_checked_share)]


class FolderSettings(ImageFileSettings):
    """A folder per class, with its images in it."""

    kind: Literal["folder"] = Field(description="a folder of images per class")
    train: str | None = Field(
        default=None,
        description="folder of the classes' folders; none: the folder train, else root itself",
    )
    validation: PlaceOrShare | None = Field(
        default=None,
        description="such a folder, or a share of every training class; none: the folder val or "
        "validation, else 0.2",
    )
    test: PlaceOrShare | None = Field(
        default=None,
        description="such a folder, or a share of every training class; none: the folder test",
    )


class IndexSettings(ImageFileSettings):
    """Text files with the path of an image and its label on every line."""

    kind: Literal["index"] = Field(description="text files with lines of path and label")
    train: str = Field(description="index of the training images")
    validation: PlaceOrShare = Field(
        default=0.2, description="index of the validation images, or a share of the training ones"
    )
    test: PlaceOrShare | None = Field(
        default=None, description="index of the test images, or a share of the training ones"
    )
    images: str = Field(default=".", description="folder that the paths in the indexes start from")
    class_names: str | None = Field(
        default=None, description="file with a class name per line, with its number or without"
    )


class TorchgeoSettings(ImageFileSettings):
    """A classification dataset of TorchGeo, by its name."""

    kind: Literal["torchgeo"] = Field(description="a classification dataset of TorchGeo")
    dataset: str = Field(description="its name, such as EuroSAT100; see: rsmeta list datasets")
    options: dict[str, Any] = Field(
        default={},
        description="the dataset's own: bands; num_classes of BigEarthNet; version of So2Sat",
    )
    validation: Annotated[float, BeforeValidator(_checked_share)] = Field(
        default=0.2,
        description="share of every training class where the dataset has no validation part",
    )
    test: Annotated[float, BeforeValidator(_checked_share)] = Field(
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


class CifarSettings(ImageFileSettings):
    """CIFAR-100 in its binary version, which holds no program code as the Python version does."""

    kind: Literal["cifar"] = Field(description="CIFAR-100, binary version")
    train: str = Field(default="train.bin", description="file of the training images")
    test: str = Field(default="test.bin", description="file of the test images")
    validation: Annotated[float, BeforeValidator(_checked_share)] = Field(
        default=0.0, description="share of every training class"
    )
    class_names: str = Field(
        default="fine_label_names.txt", description="file with a class name per line"
    )


class ChipsSettings(ImageDraws, DataSettings):  # type: ignore[misc]
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


ImageSettings: TypeAlias = (
    FolderSettings
    | IndexSettings
    | TorchgeoSettings
    | ChipsSettings
    | BoxesSettings
    | CifarSettings
)

#: The kinds of data with what they are, in a line each.
KINDS = {
    "scenes": "rasters with labels from rasters or polygons (data.scenes, data.labels)",
    "folder": "a folder of images per class",
    "index": "text files with a path and a label, or several, per line",
    "torchgeo": "a classification dataset of TorchGeo, by its name (data.dataset)",
    "chips": "chips cut out of labelled scenes, with the class of most of their pixels",
    "boxes": "objects cut out of pictures by oriented boxes (DOTA)",
    "cifar": "CIFAR-100, binary version",
}


def _kind_of(given: Any) -> str:
    kind = given.get("kind", "scenes") if isinstance(given, dict) else getattr(given, "kind", "")
    return f"kind={kind}"


def _known_kind(given: Any) -> Any:
    if isinstance(given, dict) and given.get("kind", "scenes") not in KINDS:
        kind = str(given["kind"])
        raise ValueError(
            f"kind={kind!r} is no kind of data{did_you_mean(kind, KINDS)}; known: "
            f"{', '.join(KINDS)}"
        )
    return given


#: The ``data`` section: which keys it takes follows from its ``kind``.
Data: TypeAlias = Annotated[
    Annotated[DataSettings, Tag("kind=scenes")]
    | Annotated[FolderSettings, Tag("kind=folder")]
    | Annotated[IndexSettings, Tag("kind=index")]
    | Annotated[TorchgeoSettings, Tag("kind=torchgeo")]
    | Annotated[ChipsSettings, Tag("kind=chips")]
    | Annotated[BoxesSettings, Tag("kind=boxes")]
    | Annotated[CifarSettings, Tag("kind=cifar")],
    Discriminator(_kind_of),
    BeforeValidator(_known_kind),
]
