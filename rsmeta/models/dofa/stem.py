"""The wavelength at which DOFA makes the filter of a band, and filters for bands of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from rsmeta.models.dofa.generator import AT, generate, has_generator, sines
from rsmeta.models.dofa.spectrum import Spectrum
from rsmeta.models.patch_stem import STEM_WEIGHT, fit_patch_stem
from rsmeta.models.stem import StemReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from rsmeta.config.model import StemSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.checkpoint import StateDict

#: Bands of Sentinel-2 that DOFA was trained on; what strategies other than ``match`` and
#: ``wavelength`` make filters of.
SENTINEL2 = ("B04", "B03", "B02", "B05", "B06", "B07", "B08", "B11", "B12")

#: At which wavelength DOFA was trained on radar, VV and VH alike. It is no physical one (C band
#: is 55 mm), and another number gives filters that it never had. The weights of DOFA v2, which this
#: is not, take 5.405. Source: torchgeo/torchgeo pull request 3942, by DOFA's authors.
RADAR_NM = 3750.0
_RADAR = frozenset({"vv", "vh", "hh", "hv", "sar"})

STEM_BIAS = "patch_embed.proj.bias"


def is_radar_band(band: Band) -> bool:
    """Whether a band is radar, by its wavelength or its name."""
    return band.spectrum_part == "microwave" or band.name.casefold() in _RADAR


def dofa_wavelength(band: Band) -> float | None:
    """Return the wavelength at which the filter of a band is made, nm; none: it is unknown."""
    return RADAR_NM if is_radar_band(band) else band.wavelength_nm


@dataclass(frozen=True)
class Generated:
    """How the filters of a family come about.

    Args:
        spectrum: How it sees bands.
        embed: Embeds codes of bands in so many numbers each, (C, dim).
        at: How the names of its generator's tensors begin.
    """

    spectrum: Spectrum
    embed: Callable[[Sequence[Any], int], Tensor]
    at: str = AT

    def fit(
        self, state: StateDict, spec: StemSpec, recorded: Sequence[Band] | None,
        bands: Sequence[Band], *, source: str,
    ) -> StemReport:  # fmt: skip
        """Replace the generator in ``state`` by filters for ``bands``.

        Args:
            state: Tensors of a checkpoint, as published or after an earlier training; changed.
            spec: How filters are made.
            recorded: The bands of the filters that earlier training left; none: none did.
            bands: Bands of the input, in its order.
            source: The checkpoint; for messages.

        Raises:
            CheckpointError: Its generator is damaged, or the bands of its filters are unknown.
        """
        if not has_generator(state, self.at):
            return fit_patch_stem(state, spec, recorded, bands, source=source)
        plan = self.spectrum.plan(spec, bands)
        filters, state[STEM_BIAS] = generate(
            state, lambda dim: self.embed(plan.codes, dim), source, self.at
        )
        if plan.direct:
            state[STEM_WEIGHT] = plan.spread(filters, dim=1)
            return plan.report
        state[STEM_WEIGHT] = filters
        report = fit_patch_stem(state, plan.spec, plan.reference, bands, source=source)
        return StemReport(report.filters, spec.strategy, report.notes)


def _embedded(wavelengths_nm: Sequence[float], dim: int) -> Tensor:
    # The published code takes micrometres; the last digit matters inside its sines.
    waves_um = torch.tensor([wave / 1000 for wave in wavelengths_nm], dtype=torch.float32)
    return sines(waves_um * 1000, dim)


DOFA = Generated(
    Spectrum("DOFA", SENTINEL2, dofa_wavelength, lambda wave_nm: f"{wave_nm:g} nm"), _embedded
)
