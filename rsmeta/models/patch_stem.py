"""Fit the patch embedding of a checkpoint to the bands of a sensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.errors import CheckpointError
from rsmeta.geo.sensors import known_band
from rsmeta.models.stem import StemReport, fit_stem, random_stem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.model import ModelSpec, StemSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.checkpoint import StateDict
    from rsmeta.models.records import BackboneRecord

STEM_WEIGHT = "patch_embed.proj.weight"


def fit_patch_stem(
    state: StateDict,
    spec: StemSpec,
    recorded: Sequence[Band] | None,
    bands: Sequence[Band],
    *,
    source: str,
) -> StemReport:
    """Replace the filters in ``state`` by filters for ``bands``.

    Args:
        state: Tensors of a checkpoint; changed in place.
        spec: How filters are looked for, and the bands that they are for, as the user names
            them; none: as recorded.
        recorded: Bands that its filters are for, as far as that is known.
        bands: Bands of the input, in its order.
        source: The checkpoint; for messages.

    Returns:
        Where the filter of each band came from.

    Raises:
        CheckpointError: The bands of the checkpoint are unknown, or their names do not fit.
    """
    weight = state.get(STEM_WEIGHT)
    if weight is None or spec.strategy == "random":
        state.pop(STEM_WEIGHT, None)
        return random_stem(bands, None if weight is None else "random")
    known = named_bands(weight.shape[1], spec.bands, recorded, source)
    state[STEM_WEIGHT], report = fit_stem(weight, known, bands, spec.strategy)
    return report


def own_bands(spec: ModelSpec, record: BackboneRecord) -> tuple[Band, ...]:
    """Return the bands that weights expect, for a backbone that is to take just those.

    Raises:
        CheckpointError: They are unknown.
    """
    if spec.stem.bands is not None:
        return tuple(known_band(name) for name in spec.stem.bands)
    if record.expected is None:
        raise CheckpointError(
            f"the bands that {record.source or record.name} expects are unknown; name them in "
            f"its order with model.stem.bands=[...]"
        )
    return record.expected


def named_bands(
    channels: int, named: Sequence[str] | None, recorded: Sequence[Band] | None, source: str
) -> tuple[Band, ...]:
    """Return the bands that the filters of a checkpoint are for.

    Args:
        channels: How many bands it expects.
        named: Their names as the user gives them; none: as recorded.
        recorded: The bands as far as they are known.
        source: The checkpoint; for messages.

    Raises:
        CheckpointError: The names are unknown, or do not fit.
    """
    known = named or (recorded and [band.name for band in recorded])
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
    return tuple(known_band(name) for name in named) if named else tuple(recorded or ())
