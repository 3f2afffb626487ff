"""The weights that a model's settings name: a checkpoint, else the published ones of its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.models.weights.known import pick_weights
from rsmeta.models.weights.sources import LocalWeights, locate_weights

if TYPE_CHECKING:
    from rsmeta.config.model import ModelSpec


def named_weights(spec: ModelSpec) -> tuple[str, LocalWeights | None]:
    """Return the full name of a backbone, and its weights as a local file; none: random weights.

    Args:
        spec: ``backbone``, with or without the tag of published weights, ``checkpoint``,
            ``checkpoint_sha256``, ``pretrained``.

    Raises:
        UnknownNameError: No published weights have that tag.
        CheckpointError: The weights are unavailable.
    """
    name, _, tag = spec.backbone.partition(".")
    known = pick_weights(spec.backbone) if tag or spec.pretrained else None
    source, sha256 = spec.checkpoint, spec.checkpoint_sha256
    if spec.pretrained and known is not None:
        source, sha256 = known.entry.source, sha256 or known.entry.sha256
    full = name if known is None else known.name
    return full, None if source is None else locate_weights(source, sha256=sha256)
