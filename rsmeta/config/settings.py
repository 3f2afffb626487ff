"""The whole configuration: one frozen, strict model per section of the YAML file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rsmeta.config.base import Strict
from rsmeta.config.data import DataSettings
from rsmeta.config.loss import LossSpec
from rsmeta.config.meta import MetaSettings
from rsmeta.config.model import ModelSpec
from rsmeta.config.sweep import SweepSettings
from rsmeta.config.trainer import TrainerSettings
from rsmeta.config.tuner import Tuner, TunerSpec


class PredictSettings(Strict):
    """How maps are made; stored in the bundle."""

    tile_px: int | None = Field(
        default=None, ge=8, description="side of a tile; none: the training chip's"
    )
    overlap: float = Field(
        default=0.25, ge=0, lt=0.75, description="share of a tile that its neighbour repeats"
    )
    block_px: int | None = Field(
        default=None, ge=16, description="side of a block held in memory; none: by what is free"
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="tiles through the network at once; none: by the device"
    )
    blend: Literal["cosine", "centre", "none"] = Field(
        default="cosine", description="how overlapping tiles are joined"
    )
    augment: Literal["none", "flips", "all"] = Field(
        default="none", description="views of a tile to average: mirrored; turned by quarters too"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="what the network computes with (autocast)"
    )


class Settings(Strict):
    """Everything that a run is determined by."""

    seed: int = Field(default=0, ge=0, description="seed of everything that is random")
    data: DataSettings = Field(description="scenes, labels, classes, splits, chips")
    model: ModelSpec = Field(default=ModelSpec(), description="backbone, stem and head")
    tuner: Tuner = Field(
        default=TunerSpec(), description="what is trained, and how; a list of methods combines them"
    )
    meta: MetaSettings = Field(default=MetaSettings(), description="how scales are learned")
    loss: LossSpec = Field(default=LossSpec(), description="what is minimised")
    trainer: TrainerSettings = Field(
        default=TrainerSettings(), description="Lightning's trainer and the optimizer"
    )
    predict: PredictSettings = Field(default=PredictSettings(), description="how maps are made")
    sweep: SweepSettings | None = Field(
        default=None, description="train over seeds and a grid, for one table of them all"
    )

    @model_validator(mode="after")
    def _steps_of_scales_survive(self) -> Settings:
        if self.meta.learned and self.trainer.precision == "bf16-true":
            raise ValueError(
                f"trainer.precision=bf16-true rounds away what meta.strategy={self.meta.strategy} "
                f"learns; use bf16-mixed"
            )
        return self
