"""The ``model`` section: backbone, stem and head."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from rsmeta.config.base import Strict, WithOptions
from rsmeta.errors import ConfigError

Pool: TypeAlias = Literal["token", "mean"]

#: The backbone, and the head, that training chooses by cross-validation.
AUTO = "auto"

#: The backbone of ``model.average``.
AVERAGE = "average"

#: What a section without a backbone meant before there was ``auto``, and still means where it
#: says how that backbone is made.
FORMER_DEFAULT = "vit_tiny_patch16_224"

#: Backbones that are not enlarged.
_WITHOUT_ZOOM = ("pixels", AUTO, AVERAGE)

#: Keys that say how a backbone is made, so that it must be named.
_OF_BACKBONE = ("options", "checkpoint", "checkpoint_sha256", "pretrained", "stem", "normalise")


HeadInitName: TypeAlias = Literal["random", "class_mean", "few_shot_mean", "solved", "text"]

#: Where the weights of a head start; ``linear_probe`` is the former name of ``solved``.
HeadInit = Annotated[
    HeadInitName,
    BeforeValidator(
        lambda given: "solved" if given == "linear_probe" else given,
        json_schema_input_type=HeadInitName | Literal["linear_probe"],
    ),
]


class StemSpec(Strict):
    """How the first layer meets the bands."""

    strategy: Literal["match", "mean", "repeat", "random", "project", "wavelength"] = Field(
        default="match",
        description="how filters are made for the bands: match (by name, else by wavelength), "
        "mean (of all filters), repeat (by position), random, project (a "
        "learned projection onto the bands of the weights), or wavelength (made from it by "
        "DOFA, Panopticon and Copernicus-FM, their default too)",
    )
    trainable: Literal["auto"] | bool = Field(
        default="auto",
        description="train the stem; auto: if a band has no filter of its own in the weights",
    )
    reduce: Literal["pca", "groups", "learned"] | None = Field(
        default=None,
        description="make many bands fewer before the stem: pca (principal components of training "
        "pixels), groups (means of neighbouring wavelengths), or learned (begins as groups)",
    )
    reduce_to: int = Field(default=16, ge=1, description="how many bands reduce leaves")
    bands: tuple[str, ...] | None = Field(
        default=None,
        description="bands or common names of the weights, in order; none: as recorded (red, "
        "green, blue for timm)",
    )

    @model_validator(mode="after")
    def _one_projection(self) -> StemSpec:
        if self.reduce is not None and self.strategy == "project":
            raise ValueError(
                f"reduce={self.reduce} and strategy=project both make other bands; drop one"
            )
        return self


class HeadSpec(WithOptions):
    """A head by name; keys beside the fields here are that head's own options."""

    name: str = Field(
        default="fpn",
        description="pixels: fpn or linear, or solved for without gradient steps: forest, "
        "extra_trees, logistic, mlp; images: linear (default), cosine, …; see: rsmeta "
        "list heads",
    )
    pool: Pool = Field(
        default="token",
        description="vector of an image: the backbone's own (class token, or its pooling), or "
        "the mean over patches with data",
    )
    init: HeadInit = Field(
        default="random",
        description="first weights: random; solved: logistic regression on the backbone's features "
        "(head linear; of images any); of image heads also: class_mean and few_shot_mean, mean "
        "features of the classes or of a few images, and text, CLIP features of the class names",
    )
    shots: int | None = Field(
        default=None, ge=1, description="images per class for init=few_shot_mean; none: 16"
    )
    prompts: str | tuple[str, ...] | None = Field(
        default=None,
        description="sentences for init=text: name, photo, overhead, or your own with {} for "
        "the class; none: photo",
    )

    @model_validator(mode="after")
    def _init_takes_its_keys(self) -> HeadSpec:
        for key, init in (("shots", "few_shot_mean"), ("prompts", "text")):
            if getattr(self, key) is not None and self.init != init:
                raise ValueError(f"{key} goes with init={init}, not init={self.init}; drop one")
        return self

    @property
    def of_images(self) -> dict[str, Any]:
        """The fields that only a head for images can use, where they are not the defaults."""
        given = self.model_dump(include={"pool", "init", "shots", "prompts"})
        both = {"init": "solved"}.items()  # heads of pixels can start so too
        return {
            k: v for k, v in given.items()
            if v != HeadSpec.model_fields[k].default and (k, v) not in both
        }  # fmt: skip


