"""What is known of the published SatMAE weights: bands, normalisation, licence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.models.records import BackboneRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.models.satmae.options import Kind, Layout

#: Licence of SatMAE's code and weights.
LICENCE = "CC BY-NC 4.0"

#: Mean and standard deviation of each Sentinel-2 band over fMoW-Sentinel, in digital numbers
#: (``DIGITAL_NUMBERS`` times reflectance); the weights expect them in the form ``two_sigma``.
#: Source: SatMAE's published training settings.
SENTINEL2_STATISTICS: dict[str, tuple[float, float]] = {
    "B02": (1184.3824625, 650.2842772),
    "B03": (1120.77120066, 712.12507725),
    "B04": (1136.26026392, 965.23119807),
    "B05": (1263.73947144, 948.9819932),
    "B06": (1645.40315151, 1108.06650639),
    "B07": (1846.87040806, 1258.36394548),
    "B08": (1762.59530783, 1233.1492281),
    "B8A": (1972.62420416, 1364.38688993),
    "B11": (1732.16362238, 1310.36996126),
    "B12": (1247.91870117, 1087.6020813),
}

#: Digital numbers of a Sentinel-2 product per unit of reflectance.
DIGITAL_NUMBERS = 10_000

#: The same of fMoW's RGB images, scaled to [0, 1]; the weights expect (x - mean) / std.
RGB_STATISTICS: dict[str, tuple[float, float]] = {
    "red": (0.4182007312774658, 0.28774282336235046),
    "green": (0.4214799106121063, 0.27541765570640564),
    "blue": (0.3991275727748871, 0.2764017581939697),
}


#: Bands of the weights for RGB, single images and several dates alike, in their order.
RGB_BANDS = tuple(RGB_STATISTICS)


def make_record(
    spec: ModelSpec, layout: Layout, *, kind: Kind, bands: Sequence[str], licence: str | None
) -> BackboneRecord:
    """Describe the weights of a backbone; with random weights there is little to say.

    Args:
        spec: Names the backbone and its checkpoint.
        layout: Its measures.
        kind: Which family.
        bands: Bands that the weights expect, in their order.
        licence: Of the weights: the file's own word, else as SatMAE's authors publish theirs.
    """
    if spec.checkpoint is None:
        return BackboneRecord(
            spec.backbone, "satmae", None, None, None, None, layout.image_px, None
        )
    grouped = kind == "group"
    published = SENTINEL2_STATISTICS if grouped else RGB_STATISTICS
    per_unit = DIGITAL_NUMBERS if grouped else 1
    known = [published[name] for name in bands if name in published]
    complete = len(known) == len(bands)
    return BackboneRecord(
        name=spec.backbone,
        family="satmae",
        source=spec.checkpoint,
        bands=tuple(bands),
        mean=tuple(mean / per_unit for mean, _ in known) if complete else None,
        std=tuple(std / per_unit for _, std in known) if complete else None,
        image_px=layout.image_px,
        licence=licence,
        form="two_sigma" if grouped else "standard",
        unit="reflectance" if grouped else "display",
    )
