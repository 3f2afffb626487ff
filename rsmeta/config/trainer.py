"""The ``trainer`` section: Lightning's keys, and the optimizer."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, field_validator

from rsmeta.config.base import Strict

#: Minutes in a unit of time.
_UNITS = {"s": 1 / 60, "min": 1.0, "h": 60.0}

#: Validations without a better score that end training by default.
_PATIENCE = 6


class OptimizerSettings(Strict):
    """How weights are stepped."""

    name: Literal["adamw", "sgd"] = Field(default="adamw", description="optimizer")
    lr: float = Field(default=1e-3, gt=0, description="peak learning rate")
    lr_batch: int | None = Field(
        default=None,
        ge=1,
        description="chips per step that lr is meant for; with n times as many, lr is "
        "multiplied by sqrt(n); none: lr as it is",
    )
    weight_decay: float = Field(
        default=0.05,
        ge=0,
        description="decay of matrices and filters; biases, norms, scales and prompts do not decay",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum (sgd) or beta1 (adamw)")
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="learning rate after warm-up"
    )
    warmup: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="share of all steps over which the learning rate rises linearly",
    )
    head_lr_scale: float = Field(default=1.0, gt=0, description="factor of lr for the head")
    stem_lr_scale: float = Field(
        default=1.0, gt=0, description="factor of lr for the stem, where it learns"
    )

    def for_batch(self, chips: int) -> OptimizerSettings:
        """Return the settings with the rate for so many chips in a step, over all processes."""
        if self.lr_batch is None:
            return self
        rate = self.lr * math.sqrt(chips / self.lr_batch)
        return self.model_copy(update={"lr": rate, "lr_batch": None})


def _minutes(given: Any) -> Any:
    """Read a time with its unit, in minutes; a bare number is minutes already."""
    found = re.fullmatch(r"\s*([\d.]+)\s*([a-z]+)\s*", given) if isinstance(given, str) else None
    if found is None or found[2] not in _UNITS:
        return given
    return float(found[1]) * _UNITS[found[2]]


class TrainerSettings(Strict):
    """Lightning's Trainer, plus optimizer and stopping."""

    max_epochs: int = Field(
        default=20, ge=1, description="number of epochs; an epoch has data.chips_per_epoch chips"
    )
    max_steps: int = Field(
        default=-1,
        ge=-1,
        description="largest number of optimizer steps; -1: as many as max_epochs gives",
    )
    max_minutes: Annotated[float, Field(gt=0), BeforeValidator(_minutes)] | None = Field(
        default=None,
        validation_alias=AliasChoices("max_minutes", "time"),
        description="stop at the end of the epoch in which this time is over: minutes, or 90s, "
        "10min, 2h; also written trainer.time. With model.backbone=auto, a network is adapted too",
    )
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed", "bf16-true"] = Field(
        default="auto", description="number format; auto: 32-true on a CPU, bf16-mixed on a GPU"
    )
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = Field(
        default="auto", description="device to train on"
    )
    devices: int | str | tuple[int, ...] = Field(
        default=1, description="number of devices, or their indices"
    )
    num_nodes: int = Field(default=1, ge=1, description="number of machines")
    strategy: str = Field(default="auto", description="Lightning strategy: auto, ddp, fsdp, …")
    accumulate_grad_batches: int = Field(default=1, ge=1, description="batches per optimizer step")
    gradient_clip_val: float | None = Field(
        default=1.0, gt=0, description="largest gradient norm; none: no limit"
    )
    check_val_every_n_epoch: int = Field(default=1, ge=1, description="epochs between validations")
    log_every_n_steps: int = Field(default=10, ge=1, description="steps between logged losses")
    compile: bool = Field(
        default=False,
        description="compile the network (torch.compile): a slow start, then faster steps on GPUs",
    )
    deterministic: bool = Field(default=False, description="use deterministic operations only")
    early_stopping: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        default="auto",
        description="stop after this many validations without a better score; auto: 6 that span "
        "200 steps, or never where keep=last or there is no validation part; none: never",
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="weights for the bundle: those with the best validation score, or the last",
    )
    keep_checkpoints: bool = Field(
        default=False,
        description="keep checkpoints/ (weights with the optimizer's state) when the run has "
        "finished, to train it longer with --resume",
    )
    baseline: bool = Field(
        default=True,
        description="score a random forest and a logistic regression on the same labels too, for "
        "comparison; takes seconds",
    )
    optimizer: OptimizerSettings = OptimizerSettings()

    @property
    def patience(self) -> int | None:
        """Validations without a better score after which training stops; none: it does not."""
        if self.early_stopping == "auto":
            return _PATIENCE if self.keep == "best" else None
        return self.early_stopping

    @field_validator("optimizer", mode="before", json_schema_input_type=OptimizerSettings | str)
    @classmethod
    def _optimizer_by_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given
