"""The ``meta`` section: how the scales of the adapters come about."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from rsmeta.config.base import Strict

#: Which sites have one scale in common.
Granularity = Literal["site", "block", "position", "channel"]

#: How a scale is computed from the number rho that is learned.
Parametrisation = Literal["softplus", "exp", "sigmoid", "raw"]


class MetaSettings(Strict):
    """How the adapters' scales come about: fixed, or learned beside the weights."""

    strategy: str = Field(
        default="fixed",
        description="fixed (every scale stays at tuner.scale), first_order, unrolled, "
        "finite_difference, evolution, or joint (trained with the weights)",
    )
    every_n_steps: int = Field(
        default=8, ge=1, description="optimizer steps of the weights between two of the scales"
    )
    warmup_steps: int = Field(
        default=0, ge=0, description="optimizer steps before the scales first move"
    )
    source: Literal["train", "held_out"] = Field(
        default="train",
        description="data that the scales answer to: training data, or ground that the weights "
        "never see",
    )
    sample_ratio: float = Field(
        default=0.2, gt=0, le=1, description="share of source=train that is drawn anew each time"
    )
    stratified: bool = Field(
        default=False, description="draw that share of every class, so that none is left out"
    )
    held_out: float = Field(
        default=0.2, gt=0, lt=1, description="share of the training ground that held_out takes"
    )
    batches: int = Field(default=1, ge=1, description="batches of the sample for one outer step")
    batch_size: int | None = Field(
        default=None, ge=1, description="chips in an outer batch; none: data.batch_size"
    )
    inner_steps: int = Field(
        default=1, ge=1, description="steps of the weights that unrolled looks ahead"
    )
    lr: float = Field(default=0.02, ge=0, description="learning rate of rho; a constant")
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="decay rates of its Adam")
    population: int | None = Field(
        default=None, ge=2, description="candidates that evolution tries at once; none: by its size"
    )
    sigma: float = Field(default=0.3, gt=0, description="first spread of evolution's candidates")
    granularity: Granularity = Field(
        default="site", description="one scale for each site, block, position, or output channel"
    )
    parametrisation: Parametrisation = Field(
        default="softplus",
        description="scale = softplus(rho), exp, maximum * sigmoid, or rho itself",
    )
    maximum: float = Field(
        default=2.0, gt=0, description="upper bound of the scales with parametrisation=sigmoid"
    )
    prune: float = Field(
        default=0.0, ge=0, description="after training, drop the sites whose scale is below this"
    )

    @field_validator("betas", mode="after")
    @classmethod
    def _betas_below_one(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{list(betas)} must be at least 0 and below 1, e.g. [0.9, 0.999]")
        return betas

    @property
    def learned(self) -> bool:
        """Whether the scales move at all."""
        return self.strategy != "fixed"

    def due(self, step: int) -> bool:
        """Whether the scales are stepped after this many optimizer steps of the weights."""
        after = step - self.warmup_steps
        return after > 0 and after % self.every_n_steps == 0
