"""What labels are: class indices or numbers on the grid of one scene, read window by window."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from rasterio.windows import Window

    from rsmeta.config.data import ClassSpec
    from rsmeta.geo.grid import Grid

#: Label of a pixel that nobody labelled; losses and metrics leave it out.
IGNORE = -1


@dataclass(frozen=True)
class LabelRules:
    """What the values of a label file mean.

    Attributes:
        classes: The classes; a label is an index into them.
        ignore: Values, or names in a class column, that mean "no label".
        class_column: Column of polygons that holds class name or value; none: the only column
            that holds class names and nothing else.
        layer: Layer of a vector file; none: the only one.
        fix: What to do about a VALUE that is neither a class nor ignored.
        column_key: How the user names the class column.
    """

    classes: tuple[ClassSpec, ...]
    ignore: tuple[float | str, ...] = ()
    class_column: str | None = None
    layer: str | None = None
    fix: str = "add it to data.classes or to data.ignore"
    column_key: str = "data.class_column"

    def fix_of(self, value: object) -> str:
        """Return what to do about a value that is neither a class nor ignored."""
        return self.fix.replace("VALUE", f"{value:g}" if isinstance(value, float) else str(value))


class LabelReader(abc.ABC):
    """Reads labels on one scene's grid.

    Attributes:
        grid: The scene's grid, which the labels are read on.
    """

    grid: Grid

    @abc.abstractmethod
    def read(self, window: Window) -> np.ndarray:
        """Return the labels of a window of the grid, which may reach over its edges.

        Returns:
            Class indices (H, W) int64, ``IGNORE`` where there is no label; or numbers (H, W)
            float32, NaN there.
        """

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Return what is counted of labels, (H, W) int64: the class, ``IGNORE`` without label."""
        return labels
