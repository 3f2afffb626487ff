"""What is known of the published SatMAE weights: bands, normalisation, licence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.models.records import BackboneRecord
from rsmeta.models.weights.known import known_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.models.satmae.options import Kind, Layout


def _published(name: str) -> dict[str, tuple[float, float]]:
    entry = known_inputs("satmae")[name]
    mean, std = entry.statistics() or ((), ())
    return {band: (m, s) for band, m, s in zip(entry.bands, mean, std, strict=True)}


#: Mean and standard deviation of each Sentinel-2 band over fMoW-Sentinel, in reflectance; the
#: weights expect them in the form ``two_sigma``.
SENTINEL2_STATISTICS = _published("sentinel2")

#: The same of fMoW's RGB images, scaled to [0, 1]; the weights expect (x - mean) / std.
RGB_STATISTICS = _published("rgb")


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
    known = [published[name] for name in bands if name in published]
    complete = len(known) == len(bands)
    return BackboneRecord(
        name=spec.backbone,
        family="satmae",
        source=spec.checkpoint,
        bands=tuple(bands),
        mean=tuple(mean for mean, _ in known) if complete else None,
        std=tuple(std for _, std in known) if complete else None,
        image_px=layout.image_px,
        licence=licence,
        form="two_sigma" if grouped else "standard",
        unit="reflectance" if grouped else "display",
    )
