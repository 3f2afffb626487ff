"""The ``loss`` section: what training minimises, one loss or a weighted sum."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from rsmeta.config.base import WithOptions


class LossTerm(WithOptions):
    """A loss by name; keys beside the fields here are that loss's own options."""

    name: str = Field(
        default="cross_entropy", description="its options are further keys; see: rsmeta list losses"
    )
    weight: float = Field(default=1.0, gt=0, description="factor before the loss")


class LossSpec(LossTerm):
    """One loss over labelled pixels or images, or the sum of several."""

    terms: tuple[LossTerm, ...] = Field(
        default=(),
        description="a weighted sum instead of one loss: [{name: ce}, {name: dice, weight: 0.5}]",
    )

    @model_validator(mode="before")
    @classmethod
    def _sum_as_list(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            return given
        if not given:
            raise ValueError("names no loss; give at least one")
        return {"terms": given}

    @field_validator("terms", mode="before")
    @classmethod
    def _terms_by_name(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            return given
        return tuple({"name": term} if isinstance(term, str) else term for term in given)

    @model_validator(mode="after")
    def _one_or_several(self) -> LossSpec:
        defaults = LossTerm()
        changed = [
            key for key in ("name", "weight") if getattr(self, key) != getattr(defaults, key)
        ]
        beside = [*self.options, *changed]
        if self.terms and beside:
            raise ValueError(f"{beside[0]} is given beside terms; move it into one of them")
        return self

    @property
    def parts(self) -> tuple[LossTerm, ...]:
        """The losses that are summed: the terms, or the one loss itself."""
        return self.terms or (self,)
