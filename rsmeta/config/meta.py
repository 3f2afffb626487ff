"""The ``meta`` section: how the scales of the adapters are learned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from rsmeta.config.base import NoOptions, Strict, WithOptions

#: Which sites share a scale.
Granularity = Literal["hierarchical", "site", "block", "position", "channel"]

#: How a scale is computed from rho, the number that is learned.
Parametrisation = Literal["softplus", "exp", "sigmoid", "raw"]


#: What the scales minimise.
Objective = Literal["training", "balanced", "tail", "worst"]


class RateOptions(Strict):
    """Options of joint."""

    lr: float = Field(default=0.02, ge=0, description="learning rate of rho; constant")


class GradientOptions(Strict):
    """Options of strategies that follow a gradient."""

    travel: float = Field(
        default=100.0,
        gt=1,
        description="largest factor by which a run can raise or lower a scale; the rate of rho "
        "follows from it and from the number of meta steps",
    )
    gate: float = Field(
        default=2.0,
        ge=0,
        description="standard errors by which a gradient must differ from 0 for its rho to move, "
        "and by which a scale must lead in trials to be taken",
    )
    trial_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of a run's steps to spend, before it, on short trials of some scales; "
        "the run starts from the best, or from that nearest to 1 if none is clearly better; "
        "0: none",
    )
    trial_scales: tuple[float, ...] = Field(
        default=(0.1, 1.0, 10.0),
        description="scales to try; tuner.scale then matters only in runs too short for trials "
        "(less than 5 steps each)",
    )
    lr: float | None = Field(
        default=None,
        ge=0,
        description="constant rate of Adam over rho, in place of trials, travel and gate; "
        "published: 0.02",
    )
    betas: tuple[float, float] = Field(
        default=(0.9, 0.999),
        description="decay rates of the running mean and variance of rho's gradient",
    )

    @field_validator("trial_scales", mode="after")
    @classmethod
    def _scales_above_zero(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < scale < math.inf for scale in scales):
            raise ValueError(f"{list(scales)} must be above 0, e.g. [0.1, 1, 10]")
        return scales

    @field_validator("betas", mode="after")
    @classmethod
    def _betas_below_one(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{list(betas)} must be at least 0 and below 1, e.g. [0.9, 0.999]")
        return betas


class FirstOrderOptions(GradientOptions):
    """Options of first_order."""

    training_gradients: bool = Field(
        default=True,
        description="use the gradients of rho from all training steps since the last meta step, "
        "which cost almost nothing; only with source=train and objective=training",
    )


class UnrolledOptions(GradientOptions):
    """Options of unrolled."""

    inner_steps: int = Field(
        default=1, ge=1, description="steps of the weights that unrolled looks ahead"
    )


class EvolutionOptions(Strict):
    """Options of evolution."""

    population: int | None = Field(
        default=None,
        ge=2,
        description="candidates that evolution tries at once; none: by the number of scales",
    )
    sigma: float = Field(
        default=0.3, gt=0, description="initial spread of evolution's candidates, in rho"
    )


#: Options of the strategies that rsmeta ships.
SHIPPED: Mapping[str, type[Strict]] = {
    "fixed": NoOptions,
    "joint": RateOptions,
    "first_order": FirstOrderOptions,
    "unrolled": UnrolledOptions,
    "finite_difference": GradientOptions,
    "evolution": EvolutionOptions,
}


def _uses_training_gradients(given: Mapping[str, Any]) -> bool:
    """Whether settings, with or without their defaults, use the gradients of training steps."""
    return (
        given.get("strategy") == "first_order"
        and given.get("source", "train") == "train"
        and given.get("objective", "training") == "training"
        and given.get("lr") is None
        and bool(given.get("training_gradients", True))
    )


class MetaSettings(WithOptions):
    """How the adapters' scales are set: fixed, or learned beside the weights."""

    chooser: ClassVar[str] = "strategy"
    shipped: ClassVar[Mapping[str, type[Strict]]] = SHIPPED
    tolerant: ClassVar[frozenset[str]] = frozenset(SHIPPED)

    strategy: str = Field(
        default="fixed",
        description="fixed (every scale stays at tuner.scale), first_order, unrolled, "
        "finite_difference, evolution, or joint (trained with the weights)",
    )
    every_n_steps: int = Field(
        default=8,
        ge=1,
        description="optimizer steps between two meta steps; 1 where batches=0",
    )
    warmup_steps: int = Field(
        default=0, ge=0, description="optimizer steps before the first meta step can be due"
    )
    until: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="share of the run after which the scales are frozen; their steps shrink to 0 "
        "by then",
    )
    source: Literal["train", "held_out"] = Field(
        default="train",
        description="data that the scales are judged by: training data, or a part of it that is "
        "withheld from the weights (without augmentation)",
    )
    objective: Objective = Field(
        default="training",
        description="what the scales minimise: the training loss, or plain cross-entropy on "
        "class-balanced draws: over all classes, the rarest third, or mostly the worst",
    )
    sample_ratio: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="share of the training data that a meta step draws from (source=train); drawn "
        "anew each time",
    )
    stratified: bool = Field(
        default=False, description="draw that share of every class, so that none is left out"
    )
    held_out: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="share of the training data that source=held_out withholds from the weights",
    )
    batches: int = Field(
        default=1,
        ge=0,
        description="batches that a meta step draws; 0 by default where it uses the gradients of "
        "training steps",
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="chips in a batch of a meta step; none: data.batch_size"
    )
    granularity: Granularity = Field(
        default="hierarchical",
        description="one scale for each site, block, position, or output channel; hierarchical: "
        "for each site, as a mean of what all sites, its position, its block and itself learned",
    )
    parametrisation: Parametrisation = Field(
        default="exp",
        description="scale = exp(rho), softplus, maximum * sigmoid, or rho itself (raw)",
    )
    maximum: float = Field(
        default=2.0, gt=0, description="upper bound of the scales with parametrisation=sigmoid"
    )
    prune: float = Field(
        default=0.0, ge=0, description="after training, drop the sites whose scale is below this"
    )
    top_sites: int | None = Field(
        default=None,
        ge=1,
        description="sites whose adapters are trained at a time: those with most Fisher "
        "information; none: all",
    )
    top_every: int = Field(
        default=50, ge=1, description="optimizer steps after which top_sites are chosen anew"
    )
    retrain: bool = Field(
        default=False,
        description="train twice: learn the scales, then train anew from the start with them fixed",
    )

    @model_validator(mode="before")
    @classmethod
    def _looks(cls, given: Any) -> Any:
        """Take a meta step after every training step where it needs no batch of its own."""
        if not isinstance(given, dict) or not _uses_training_gradients(given):
            return given
        batches = given.get("batches", 0)
        return {"every_n_steps": 8 if batches else 1, **given, "batches": batches}

    @model_validator(mode="after")
    def _judged_by_something(self) -> MetaSettings:
        if self.batches == 0 and self.learned and not self.uses_training_gradients:
            raise ValueError(
                "batches=0 leaves the scales nothing to be judged by; give batches=1 or more"
            )
        return self

    @model_validator(mode="after")
    def _retrains_with_a_scale_per_site(self) -> MetaSettings:
        if self.retrain and not self.learned:
            raise ValueError("retrain=true needs scales that are learned; set a strategy")
        if self.retrain and self.granularity == "channel":
            raise ValueError("retrain=true keeps one scale per site; drop granularity=channel")
        return self

    @property
    def learned(self) -> bool:
        """Whether the scales move at all."""
        return self.strategy != "fixed"

    @property
    def uses_training_gradients(self) -> bool:
        """Whether training steps yield gradients of the scales for the next meta step."""
        return _uses_training_gradients({**self.__dict__, **self.options})

    @property
    def sampling(self) -> Literal["class"] | None:
        """How the batches of meta steps are drawn; none: as those of training."""
        return None if self.objective == "training" else "class"

    def due(self, step: int) -> bool:
        """Whether a meta step follows this many optimizer steps of the weights."""
        after = step - self.warmup_steps
        return after > 0 and after % self.every_n_steps == 0
