"""The ``sweep`` section: one configuration trained over seeds and a small grid."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator

from rsmeta.config.base import Strict

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Keys that say what a single run is of, and so cannot be varied.
_NOT_VARIED = ("seed", "sweep")


class SweepSettings(Strict):
    """Which runs are compared: every point with every seed."""

    seeds: tuple[int, ...] = Field(
        default=(0, 1, 2), min_length=1, description="seeds that every point is trained with"
    )
    grid: dict[str, tuple[Any, ...]] = Field(
        default={},
        description="values by dotted key, combined with one another: {tuner.scale: [0.1, 1, 10], "
        "meta: [fixed, first_order]}",
    )
    points: tuple[dict[str, Any], ...] = Field(
        default=(),
        description="points that are listed one by one, each with its values by dotted key; a grid "
        "applies to each: [{tuner: lora, meta: fixed}, {tuner: ssf, meta: first_order}]",
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
        _check_keys(grid)
        for key, values in grid.items():
            if not values:
                raise ValueError(f"{key} has no values; give one or more, or drop it")
            if any(value in values[:i] for i, value in enumerate(values)):
                raise ValueError(f"{key}={list(values)} holds a value twice; drop one")
        return grid

    @field_validator("points", mode="after")
    @classmethod
    def _points_differ(cls, points: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for i, point in enumerate(points):
            _check_keys(point)
            if point in points[:i]:
                raise ValueError(f"point {i + 1} ({point}) is listed twice; drop one")
        return points

    @model_validator(mode="after")
    def _keys_once(self) -> SweepSettings:
        for point in self.points:
            for key in point.keys() & self.grid.keys():
                raise ValueError(f"{key} is in the points and in the grid; drop it from one")
        return self

    def every_point(self) -> list[dict[str, Any]]:
        """Return the points, each with every combination of the grid's values."""
        return [
            {**point, **dict(zip(self.grid, values, strict=True))}
            for point in self.points or ({},)
            for values in itertools.product(*self.grid.values())
        ]


def _check_keys(keys: Iterable[str]) -> None:
    for key in keys:
        if key.split(".")[0] in _NOT_VARIED:
            raise ValueError(f"{key} cannot be varied here; seeds go to sweep.seeds")
