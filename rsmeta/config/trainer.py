"""The ``trainer`` section: Lightning's keys, and the optimizer."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator

from rsmeta.config.base import Strict


class OptimizerSettings(Strict):
    """How weights are stepped."""

    name: Literal["adamw", "sgd"] = Field(default="adamw", description="optimizer")
    lr: float = Field(default=1e-3, gt=0, description="peak learning rate")
    lr_batch: int | None = Field(
        default=None,
        ge=1,
        description="chips per step that lr is meant for: it is multiplied by the square root of "
        "how many times as many there are; none: lr as it is",
    )
    weight_decay: float = Field(
        default=0.05,
        ge=0,
        description="decay of matrices and filters, not of biases, norms, scales, prompts",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum (sgd) or beta1 (adamw)")
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="course of the learning rate after warm-up"
    )
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of all steps, linear")
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


class TrainerSettings(Strict):
    """Lightning's Trainer, plus optimizer and stopping."""

    max_epochs: int = Field(default=20, ge=1, description="epochs of data.chips_per_epoch chips")
    max_steps: int = Field(default=-1, ge=-1, description="optimizer steps; -1: by max_epochs")
    max_minutes: float | None = Field(default=None, gt=0, description="stop after this time")
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed", "bf16-true"] = Field(
        default="auto", description="auto: 32-true on CPU, bf16-mixed on GPU"
    )
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = Field(
        default="auto", description="where to train"
    )
    devices: int | str | tuple[int, ...] = Field(
        default=1, description="how many devices, or their numbers"
    )
    num_nodes: int = Field(default=1, ge=1, description="machines")
    strategy: str = Field(default="auto", description="Lightning strategy: auto, ddp, fsdp, …")
    accumulate_grad_batches: int = Field(default=1, ge=1, description="batches per step")
    gradient_clip_val: float | None = Field(default=1.0, gt=0, description="largest gradient norm")
    check_val_every_n_epoch: int = Field(default=1, ge=1, description="epochs between validations")
    log_every_n_steps: int = Field(default=10, ge=1, description="steps between logged losses")
    compile: bool = Field(
        default=False,
        description="compile the network (torch.compile): a slow start, then faster steps on GPUs",
    )
    deterministic: bool = Field(default=False, description="only deterministic operations")
    early_stopping: int | None = Field(
        default=None, ge=1, description="validations without a better score before stopping"
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="which weights go into the bundle: of the best validation score, or the last",
    )
    baseline: bool = Field(
        default=True,
        description="score a random forest and a logistic regression on the same labels too, for "
        "comparison; takes seconds",
    )
    optimizer: OptimizerSettings = OptimizerSettings()

    @field_validator("optimizer", mode="before", json_schema_input_type=OptimizerSettings | str)
    @classmethod
    def _optimizer_by_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given
