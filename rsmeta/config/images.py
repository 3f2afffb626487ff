"""What all kinds of image data have in common in the ``data`` section.

A kind of its own is a class of settings that finds its images; see ``rsmeta.config.data_kinds``.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias, cast

from pydantic import BeforeValidator, Field, field_validator, model_validator

from rsmeta.config.base import Strict
from rsmeta.config.data import ClassSpec, ReadSettings, Sampling, TargetSpec, class_specs

if TYPE_CHECKING:
    from rsmeta.data.images.image_set import Found, Wanted
    from rsmeta.data.splits import Part


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


class ImageSettings(ReadSettings):
    """Images with one label, or one set of labels, each: which are used, and how often.

    Attributes:
        filters_speckle: Whether ``speckle`` has an effect: files are read as scenes are.
    """

    filters_speckle: ClassVar[bool] = True

    if TYPE_CHECKING:  # every kind has them
        kind: str
        classes: tuple[ClassSpec, ...] | None
        target: TargetSpec | None

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

    @model_validator(mode="after")
    def _speckle_is_that_of_files(self) -> ImageSettings:
        if self.speckle is not None and not self.filters_speckle:
            raise ValueError(
                "data.speckle filters files of radar, and images of this kind are taken as they "
                "are; omit it"
            )
        return self

    @property
    def fix_for_empty_class(self) -> str:
        """What to do about a class without training images."""
        return "add some, or drop them from the class names"

    @abc.abstractmethod
    def find(self, wanted: Wanted) -> Found:
        """Find the images, their labels and their parts; no pixel is read.

        Args:
            wanted: Task and bands.

        Raises:
            RsmetaError: Images or labels are missing or cannot be used.
        """


class ImageSizing(Strict):
    """How images of any size are brought to ``chip_px``."""

    chip_px: int = Field(default=224, ge=16, description="side of an image as the network sees it")
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
    def _resize_holds_the_chip(self) -> ImageSizing:
        if self.resize_px is not None and self.resize_px < self.chip_px:
            raise ValueError(
                f"resize_px={self.resize_px} is smaller than chip_px={self.chip_px}; raise it"
            )
        return self


class ImageFileSettings(ImageSizing, ImageSettings):
    """Images of any size in files of their own, brought to ``chip_px``."""

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


def _checked_share(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value < 1:
        raise ValueError(f"{value} is no share of the training images: at least 0 and below 1")
    return value


#: A share of the training images.
Share: TypeAlias = Annotated[float, BeforeValidator(_checked_share)]

#: A place of their own for held-out images, or a share of the training images.
PlaceOrShare: TypeAlias = Annotated[float | str, BeforeValidator(_checked_share)]


def divided(
    **held_out: str | float | None,
) -> tuple[dict[Part, str], dict[Part, float]]:
    """Return the places of held-out parts, and the shares of the others; none: no such part."""
    given = cast("dict[Part, str | float | None]", held_out)
    places = {part: one for part, one in given.items() if isinstance(one, str)}
    shares = {part: float(one) for part, one in given.items() if isinstance(one, int | float)}
    return places, shares
