"""The wavelength at which DOFA makes the filter of a band, and the report of what it made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rsmeta.errors import enumerate_names
from rsmeta.geo.sensors import known_band
from rsmeta.models.dofa.generator import GENERATOR, generate, has_generator
from rsmeta.models.patch_stem import STEM_WEIGHT, fit_patch_stem
from rsmeta.models.stem import StemFilter, StemReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.model import StemSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.checkpoint import StateDict

#: Bands of Sentinel-2 that DOFA was trained on; what strategies other than ``match`` and
#: ``wavelength`` make filters of.
SENTINEL2 = ("B04", "B03", "B02", "B05", "B06", "B07", "B08", "B11", "B12")

#: At which wavelength DOFA was trained on radar, VV and VH alike. It is no physical one (C band
#: is 55 mm), and another number gives filters that it never had. Source: DOFA's own code.
RADAR_NM = 3750.0
_RADAR = frozenset({"vv", "vh", "hh", "hv", "sar"})

#: Wavelengths that it was trained on otherwise, nm.
_TRAINED_NM = (400.0, 2500.0)

STEM_BIAS = "patch_embed.proj.bias"


def dofa_wavelength(band: Band) -> float | None:
    """Return the wavelength at which the filter of a band is made, nm; none: it is unknown."""
    if band.spectrum_part == "microwave" or band.name.casefold() in _RADAR:
        return RADAR_NM
    return band.wavelength_nm


def fit_dofa_stem(
    state: StateDict, spec: StemSpec, recorded: Sequence[Band] | None, bands: Sequence[Band],
    *, source: str,
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
    if not has_generator(state):
        return fit_patch_stem(state, spec, recorded, bands, source=source)
    waves = [dofa_wavelength(band) for band in bands]
    direct = spec.strategy in ("match", "wavelength")
    known = [wave for wave in waves if wave is not None] if direct else []
    reference = [known_band(name) for name in spec.bands or SENTINEL2]
    given = known or [wave for wave in map(dofa_wavelength, reference) if wave is not None]
    filters, state[STEM_BIAS] = generate(state, given, source)
    for key in [key for key in state if key.startswith(GENERATOR)]:
        del state[key]
    if not known:
        state[STEM_WEIGHT] = filters
        how = spec.model_copy(update={"bands": None})
        if direct:
            how = how.model_copy(update={"strategy": "mean"})
        report = fit_patch_stem(state, how, reference, bands, source=source)
        return StemReport(report.filters, spec.strategy, report.notes)
    made = iter(filters.unbind(dim=1))
    mean = filters.mean(dim=1)
    columns = [mean if wave is None else next(made) for wave in waves]
    state[STEM_WEIGHT] = torch.stack(columns, dim=1)
    entries = tuple(_entry(band, wave) for band, wave in zip(bands, waves, strict=True))
    return StemReport(entries, spec.strategy, _notes(bands, waves))


def _entry(band: Band, wave_nm: float | None) -> StemFilter:
    if wave_nm is None:
        return StemFilter(band.name, "mean", reason="its wavelength is unknown")
    return StemFilter(band.name, "generated", {f"{wave_nm:g} nm": 1.0})


def _notes(bands: Sequence[Band], waves: Sequence[float | None]) -> tuple[str, ...]:
    low, high = _TRAINED_NM
    far = [
        band.name
        for band, wave in zip(bands, waves, strict=True)
        if wave is not None and wave != RADAR_NM and not low <= wave <= high
    ]
    if not far:
        return ()
    return (f"DOFA saw no wavelengths like those of {enumerate_names(far)} in its training",)
