"""Channel groups: which band goes into which group, and the filters it takes there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rsmeta.errors import ConfigError, enumerate_names
from rsmeta.geo.bands import Band, find_band, loose_key
from rsmeta.geo.sensors import known_band
from rsmeta.models.stem import StemFilter, StemReport, fit_stem, keeping_factor, random_stem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.models.checkpoint import StateDict
    from rsmeta.models.satmae.options import ExtraBands
    from rsmeta.models.stem import Strategy

STEM_KEY = "patch_embed.{}.proj."


@dataclass(frozen=True)
class ChannelGroup:
    """A group with at least one band.

    Args:
        index: Its place among all groups, from 0; new groups come after those of the weights.
        known: The bands that the weights have in it; none for a new group.
        bands: The bands that are in it now, known ones first.
        inputs: Index of each of these in the network's input.
    """

    index: int
    known: tuple[Band, ...]
    bands: tuple[Band, ...]
    inputs: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each of ``bands`` in the weights, else its own."""
        found = [find_band(band, self.known) for band in self.bands]
        return tuple(
            band.name if i is None else self.known[i].name
            for band, i in zip(self.bands, found, strict=True)
        )

    @property
    def label(self) -> str:
        """The names of the weights' bands, else of those that are in it, joined."""
        return "+".join(band.name for band in self.known or self.bands)


def assign_bands(
    bands: Sequence[Band],
    groups: Sequence[Sequence[str]],
    backbone: str,
    *,
    extra: ExtraBands = "join",
) -> tuple[ChannelGroup, ...]:
    """Put every band into its group.

    Args:
        bands: Bands of the input, in its order.
        groups: Names of the bands of each group, in the order of the weights.
        backbone: Name of the backbone; for messages.
        extra: What happens to a band that no group contains: it may ``join`` the group with the
            nearest wavelength, or a ``new`` group of all such bands, or be an error
            (``refuse``). A band that shares no wavelengths with any group's gets a new group.

    Returns:
        The groups that have a band, in order; within a group, known bands in its own order, then
        those that joined.

    Raises:
        ConfigError: A band that no group may take, two bands for one place, or a name that
            stands in two groups.
    """
    known = _known(groups)
    places, extras = _places(bands, [band for group in known for band in group], backbone)
    if extras and extra == "refuse":
        raise _refusal([bands[i] for i in extras], bands, groups, backbone)
    inside: list[list[int]] = [[] for _ in known]
    start = 0
    for index, group in enumerate(known):
        inside[index] = [places[p] for p in range(start, start + len(group)) if p in places]
        start += len(group)
    new: list[int] = []
    for i in extras:
        nearest = _nearest(bands[i], known) if extra == "join" else None
        (new if nearest is None else inside[nearest]).append(i)
    numbered = [*zip(known, inside, strict=True), ((), new)]
    return tuple(
        ChannelGroup(index, tuple(group), tuple(bands[i] for i in members), tuple(members))
        for index, (group, members) in enumerate(numbered)
        if members
    )


def fit_group_stems(
    state: StateDict, groups: Sequence[ChannelGroup], strategy: Strategy
) -> dict[int, StemReport]:
    """Replace the filters of each group by filters for the bands that are in it.

    Args:
        state: Tensors of a checkpoint; changed in place.
        groups: Groups that have a band.
        strategy: How filters are looked for, within a group.

    Returns:
        Where the filters came from, by the index of the group.
    """
    stems = {k: v.float() for k, v in state.items() if k.startswith("patch_embed.")}
    reports = {}
    for group in groups:
        weight, bias = (f"{STEM_KEY.format(group.index)}{kind}" for kind in ("weight", "bias"))
        if not group.known:
            state[bias] = torch.stack([v for k, v in stems.items() if k.endswith("bias")]).mean(0)
        if strategy == "random":
            state.pop(weight, None)
            reports[group.index] = random_stem(group.bands, "random")
        elif group.known:
            state[weight], reports[group.index] = fit_stem(
                state[weight], group.known, group.bands, strategy
            )
        else:
            filters = [v for k, v in stems.items() if k.endswith("weight")]
            state[weight], reports[group.index] = _new_stem(filters, group.bands, strategy)
    return reports


def add_channel_kinds(state: StateDict, table: Tensor) -> None:
    """Give new groups their embedding; those of the weights keep the stored ones.

    Args:
        state: Tensors of a checkpoint; changed in place.
        table: Embeddings of all groups, (1, G, D_channel), as the formula gives them.
    """
    stored = state["channel_embed"]
    if stored.shape[1] < table.shape[1]:
        state["channel_embed"] = torch.cat((stored, table[:, stored.shape[1] :].to(stored)), dim=1)


