"""The configuration of ``rsmeta pretrain``: scenes, autoencoder, mask, training."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from rsmeta.config.base import Strict
from rsmeta.config.data import AugmentSettings, SceneSettings
from rsmeta.config.trainer import TrainerSettings


class GroundSettings(SceneSettings):
    """Unlabelled scenes, and where chips are drawn in them."""

    chips_per_epoch: int = Field(default=800, ge=1, description="chips drawn in one epoch")
    augment: AugmentSettings = AugmentSettings(transfer=True)

    min_valid: float = Field(
        default=0.5, gt=0, le=1, description="smallest share of a chip's pixels that must be valid"
    )

    @field_validator("augment", mode="before")
    @classmethod
    def _for_transfer(cls, given: Any) -> Any:
        """Pretrained weights are for other scenes, unless the settings say otherwise."""
        return {"transfer": True, **given} if isinstance(given, dict) else given


class DecoderSpec(Strict):
    """The decoder, which only pretraining has."""

    dim: int = Field(default=64, ge=8, description="width of its tokens")
    channel_embed: int = Field(
        default=16, ge=2, multiple_of=2, description="width that distinguishes channel groups"
    )
    depth: int = Field(default=1, ge=1, description="number of blocks")
    heads: int = Field(default=4, ge=1, description="attention heads")

    @model_validator(mode="after")
    def _widths_fit(self) -> DecoderSpec:
        place = self.dim - self.channel_embed
        if place < 4 or place % 4 or self.dim % self.heads:
            raise ValueError(
                f"decoder.dim={self.dim} must be a multiple of heads={self.heads}, and less "
                f"channel_embed={self.channel_embed} leave a multiple of 4 for positions"
            )
        return self


class AutoencoderSpec(Strict):
    """The masked autoencoder before its bands are known."""

    backbone: str = Field(
        default="satmae_vit_nano_group", description="a SatMAE with channel groups, by its name"
    )
    options: dict[str, Any] = Field(
        default={}, description="the backbone's options: patch_size, embed_dim, groups, …"
    )
    checkpoint: str | None = Field(
        default=None, description="file with the weights that the encoder starts from"
    )
    decoder: DecoderSpec = Field(default=DecoderSpec(), description="from tokens to pixels")


class MaskSettings(Strict):
    """What is hidden."""

    ratio: float = Field(default=0.75, gt=0, lt=1, description="share of tokens to hide")
    spatial: Literal["independent", "consistent"] = Field(
        default="independent",
        description="groups of a patch are hidden independently, or all together",
    )


class PretrainSettings(Strict):
    """Everything that a pretraining run is determined by."""

    seed: int = Field(default=0, ge=0, description="seed of everything that is random")
    licence: str | None = Field(
        default=None, description="licence of the weights, written into their file"
    )
    store: Literal["float32", "float16"] = Field(
        default="float32", description="numbers of the stored backbone; float16: half the file"
    )
    normalise: bool = Field(
        default=True, description="compare with patches of mean 0 and deviation 1, not with values"
    )
    data: GroundSettings = Field(description="scenes and chips")
    model: AutoencoderSpec = Field(default=AutoencoderSpec(), description="encoder and decoder")
    mask: MaskSettings = Field(default=MaskSettings(), description="what is hidden")
    trainer: TrainerSettings = Field(
        default=TrainerSettings(), description="Lightning's trainer and the optimizer"
    )

    @model_validator(mode="after")
    def _no_validation(self) -> PretrainSettings:
        if self.trainer.early_stopping not in (None, "auto"):
            raise ValueError(
                f"trainer.early_stopping={self.trainer.early_stopping} needs a validation score, "
                f"and pretraining has none; limit it with trainer.max_minutes"
            )
        return self
