"""The ``model`` section: backbone, stem and head."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from rsmeta.config.base import Strict, WithOptions

Pool: TypeAlias = Literal["token", "mean"]


class StemSpec(Strict):
    """How the first layer meets the bands."""

    strategy: Literal["match", "mean", "repeat", "random", "project"] = Field(
        default="match",
        description="how filters are made for the bands: match (by name, else by wavelength), "
        "mean (of all filters), repeat (by position), random, or project (a "
        "learned projection onto the bands of the weights)",
    )
    trainable: Literal["auto"] | bool = Field(
        default="auto",
        description="train the stem; auto: if a band has no filter of its own in the weights",
    )
    bands: tuple[str, ...] | None = Field(
        default=None,
        description="bands or common names of the weights, in order; none: as recorded (red, "
        "green, blue for timm)",
    )


class HeadSpec(WithOptions):
    """A head by name; keys beside the fields here are that head's own options."""

    name: str = Field(
        default="fpn",
        description="pixels: fpn or linear; images: linear (default), cosine, …; see: rsmeta "
        "list heads",
    )
    pool: Pool = Field(
        default="token",
        description="vector of an image: the backbone's own (class token, or its pooling), or "
        "the mean over patches with data",
    )
    init: Literal["random", "class_mean", "few_shot_mean", "linear_probe", "text"] = Field(
        default="random",
        description="first weights of an image head: random, mean features of the classes, "
        "mean features of a few images, logistic regression, or CLIP features of "
        "the class names",
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
        return {k: v for k, v in given.items() if v != HeadSpec.model_fields[k].default}


class ModelSpec(Strict):
    """A network before its bands and classes are known."""

    backbone: str = Field(
        default="vit_tiny_patch16_224",
        description="timm name of a vision transformer (with a tag for published weights), a "
        "SatMAE (satmae_vit_l16_group) or TorchGeo weights "
        "(torchgeo:ViTSmall16_Weights.…); see: rsmeta list backbones",
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
    zoom: int = Field(
        default=1,
        ge=1,
        le=8,
        description="enlarge images so many times before the backbone, and lay its features back "
        "on the pixels: a patch of 14 px then sees a fraction of that in the scene",
    )
    normalise: Literal["auto", "weights", "data"] = Field(
        default="auto",
        description="mean and deviation of each band: those of the weights, those of the "
        "training scenes (data), or auto: those of the weights if they fit the "
        "scenes",
    )
    stem: StemSpec = Field(default=StemSpec(), description="how the first layer meets the bands")
    head: HeadSpec = Field(default=HeadSpec(), description="from features to one score per class")

    @field_validator("head", mode="before", json_schema_input_type=HeadSpec | str)
    @classmethod
    def _head_by_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_source_of_weights(self) -> ModelSpec:
        if self.checkpoint is not None and self.pretrained:
            raise ValueError(
                f"checkpoint={self.checkpoint} and pretrained=true exclude each other; drop one"
            )
        if self.checkpoint_sha256 is not None and self.checkpoint is None and not self.pretrained:
            raise ValueError("checkpoint_sha256 goes with checkpoint= or pretrained=true; add one")
        return self
