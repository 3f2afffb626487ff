"""The stem: fit the filters of a patch embedding to the bands of a sensor, by band identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from rsmeta.geo.bands import Band, loose_key, plain_key

if TYPE_CHECKING:
    from collections.abc import Sequence

Origin = Literal["copied", "mean", "random"]


@dataclass(frozen=True)
class StemFilter:
    """Where one band's filter came from.

    Args:
        band: Name of the band.
        origin: ``copied`` from a band of the weights, the ``mean`` of all their filters, or
            ``random``.
        source: The weights' name of the band it was copied from; none otherwise.
    """

    band: str
    origin: Origin
    source: str | None = None

    def __str__(self) -> str:
        return f"{self.band} <- {self.source or self.origin}"


@dataclass(frozen=True)
class StemReport:
    """How a stem was fitted.

    Args:
        filters: One entry per band, in the network's order.
        factor: What the weights' filters were multiplied by, unitless.
        notes: What else happened, a phrase each: filters of the weights that no band took.
    """

    filters: tuple[StemFilter, ...]
    factor: float = 1.0
    notes: tuple[str, ...] = ()

    @property
    def origins(self) -> tuple[str, ...]:
        """Where the filter of each band came from: a band of the weights, or how it was made."""
        return tuple(entry.source or entry.origin for entry in self.filters)

    @property
    def all_matched(self) -> bool:
        """Whether every band found a filter of its own."""
        return all(entry.origin == "copied" for entry in self.filters)

    def summary(self) -> str:
        """Return one line for people."""
        filters = ", ".join(str(entry) for entry in self.filters)
        return "; ".join((f"stem: {filters}", f"times {self.factor:.3g}", *self.notes))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        filters = [{"band": f.band, "origin": f.origin, "source": f.source} for f in self.filters]
        return {
            "filters": filters,
            "factor": self.factor,
            "notes": list(self.notes),
            "all_matched": self.all_matched,
        }


def random_stem(bands: Sequence[Band]) -> StemReport:
    """Return the report of a stem that no weights were given for."""
    return StemReport(tuple(StemFilter(band.name, "random") for band in bands))


def fit_stem(
    weight: Tensor, known: Sequence[str], bands: Sequence[Band]
) -> tuple[Tensor, StemReport]:
    """Make a filter for every band from the filters that there are.

    A band takes the filter of the band with its common name, else with its name; a band that
    finds none takes the mean of all known filters. All are then multiplied by the ratio of the
    band counts, which keeps the size of the patch embedding's output, the bands of a scene
    being strongly correlated.

    Args:
        weight: Filters (D, C_known, p, p).
        known: Names or common names of the C_known bands.
        bands: Bands of the new stem, C.

    Returns:
        Filters (D, C, p, p), and where they came from.

    Raises:
        ValueError: ``known`` does not name each input of ``weight`` once.

    Source: scaling as in timm's ``adapt_input_conv``, matching by identity rather than position.
    """
    if weight.shape[1] != len(known) or len(set(known)) != len(known):
        raise ValueError(f"{len(known)} names {list(known)} for {weight.shape[1]} input filters")
    found = [_find(band, known) for band in bands]
    factor = 1.0 if len(known) == len(bands) else len(known) / len(bands)
    mean = weight.mean(dim=1)
    fitted = torch.stack([mean if i is None else weight[:, i] for i in found], dim=1) * factor
    filters = tuple(
        StemFilter(band.name, "mean") if i is None else StemFilter(band.name, "copied", known[i])
        for band, i in zip(bands, found, strict=True)
    )
    return fitted, StemReport(filters, factor)


def _find(band: Band, known: Sequence[str]) -> int | None:
    """Return the index of a band among names: by common name, else by its own name."""
    if band.common_name is not None:
        common = [plain_key(name) for name in known]
        if plain_key(band.common_name) in common:
            return common.index(plain_key(band.common_name))
    loose = [loose_key(name) for name in known]
    return loose.index(loose_key(band.name)) if loose_key(band.name) in loose else None
