"""The ``model`` section: backbone, stem and head."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from rsmeta.config.base import Strict


class StemSpec(Strict):
    """How the first layer meets the bands."""

    strategy: Literal["match", "mean", "repeat", "random", "project"] = Field(
        default="match",
        description="filters for the bands: by name, else nearest wavelengths (match); the mean "
        "of all; repeated by position; random; or a learned projection onto the weights' bands",
    )
    trainable: Literal["auto"] | bool = Field(
        default="auto",
        description="train the stem; auto: where a band found no filter of its own in the weights",
    )
    bands: tuple[str, ...] | None = Field(
        default=None,
        description="bands or common names that the weights expect, in their order; "
        "none: as recorded for them (red, green, blue for timm)",
    )


class HeadSpec(Strict):
    """A head by name; every other key is one of that head's own options."""

    # The options belong to the head, which may be registered by others: it checks them.
    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    name: str = Field(default="fpn", description="linear or fpn; see: rsmeta list heads")

    @property
    def options(self) -> dict[str, Any]:
        """The keys beside ``name``, as given."""
        return dict(self.model_extra or {})


class ModelSpec(Strict):
    """A network before it knows bands and classes."""

    backbone: str = Field(
        default="vit_tiny_patch16_224",
        description="timm name of a vision transformer, with tag where weights are wanted, a "
        "SatMAE (satmae_vit_l16_group) or weights of TorchGeo (torchgeo:ViTSmall16_Weights.…); "
        "see: rsmeta list backbones",
    )
    options: dict[str, Any] = Field(
        default={}, description="the backbone's options: img_size, patch_size, depth, embed_dim, …"
    )
    checkpoint: str | None = Field(
        default=None,
        description="the backbone's weights: a file (.safetensors, .pth, .pt, .bin), an https:// "
        "address, or a hub name (hf:owner/name[@revision][/file])",
    )
    checkpoint_sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-fA-F]{64}$",
        description="SHA-256 that the file of the weights must have; none: any",
    )
    pretrained: bool = Field(
        default=False,
        description="take the published weights that the backbone's name stands for: shipped with "
        "rsmeta, from the cache, or from the network",
    )
    normalise: Literal["auto", "weights", "data"] = Field(
        default="auto",
        description="mean and deviation of each band: as the weights were trained with, as the "
        "training scenes have them, or (auto) the weights' where they fit the scenes",
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
