"""What a head's output means once it is written to a map."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class OutputSpec:
    """Meaning of a map's values: classes, or numbers of a unit.

    Args:
        classes: Names of the classes, in the order of the logits; none: the values are numbers.
        values: Value of each class in the map.
        dtype: numpy name of the map's type (``"uint8"``, ``"float32"``).
        nodata: Value of pixels without result; none: there is no such value. NaN for numbers.
        unit: Unit of numbers (``"t/ha"``); none: they are classes, or have no unit.
        name: What numbers measure (``"biomass"``); none: they are classes.

    Raises:
        ValueError: Names and values do not pair up, or repeat, or a value means nodata too, or
            the values are neither classes nor named numbers.
    """

    classes: tuple[str, ...]
    values: tuple[int, ...]
    dtype: str = "uint8"
    nodata: float | None = 255
    unit: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.values):
            raise ValueError(f"{len(self.classes)} classes for {len(self.values)} values")
        if len(set(self.classes)) < len(self.classes) or len(set(self.values)) < len(self.values):
            raise ValueError(f"classes {self.classes} or values {self.values} repeat")
        if self.nodata in self.values:
            raise ValueError(f"the value {self.nodata} means both a class and nodata")
        if bool(self.classes) == (self.name is not None):
            raise ValueError(f"values are classes {self.classes} or a named quantity {self.name!r}")

    @classmethod
    def of_quantity(cls, name: str, unit: str | None) -> OutputSpec:
        """Return the meaning of a float32 map of one quantity, NaN where nothing is known."""
        return cls((), (), dtype="float32", nodata=math.nan, unit=unit, name=name)

    @property
    def continuous(self) -> bool:
        """Whether the values are numbers, not classes."""
        return not self.classes

    @property
    def scores(self) -> int:
        """Scores per pixel that the network gives: one per class, or the number itself."""
        return len(self.classes) or 1
