"""Which mean and deviation each band is normalised with, and in which form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from rsmeta.errors import ConfigError
from rsmeta.geo.bands import find_band

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.geo.bands import Band
    from rsmeta.models.prepare import BandValues
    from rsmeta.models.records import BackboneRecord, InputForm

Choice: TypeAlias = Literal["auto", "weights", "data"]
Whose: TypeAlias = Literal["weights", "data"]

#: The statistics of weights fit a scene if for every band that both know the means differ by at
#: most so many of the weights' deviations, and the deviations by at most such a factor. Scenes
#: in other units (8-bit display values, digital numbers) fail this by far.
_MEANS_APART = 2.0
_STDS_APART = 4.0

#: Weights with mean 0 were trained on scaled numbers, (x - 0) / range: a scene fits if its mean
#: lies within 1.5 of that range, and its deviation is more than a hundredth of it.
_RANGE = 1.5
_FLAT = 0.01


@dataclass(frozen=True)
class BandStatistics:
    """How one band is normalised.

    Args:
        mean: In physical units.
        std: In physical units.
        whose: Statistics that the ``weights`` were trained with, or of the training ``data``.
    """

    mean: float
    std: float
    whose: Whose = "data"


@dataclass(frozen=True)
class Normalisation:
    """How the bands of a network are normalised.

    Args:
        bands: One entry per band, in the network's order.
        form: What is made of a band with its mean and deviation.
        note: Why so, a phrase; empty where nothing was to be chosen.
    """

    bands: tuple[BandStatistics, ...]
    form: InputForm = "standard"
    note: str = ""

    @property
    def mean(self) -> list[float]:
        """Mean of each band, physical units, (C,)."""
        return [band.mean for band in self.bands]

    @property
    def std(self) -> list[float]:
        """Deviation of each band, physical units, (C,)."""
        return [band.std for band in self.bands]


def choose_normalisation(
    record: BackboneRecord,
    bands: Sequence[Band],
    mean: BandValues,
    std: BandValues,
    *,
    choice: Choice = "auto",
) -> Normalisation:
    """Choose the statistics of each band; the form is always that of the weights.

    Statistics follow the band by name or common name, never its position. A band that the
    weights do not know is normalised by those of the data.

    Args:
        record: What is known of the weights.
        bands: Bands of the input, in its order, C.
        mean: Mean of each band over training pixels, physical units, (C,).
        std: Standard deviation likewise.
        choice: ``weights``, ``data``, or ``auto``: the weights' where they fit the data.

    Raises:
        ConfigError: The statistics of the weights are asked for, and none are known.
    """
    data = [BandStatistics(float(m), float(s), "data") for m, s in zip(mean, std, strict=True)]
    known = _of_weights(record, bands)
    if not any(known):
        if choice == "weights":
            raise ConfigError(
                f"model.normalise=weights, but with which mean and deviation {record.name} was "
                f"trained is unknown for these bands; set model.normalise=data"
            )
        return Normalisation(tuple(data), record.form)
    mixed = tuple(theirs or own for theirs, own in zip(known, data, strict=True))
    if choice == "weights":
        return Normalisation(mixed, record.form)
    if choice == "data":
        return Normalisation(tuple(data), record.form)
    strange = _strangest(bands, known, data)
    if strange is None:
        return Normalisation(mixed, record.form, "the weights' own statistics fit the scenes")
    return Normalisation(tuple(data), record.form, strange)


def settled_normalisation(mean: BandValues, std: BandValues, form: InputForm) -> Normalisation:
    """Return the normalisation that was chosen before, (C,) each in physical units."""
    bands = (BandStatistics(float(m), float(s)) for m, s in zip(mean, std, strict=True))
    return Normalisation(tuple(bands), form)


def _of_weights(record: BackboneRecord, bands: Sequence[Band]) -> list[BandStatistics | None]:
    """Return the weights' statistics of each band; none where they do not know the band."""
    theirs = record.expected
    if theirs is None or record.mean is None or record.std is None:
        return [None] * len(bands)
    found = [find_band(band, theirs) for band in bands]
    return [
        None if i is None else BandStatistics(record.mean[i], record.std[i], "weights")
        for i in found
    ]


def _strangest(
    bands: Sequence[Band],
    known: Sequence[BandStatistics | None],
    data: Sequence[BandStatistics],
) -> str | None:
    """Say by how much the first band that is too far off differs; none: all fit."""
    for band, theirs, own in zip(bands, known, data, strict=True):
        if theirs is None:
            continue
        if not _fits(own, theirs):
            return (
                f"the weights' own statistics do not fit the scenes: {band.name} has "
                f"{own.mean:.4g} ± {own.std:.4g}, they had {theirs.mean:.4g} ± {theirs.std:.4g}"
            )
    return None


def _fits(own: BandStatistics, theirs: BandStatistics) -> bool:
    if theirs.mean == 0:
        return 0 <= own.mean <= _RANGE * theirs.std and _FLAT * theirs.std < own.std <= theirs.std
    near = abs(own.mean - theirs.mean) <= _MEANS_APART * theirs.std
    return near and 1 / _STDS_APART <= own.std / theirs.std <= _STDS_APART