class ModelSpec(Strict):
    """A network before its bands and classes are known."""

    backbone: str = Field(
        default=AUTO,
        description="auto: the best of several models by cross-validation; pixels: the bands "
        "alone; timm name of a vision transformer (with a tag for published weights), a "
        "SatMAE (satmae_vit_l16_group) or TorchGeo weights "
        "(torchgeo:ViTSmall16_Weights.…); see: rsmeta list backbones",
    )
    candidates: tuple[ModelSpec, ...] = Field(
        default=(),
        description="models that backbone=auto tries beside its own: backbones by name, or "
        "mappings such as this section; without a head: logistic regression on their features",
    )
    average: tuple[ModelSpec, ...] = Field(
        default=(),
        description="models whose probabilities are averaged, each as in this section, with a "
        "head that is solved for",
    )
    options: dict[str, Any] = Field(
        default={}, description="options of the backbone: img_size, patch_size, depth, embed_dim, …"
    )
    checkpoint: str | None = Field(
        default=None,
        description="weights of the backbone: a file (.safetensors, .pth, .pt, .bin), an "
        "https:// address, a hub name (hf:owner/name[@revision][/file]), or a trained run or "
        "its bundle, which brings backbone, options, bands and normalisation",
    )
    checkpoint_sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-fA-F]{64}$",
        description="SHA-256 that the weights file must have; none: any",
    )
    pretrained: bool = Field(
        default=False,
        description="use the published weights of the backbone: shipped with rsmeta, from the "
        "cache, or downloaded",
    )
    zoom: Annotated[int, Field(ge=1, le=8)] | Literal["auto"] = Field(
        default=1,
        description="enlarge images so many times before the backbone, and lay its features back "
        "on the pixels: a patch of 14 px then sees a fraction of that in the scene; auto: 1, 2 or "
        "4, by cross-validation",
    )
    normalise: Literal["auto", "weights", "data"] = Field(
        default="auto",
        description="mean and deviation of each band: those of the weights, those of the "
        "training scenes (data), or auto: those of the weights if they fit the "
        "scenes",
    )
    stem: StemSpec = Field(default=StemSpec(), description="how the first layer meets the bands")
    head: HeadSpec = Field(default=HeadSpec(), description="from features to one score per class")

    @model_validator(mode="before")
    @classmethod
    def _named_backbone(cls, given: Any) -> Any:
        """Name backbone and head where nothing is said of them."""
        if not isinstance(given, dict):
            return given
        if given.get("backbone") is None:
            made = any(given.get(key) for key in _OF_BACKBONE)
            default = AVERAGE if given.get("average") else FORMER_DEFAULT if made else AUTO
            given = {**given, "backbone": default}
        if given.get("head") is None and given["backbone"] in (AUTO, AVERAGE):
            given = {**given, "head": {"name": AUTO}}
        return given

    @field_validator("candidates", "average", mode="before", json_schema_input_type=list[Any])
    @classmethod
    def _models_by_name(cls, given: Any, info: ValidationInfo) -> Any:
        """Read models by name; a logistic regression is fitted where no head is named."""
        if isinstance(given, str | dict):
            given = [given]
        if not isinstance(given, list | tuple):
            return given
        models = [{"backbone": one} if isinstance(one, str) else one for one in given]
        zoom = {"zoom": AUTO} if info.field_name == "candidates" else {}
        return [
            {"head": "logistic"} | (zoom if one.get("backbone") not in _WITHOUT_ZOOM else {}) | one
            if isinstance(one, dict)
            else one
            for one in models
        ]

    @field_validator("head", mode="before", json_schema_input_type=HeadSpec | str)
    @classmethod
    def _head_by_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _keys_fit_backbone(self) -> ModelSpec:
        if (self.backbone == AVERAGE) != bool(self.average):
            raise ValueError("backbone=average and average=[model, model] go together; give both")
        if self.average and len(self.average) < 2:
            raise ValueError("average names one model; give two or more")
        if any(one.backbone in (AUTO, AVERAGE) for one in (*self.average, *self.candidates)):
            raise ValueError("average and candidates name models one by one; auto cannot be nested")
        if self.candidates and self.backbone != AUTO:
            raise ValueError(f"candidates go with backbone=auto, not {self.backbone}; drop one")
        if self.backbone in (AUTO, AVERAGE):
            given = [key for key in (*_OF_BACKBONE, "zoom") if _said(self, key)]
            if given:
                where = "candidates" if self.backbone == AUTO else "average"
                raise ValueError(
                    f"{given[0]} belongs to one backbone; name that with backbone=, or move the "
                    f"key into {where}"
                )
        return self

    @model_validator(mode="after")
    def _one_source_of_weights(self) -> ModelSpec:
        if self.checkpoint is not None and self.pretrained:
            raise ValueError(
                f"checkpoint={self.checkpoint} and pretrained=true exclude each other; drop one"
            )
        if self.checkpoint_sha256 is not None and self.checkpoint is None and not self.pretrained:
            raise ValueError("checkpoint_sha256 goes with checkpoint= or pretrained=true; add one")
        return self

    @property
    def is_open(self) -> bool:
        """Whether training chooses backbone, or zoom, by cross-validation."""
        return AUTO in (self.backbone, self.zoom)

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """All files, addresses and hub names of weights that are named here."""
        own = () if self.checkpoint is None else (self.checkpoint,)
        inner = (*self.average, *self.candidates)
        return own + tuple(found for one in inner for found in one.checkpoints)

    @property
    def fixed_zoom(self) -> int:
        """The zoom, where it is chosen.

        Raises:
            ConfigError: It is not.
        """
        if isinstance(self.zoom, str):
            raise ConfigError("model.zoom=auto is chosen by rsmeta train; name 1, 2 or 4 here")
        return self.zoom


def _said(spec: ModelSpec, key: str) -> bool:
    """Whether a key has another value than its default."""
    return bool(getattr(spec, key) != ModelSpec.model_fields[key].default)
