"""The stem: fit the filters of a patch embedding to the bands of a sensor, by band identity."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from rsmeta.geo.bands import find_band

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.geo.bands import Band

Strategy: TypeAlias = Literal["match", "mean", "repeat", "random", "project", "wavelength"]
Origin: TypeAlias = Literal[
    "copied", "blended", "mean", "repeated", "random", "projected", "generated"
]

#: Correlation between bands that the size of a patch embedding is kept for. Optical bands of one
#: scene are strongly correlated; see benchmarks/stems.md for what real scenes have.
BAND_CORRELATION = 0.8

#: Bands nearer than this are one band, nm.
_SAME_NM = 0.5


@dataclass(frozen=True)
class StemFilter:
    """Where one band's filter came from.

    Args:
        band: Name of the band.
        origin: ``copied`` from a band of the weights; ``blended`` of those with the nearest
            wavelengths; the ``mean`` of all; ``repeated`` from another band by position;
            ``random``; ``projected`` onto bands of the weights; or ``generated`` from its
            wavelength.
        shares: Bands of the weights that it is made of, with their shares; they sum to 1. None
            for ``mean`` and ``random``.
        factor: What it was multiplied by to keep the size of the embedding, unitless.
        reason: Why no filter of its own was found; empty where one was.
    """

    band: str
    origin: Origin
    shares: Mapping[str, float] = field(default_factory=dict)
    factor: float = 1.0
    reason: str = ""

    @property
    def source(self) -> str:
        """What it is made of: ``"red"``, ``"0.64 red + 0.36 nir"``, ``"mean of all"``."""
        if len(self.shares) == 1:
            return next(iter(self.shares))
        if self.shares:
            return " + ".join(f"{share:.2f} {name}" for name, share in self.shares.items())
        return "mean of all" if self.origin == "mean" else self.origin

    def __str__(self) -> str:
        return f"{self.band} <- {self.source}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {
            "band": self.band,
            "origin": self.origin,
            "source": self.source,
            "factor": round(self.factor, 4),
            "reason": self.reason,
        }


@dataclass(frozen=True)
class StemReport:
    """How a stem was fitted.

    Args:
        filters: One entry per band, in the network's order.
        strategy: How filters were looked for; none: there were no weights.
        notes: What else happened, a phrase each: filters of the weights that no band took.
    """

    filters: tuple[StemFilter, ...]
    strategy: Strategy | None = None
    notes: tuple[str, ...] = ()

    @property
    def origins(self) -> tuple[str, ...]:
        """Where the filter of each band came from: a band of the weights, or how it was made."""
        return tuple(entry.source for entry in self.filters)

    @property
    def all_matched(self) -> bool:
        """Whether every band found a filter of its own."""
        return all(entry.origin in ("copied", "generated") for entry in self.filters)

    def summary(self) -> str:
        """Return a one-line summary."""
        filters = ", ".join(str(entry) for entry in self.filters)
        return "; ".join((f"stem ({self.strategy or 'random weights'}): {filters}", *self.notes))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {
            "strategy": self.strategy,
            "filters": [entry.as_dict() for entry in self.filters],
            "notes": list(self.notes),
            "all_matched": self.all_matched,
        }


class Mixture(NamedTuple):
    """What one band is made of, out of others.

    Args:
        origin: ``copied``, ``blended`` or ``mean``.
        shares: Share of each of the others, by index; they sum to 1.
        reason: Why it is not copied; empty where it is.
    """

    origin: Origin
    shares: dict[int, float]
    reason: str = ""


def random_stem(bands: Sequence[Band], strategy: Strategy | None = None) -> StemReport:
    """Return the report of a stem whose filters came from chance.

    Args:
        bands: Bands of the stem.
        strategy: ``random`` where weights were there and not used; none: no weights.
    """
    return StemReport(tuple(StemFilter(band.name, "random") for band in bands), strategy)


def mixture(band: Band, others: Sequence[Band]) -> Mixture:
    """Make one band out of others, by what it sees.

    Itself where it is among them, by name or common name; else the two of the nearest
    wavelengths, each weighted by the inverse of its distance in nm; else the mean of all,
    where no wavelengths can be compared: optical bands, heat and radar have none in common.

    Args:
        band: Band to make.
        others: Bands that there are, at least one.
    """
    own = find_band(band, others)
    if own is not None:
        return Mixture("copied", {own: 1.0})
    equal = dict.fromkeys(range(len(others)), 1 / len(others))
    part = band.spectrum_part
    near = [
        (abs(other.wavelength_nm - band.wavelength_nm), i)
        for i, other in enumerate(others)
        if part is not None
        and part == other.spectrum_part
        and other.wavelength_nm is not None
        and band.wavelength_nm is not None
    ]
    if part is None:
        return Mixture("mean", equal, "its wavelength is unknown")
    if part == "microwave" or not near:
        return Mixture("mean", equal, f"no wavelengths in common ({part})")
    closest = sorted(near)[:2]
    if closest[0][0] < _SAME_NM:
        closest = closest[:1]
    inverse = {i: 1 / max(distance, _SAME_NM) for distance, i in closest}
    total = sum(inverse.values())
    reason = f"nearest to {band.wavelength_nm:.0f} nm"
    return Mixture("blended", {i: value / total for i, value in inverse.items()}, reason)


def fit_stem(
    weight: Tensor, known: Sequence[Band], bands: Sequence[Band], strategy: Strategy = "match"
) -> tuple[Tensor, StemReport]:
    """Make a filter for every band from the filters that there are.

    All are multiplied by one factor that keeps the expected size of the patch embedding's
    output; see ``embedding_size``.

    Args:
        weight: Filters (D, C_known, p, p).
        known: The C_known bands that they are for.
        bands: Bands of the new stem, C.
        strategy: ``match``, ``mean`` or ``repeat``.

    Returns:
        Filters (D, C, p, p), and where they came from.

    Raises:
        ValueError: ``known`` does not name each input of ``weight`` once, or a strategy that
            makes no filters.

    Source: ``repeat`` is what timm's ``adapt_input_conv`` does.
    """
    weight = weight.float()  # a file may hold half of the digits
    names = [band.name for band in known]
    if weight.shape[1] != len(known) or len(set(names)) != len(names):
        raise ValueError(f"{len(known)} bands {names} for {weight.shape[1]} input filters")
    table, entries = band_table(known, bands, strategy)
    fitted = torch.einsum("bk,dkhw->dbhw", table, weight)
    factor = 1.0 if _reordered(table) else keeping_factor(weight, fitted)
    filters = tuple(replace(entry, factor=factor) for entry in entries)
    return fitted * factor, StemReport(filters, strategy)


def band_table(
    known: Sequence[Band], bands: Sequence[Band], strategy: Strategy
) -> tuple[Tensor, tuple[StemFilter, ...]]:
    """Say what each band is made of, out of others.

    Args:
        known: Bands that there are, K.
        bands: Bands to make, C.
        strategy: ``match``, ``mean`` or ``repeat``.

    Returns:
        Shares (C, K), and the same in words.

    Raises:
        ValueError: A strategy that makes no filters.
    """
    mixtures = [_mixture(strategy, i, band, known) for i, band in enumerate(bands)]
    table = torch.zeros(len(bands), len(known))
    for i, found in enumerate(mixtures):
        for j, share in found.shares.items():
            table[i, j] = share
    filters = tuple(
        StemFilter(
            band.name,
            found.origin,
            {} if found.origin == "mean" else {known[j].name: s for j, s in found.shares.items()},
            reason=found.reason,
        )
        for band, found in zip(bands, mixtures, strict=True)
    )
    return table, filters


def _reordered(table: Tensor) -> bool:
    """Whether the same filters, all of them, merely stand in another order."""
    ones = torch.eye(table.shape[1])
    return table.shape[0] == table.shape[1] and torch.equal(table.T @ table, ones)


def _mixture(strategy: Strategy, i: int, band: Band, known: Sequence[Band]) -> Mixture:
    if strategy == "match":
        return mixture(band, known)
    if strategy == "mean":
        return Mixture("mean", dict.fromkeys(range(len(known)), 1 / len(known)))
    if strategy == "repeat":
        return Mixture("repeated", {i % len(known): 1.0})
    raise ValueError(f"the strategy {strategy!r} makes no filters out of others")


def keeping_factor(before: Tensor, after: Tensor) -> float:
    """Return what ``after`` is to be multiplied by so that its embedding is as large as ``before``.

    Args:
        before: Filters (D, C, p, p).
        after: Filters (D, C', p, p).
    """
    old, new = embedding_size(before), embedding_size(after)
    return (old / new) ** 0.5 if new > 0 else 1.0


def embedding_size(weight: Tensor) -> float:
    """Return the expected squared length of a patch embedding, less its bias.

    For bands of mean 0 and variance 1 that are correlated by ``BAND_CORRELATION`` with each
    other.

    Args:
        weight: Filters (D, C, p, p).
    """
    together = weight.double().sum(dim=1).square().sum().item()
    apart = weight.double().square().sum().item()
    return BAND_CORRELATION * together + (1 - BAND_CORRELATION) * apart
