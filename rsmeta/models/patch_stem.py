"""Fit the patch embedding of a checkpoint to the bands of a sensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.errors import CheckpointError
from rsmeta.models.stem import StemReport, fit_stem, random_stem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.geo.bands import Band
    from rsmeta.models.checkpoint import StateDict

STEM_WEIGHT = "patch_embed.proj.weight"


def fit_patch_stem(
    state: StateDict,
    named: Sequence[str] | None,
    recorded: Sequence[str] | None,
    bands: Sequence[Band],
    *,
    source: str,
) -> StemReport:
    """Replace the filters in ``state`` by filters for ``bands``.

    Args:
        state: Tensors of a checkpoint; changed in place.
        named: Bands that its filters are for, as the user names them; none: as recorded.
        recorded: Bands that its filters are for, as far as that is known.
        bands: Bands of the input, in its order.
        source: The checkpoint; for messages.

    Returns:
        Where the filter of each band came from.

    Raises:
        CheckpointError: The bands of the checkpoint are unknown, or their names do not fit.
    """
    weight = state.get(STEM_WEIGHT)
    if weight is None:
        return random_stem(bands)
    known = named or recorded
    channels = weight.shape[1]
    if known is None or (named is None and channels != len(known)):
        raise CheckpointError(
            f"{source} expects {channels} bands and does not say which; name them in its order "
            f"with model.stem.bands=[...]"
        )
    if channels != len(known) or len(set(known)) != channels:
        raise CheckpointError(
            f"model.stem.bands={list(known)} names {len(set(known))} bands, but {source} expects "
            f"{channels}; name each of them once, in its order"
        )
    state[STEM_WEIGHT], report = fit_stem(weight, known, bands)
    return report
