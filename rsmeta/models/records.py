"""What is known of a backbone's weights: one typed record each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class BackboneRecord:
    """Where weights come from and what they expect.

    Args:
        name: Exact name; for timm with the tag of the weights where they are used.
        family: What builds it: ``"timm"``, ``"satmae"``.
        source: File or hub name of the weights; none: random weights.
        bands: Bands or common names that the weights expect, in their order; none: unknown.
        mean: Mean of each of these bands as the weights' authors normalised it, in the units of
            the images they trained on ([0, 1] for timm, digital numbers for multispectral
            SatMAE); none: unknown.
        std: The same for the standard deviation.
        image_px: Side of the images that the position embeddings are made for, pixels.
        licence: Licence of the weights, as their publisher names it; none: unknown.
    """

    name: str
    family: str
    source: str | None
    bands: tuple[str, ...] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    image_px: int
    licence: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
