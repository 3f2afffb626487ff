"""The ``loss`` section: what training minimises."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rsmeta.config.base import Strict


class LossSpec(Strict):
    """One loss over labelled pixels."""

    name: str = Field(default="cross_entropy", description="see: rsmeta list losses")
    class_weights: Literal["none", "balanced"] = Field(
        default="none",
        description="balanced: weight classes by one over the square root of their frequency",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of the target spread evenly over all classes"
    )
