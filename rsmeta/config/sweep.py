"""The ``sweep`` section: one configuration trained over seeds and a small grid."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from rsmeta.config.base import Strict

#: Keys that say what a single run is of, and so cannot be varied.
_NOT_VARIED = ("seed", "sweep")


class SweepSettings(Strict):
    """Which runs are compared: every value of the grid with every seed."""

    seeds: tuple[int, ...] = Field(
        default=(0, 1, 2), min_length=1, description="seeds that every point is trained with"
    )
    grid: dict[str, tuple[Any, ...]] = Field(
        default={},
        description="values by dotted key, combined with one another: {tuner.scale: [0.1, 1, 10], "
        "meta: [fixed, first_order]}",
    )
    parallel: int | None = Field(
        default=None,
        ge=1,
        description="runs at once; none: one for each GPU that training may use, else one",
    )

    @field_validator("seeds", mode="after")
    @classmethod
    def _seeds_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise ValueError(f"{list(seeds)} must be different numbers of at least 0")
        return seeds

    @field_validator("grid", mode="after")
    @classmethod
    def _grid_makes_sense(cls, grid: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        for key, values in grid.items():
            if key.split(".")[0] in _NOT_VARIED:
                raise ValueError(f"{key} cannot be varied here; seeds go to sweep.seeds")
            if not values:
                raise ValueError(f"{key} has no values; give one or more, or drop it")
            if any(value in values[:i] for i, value in enumerate(values)):
                raise ValueError(f"{key}={list(values)} holds a value twice; drop one")
        return grid