def report_groups(
    groups: Sequence[ChannelGroup],
    fitted: Mapping[int, StemReport],
    all_groups: Sequence[Sequence[str]],
) -> StemReport:
    """Say where each band's filter came from, which bands left or joined and which groups are gone.

    Args:
        groups: Groups that have a band.
        fitted: Where their filters came from, by index; of none: the weights are random.
        all_groups: Names of the bands of every group of the weights.
    """
    filters: dict[int, StemFilter] = {}
    for group in groups:
        report = fitted.get(group.index) or random_stem(group.bands)
        filters |= dict(zip(group.inputs, report.filters, strict=True))
    notes = [note for group in groups for note in _notes(group)]
    used = {group.index for group in groups}
    notes += [
        f"no band of the group {'+'.join(names)}: it leaves the sequence"
        for index, names in enumerate(all_groups)
        if index not in used
    ]
    strategy = next((report.strategy for report in fitted.values()), None)
    return StemReport(tuple(filters[i] for i in sorted(filters)), strategy, tuple(notes))


def _new_stem(
    filters: Sequence[Tensor], bands: Sequence[Band], strategy: Strategy
) -> tuple[Tensor, StemReport]:
    """Give each band of a new group the mean of all filters, as large as a group usually is."""
    mean = torch.cat(list(filters), dim=1).mean(dim=1, keepdim=True)
    made = mean.repeat(1, len(bands), 1, 1)
    factors = torch.tensor([keeping_factor(weight, made) for weight in filters])
    factor = float(factors.square().mean().sqrt())
    entries = tuple(
        StemFilter(band.name, "mean", factor=factor, reason="no group has such wavelengths")
        for band in bands
    )
    return made * factor, StemReport(entries, strategy)


def _notes(group: ChannelGroup) -> list[str]:
    names = [band.name for band in group.known]
    here = [find_band(band, group.known) for band in group.bands]
    gone = [name for i, name in enumerate(names) if i not in here]
    joined = [band.name for band, place in zip(group.bands, here, strict=True) if place is None]
    if not group.known:
        return [f"{enumerate_names(joined)} form a group of their own"]
    notes = []
    if gone:
        notes.append(f"{enumerate_names(gone)} left the group {group.label}")
    if joined:
        notes.append(f"{enumerate_names(joined)} joined the group {group.label}")
    return notes


def _known(groups: Sequence[Sequence[str]]) -> list[tuple[Band, ...]]:
    names = [name for group in groups for name in group]
    if len({loose_key(name) for name in names}) != len(names) or not all(groups):
        raise ConfigError(
            f"model.options.groups={[list(group) for group in groups]} must name each band once, "
            f"and at least one band in each group"
        )
    # Under the name that the groups use, not the sensor's spelling of it.
    return [tuple(replace(known_band(name), name=name) for name in group) for group in groups]


def _places(
    bands: Sequence[Band], known: Sequence[Band], backbone: str
) -> tuple[dict[int, int], list[int]]:
    """Return, for indices in ``known``, the band that stands there; and the bands of no group."""
    places: dict[int, int] = {}
    extras: list[int] = []
    for i, band in enumerate(bands):
        place = find_band(band, known)
        if place is None:
            extras.append(i)
        elif place in places:
            raise ConfigError(
                f"the bands {bands[places[place]]} and {band} both mean {known[place].name} "
                f"in the channel groups of {backbone}; leave one out with data.use_bands=[...]"
            )
        else:
            places[place] = i
    return places, extras


def _nearest(band: Band, known: Sequence[Sequence[Band]]) -> int | None:
    """Return the group that has the band of the nearest wavelength; none: none can be compared."""
    part = band.spectrum_part
    if part is None or part == "microwave" or band.wavelength_nm is None:
        return None
    distances = [
        (abs(other.wavelength_nm - band.wavelength_nm), index)
        for index, group in enumerate(known)
        for other in group
        if other.spectrum_part == part and other.wavelength_nm is not None
    ]
    return min(distances)[1] if distances else None


def _refusal(
    extras: Sequence[Band], bands: Sequence[Band], groups: Sequence[Sequence[str]], backbone: str
) -> ConfigError:
    fit = [band.name for band in bands if band not in extras]
    names = [name for group in groups for name in group]
    return ConfigError(
        f"{backbone} has no channel group for the band{'s' if len(extras) > 1 else ''} "
        f"{enumerate_names([str(band) for band in extras])}; its groups hold "
        f"{enumerate_names(names)}: leave the others out with "
        f"data.use_bands=[{', '.join(fit)}], or set model.options.extra_bands=join"
    )
