"""Which numbers a family makes the filter of a band from, and the report of what it made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from rsmeta.errors import enumerate_names
from rsmeta.geo.sensors import known_band
from rsmeta.models.stem import StemFilter, StemReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from rsmeta.config.model import StemSpec
    from rsmeta.geo.bands import Band

#: Wavelengths that these families were trained on, nm.
_TRAINED_NM = (400.0, 2500.0)


_NO_REPORT = StemReport(())


@dataclass(frozen=True)
class Spectrum:
    """How a family sees bands.

    Args:
        title: Name of the family; for notes.
        reference: Bands that strategies other than ``match`` and ``wavelength`` start from.
        code: Returns what the filter of a band is made of; none: it is unknown.
        label: Says in a few characters what such a code is.
    """

    title: str
    reference: tuple[str, ...]
    code: Callable[[Band], Any]
    label: Callable[[Any], str]

    def plan(self, spec: StemSpec, bands: Sequence[Band]) -> SpectralPlan:
        """Settle what is generated for bands, and how theirs is made of it."""
        codes = [self.code(band) for band in bands]
        known = [code for code in codes if code is not None]
        by_code = spec.strategy in ("match", "wavelength")
        if by_code and known:
            entries = tuple(map(self._entry, bands, codes))
            report = StemReport(entries, spec.strategy, self._notes(bands, codes))
            return SpectralPlan(known, (), spec, report, tuple(code is not None for code in codes))
        reference = [known_band(name) for name in spec.bands or self.reference]
        pairs = [(band, code) for band in reference if (code := self.code(band)) is not None]
        how: dict[str, Any] = {"bands": None, **({"strategy": "mean"} if by_code else {})}
        named = tuple(band for band, _ in pairs)
        return SpectralPlan([code for _, code in pairs], named, spec.model_copy(update=how))

    def _entry(self, band: Band, code: Any) -> StemFilter:
        if code is None:
            missing = "width" if band.wavelength_nm else "wavelength"
            return StemFilter(band.name, "mean", reason=f"its {missing} is unknown")
        return StemFilter(band.name, "generated", {self.label(code): 1.0})

    def _notes(self, bands: Sequence[Band], codes: Sequence[Any]) -> tuple[str, ...]:
        low, high = _TRAINED_NM
        far = [
            band.name
            for band, code in zip(bands, codes, strict=True)
            if code is not None
            and band.wavelength_nm is not None
            and band.spectrum_part != "microwave"
            and not low <= band.wavelength_nm <= high
        ]
        if not far:
            return ()
        what = enumerate_names(far)
        return (f"{self.title} saw no wavelengths like those of {what} in its training",)


@dataclass(frozen=True)
class SpectralPlan:
    """What a generator is asked for, and what is done with it.

    Args:
        codes: What filters are generated of.
        reference: Bands that they are for; none: they are for the bands of the input.
        spec: How filters are then made of those of ``reference``.
        report: Where the filter of each band came from; empty where there is a reference.
        known: Of the bands of the input, which have a code.
    """

    codes: list[Any]
    reference: tuple[Band, ...]
    spec: StemSpec
    report: StemReport = _NO_REPORT
    known: tuple[bool, ...] = ()

    @property
    def direct(self) -> bool:
        """Whether filters are generated for the bands of the input."""
        return not self.reference

    def spread(self, made: Tensor, dim: int) -> Tensor:
        """Return what was generated, and its mean for bands without a code.

        Args:
            made: One entry per code along ``dim``.
            dim: Where bands are.
        """
        each, mean = iter(made.unbind(dim)), made.mean(dim)
        return torch.stack([next(each) if known else mean for known in self.known], dim)
