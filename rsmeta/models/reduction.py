"""Fewer bands out of many, before the stem: groups of neighbours, or principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
import torch

from rsmeta.errors import ConfigError
from rsmeta.geo.bands import Band
from rsmeta.models.stem import StemFilter, StemReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from rsmeta.config.model import StemSpec

Kind: TypeAlias = Literal["pca", "groups", "learned"]

#: Components with less than this share of the variance of the first are not enlarged further.
_LEAST_VARIANCE = 1e-6


class Reduction(NamedTuple):
    """How bands are made fewer.

    Attributes:
        kind: As in ``model.stem.reduce``.
        bands: What is left, K bands.
        weight: What each is made of at first, (K, C): rows sum to 1.
    """

    kind: Kind
    bands: tuple[Band, ...]
    weight: Tensor

    def report(self, bands: Sequence[Band], inner: StemReport) -> StemReport:
        """Say what each band goes into, and which filters those have."""
        filters = tuple(
            StemFilter(
                band.name, "projected", {self.bands[int(self.weight[:, i].argmax())].name: 1.0}
            )
            for i, band in enumerate(bands)
        )
        note = f"{len(bands)} bands reduced to {len(self.bands)} ({self.kind}): {inner.summary()}"
        return StemReport(filters, inner.strategy, (note, *inner.notes))


def reduction_of(spec: StemSpec, bands: Sequence[Band]) -> Reduction:
    """Return how bands are made fewer: as many neighbours in the spectrum in each group.

    Principal components come from training pixels, and begin as groups. They have no wavelength.

    Args:
        spec: ``reduce`` and ``reduce_to``.
        bands: Bands of the input, C.

    Raises:
        ConfigError: There are not more bands than are to be left.
    """
    if spec.reduce is None or spec.reduce_to >= len(bands):
        raise ConfigError(
            f"model.stem.reduce_to={spec.reduce_to} is not fewer than the {len(bands)} bands of "
            f"the scenes; lower it, or omit model.stem.reduce"
        )
    centres = [band.wavelength_nm for band in bands]
    order = np.argsort([nm or 0.0 for nm in centres], kind="stable")
    if None in centres:
        order = np.arange(len(bands))
    groups = [part.tolist() for part in np.array_split(order, spec.reduce_to)]
    weight = torch.zeros(len(groups), len(bands))
    left = []
    for row, places in enumerate(groups):
        weight[row, places] = 1 / len(places)
        inside = [nm for i in places if (nm := centres[i]) is not None]
        if spec.reduce == "pca" or len(inside) < len(places):
            left.append(
                Band(f"component {row + 1}" if spec.reduce == "pca" else f"group {row + 1}")
            )
        else:
            centre, width = sum(inside) / len(inside), max(inside) - min(inside)
            left.append(Band(f"group {row + 1}", None, centre, width_nm=width or None))
    return Reduction(spec.reduce, tuple(left), weight)


def principal_components(pixels: Iterable[Tensor], count: int) -> Tensor:
    """Return the projection (K, C) onto the first principal components, each of variance 1.

    Args:
        pixels: Normalised training pixels, parts of (N, C).
        count: Number of components K, at most C.

    Source: Jolliffe, "Principal Component Analysis", 2002, section 3.
    """
    total, first, second = 0, torch.zeros(()), torch.zeros(())
    for part in pixels:
        values = part.double()
        total += len(values)
        first = first + values.sum(dim=0)
        second = second + values.T @ values
    mean = first / total
    variances, directions = torch.linalg.eigh(second / total - torch.outer(mean, mean))
    variances, directions = variances.flip(0)[:count], directions.flip(1)[:, :count].T
    # The sign of a direction is chance: its largest share is positive.
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    least = _LEAST_VARIANCE * variances[0].clamp_min(1e-12)
    scaled: Tensor = directions * largest.sign() / variances.clamp_min(least).sqrt()[:, None]
    return scaled.float()
