"""What a head's output means once it is written to a map."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OutputSpec:
    """Meaning of a map's values.

    Args:
        classes: Names of the classes, in the order of the logits.
        values: Value of each class in the map.
        dtype: numpy name of the map's type (``"uint8"``).
        nodata: Value of pixels without result; none: there is no such value.
        unit: Unit of the values; none: they are classes.

    Raises:
        ValueError: Names and values do not pair up, or repeat, or a value means nodata too.
    """

    classes: tuple[str, ...]
    values: tuple[int, ...]
    dtype: str = "uint8"
    nodata: float | None = 255
    unit: str | None = None

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.values):
            raise ValueError(f"{len(self.classes)} classes for {len(self.values)} values")
        if len(set(self.classes)) < len(self.classes) or len(set(self.values)) < len(self.values):
            raise ValueError(f"classes {self.classes} or values {self.values} repeat")
        if self.nodata in self.values:
            raise ValueError(f"the value {self.nodata} means both a class and nodata")
