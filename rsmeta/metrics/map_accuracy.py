"""How right a map is: agreement with the reference, and estimates for the whole map.

The two are kept apart. Counts say how map and reference agree on the pixels that were compared;
they tell nothing of other ground, unless all of it was compared. Estimates are for the whole map,
with standard errors, and need points that were drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rsmeta.metrics.segmentation import SegmentationResult

if TYPE_CHECKING:
    from rsmeta.metrics.sample import SampleEstimates

ReferenceKind = Literal["raster", "polygons", "points"]


@dataclass(frozen=True, repr=False)
class MapAccuracy(SegmentationResult):
    """Agreement of a map with a reference, and estimates where the reference is a sample.

    The inherited scores count compared pixels, or points; in them precision is the user's and
    recall the producer's accuracy of what was compared.

    Args:
        reference: What the reference is.
        left_out: Reference points where nothing is mapped; 0 for rasters and polygons.
        mapped_pixels: Pixels of each class in the whole map, (K,).
        mapped_areas_m2: Their area; none where the map has no CRS.
        estimates: Estimates for the whole map from points; none for other references, and where a
            class that is mapped has no point.
    """

    reference: ReferenceKind
    left_out: int
    mapped_pixels: tuple[int, ...]
    mapped_areas_m2: tuple[float, ...] | None
    estimates: SampleEstimates | None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold; classes by name."""
        values = super().as_dict()
        areas = self.mapped_areas_m2 or (None,) * len(self.classes)
        for entry, pixels, area in zip(
            values["classes"].values(), self.mapped_pixels, areas, strict=True
        ):
            entry["mapped_pixels"], entry["mapped_area_m2"] = pixels, area
        values["reference"] = {"kind": self.reference, "left_out": self.left_out}
        values["estimates"] = None if self.estimates is None else self.estimates.as_dict()
        return values
