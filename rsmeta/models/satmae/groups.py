"""Channel groups: which band goes into which group, by name, and the filters it takes there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsmeta.errors import BandsMissingError, ConfigError, enumerate_names
from rsmeta.geo.bands import COMMON_NAMES, Band, generic_band, loose_key, match_bands, plain_key
from rsmeta.geo.sensors import load_sensor
from rsmeta.models.stem import StemFilter, StemReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.models.checkpoint import StateDict


@dataclass(frozen=True)
class ChannelGroup:
    """A group with at least one band.

    Args:
        index: Its place among all groups, from 0.
        names: All bands that belong to it.
        members: Indices in ``names`` of the bands that there are.
        inputs: Index of each of these in the network's input.
    """

    index: int
    names: tuple[str, ...]
    members: tuple[int, ...]
    inputs: tuple[int, ...]

    @property
    def label(self) -> str:
        """The names, joined."""
        return "+".join(self.names)

    @property
    def factor(self) -> float:
        """What keeps the sum over the bands its size when some are missing, unitless."""
        return len(self.names) / len(self.members)

    @property
    def stem_key(self) -> str:
        """Name of its filters in a state dict."""
        return f"patch_embed.{self.index}.proj.weight"


def assign_bands(
    bands: Sequence[Band], groups: Sequence[Sequence[str]], backbone: str
) -> tuple[ChannelGroup, ...]:
    """Put every band into its group.

    Args:
        bands: Bands of the input, in its order.
        groups: Names of the bands of each group, in the order of the weights.
        backbone: Name of the backbone; for messages.

    Returns:
        The groups that have a band, in order; within a group the bands are in its own order.

    Raises:
        ConfigError: A band that no group knows, two bands for one place, or a name that stands
            in two groups.
    """
    names = [name for group in groups for name in group]
    if len({loose_key(name) for name in names}) != len(names) or not all(groups):
        raise ConfigError(
            f"model.options.groups={[list(group) for group in groups]} must name each band once, "
            f"and at least one band in each group"
        )
    places = _places(bands, names, backbone)
    found: list[ChannelGroup] = []
    start = 0
    for index, group in enumerate(groups):
        inside = [(i - start, places[i]) for i in range(start, start + len(group)) if i in places]
        if inside:
            members, inputs = zip(*inside, strict=True)
            found.append(ChannelGroup(index, tuple(group), members, inputs))
        start += len(group)
    return tuple(found)


def fit_group_stems(state: StateDict, groups: Sequence[ChannelGroup]) -> None:
    """Keep the filters of the bands that there are, rescaled for those that are not.

    Args:
        state: Tensors of a checkpoint; changed in place.
        groups: Groups that have a band.
    """
    for group in groups:
        weight = state[group.stem_key].float()  # a file may hold half of the digits
        state[group.stem_key] = weight[:, list(group.members)] * group.factor


def report_groups(
    groups: Sequence[ChannelGroup],
    bands: Sequence[Band],
    all_groups: Sequence[Sequence[str]],
    *,
    copied: bool,
) -> StemReport:
    """Say where each band went, which bands left their group and which groups are empty.

    Args:
        groups: Groups that have a band.
        bands: Bands of the input, in its order.
        all_groups: Names of the bands of every group.
        copied: Whether the filters came from a checkpoint.
    """
    known = {i: g.names[m] for g in groups for m, i in zip(g.members, g.inputs, strict=True)}
    filters = tuple(
        StemFilter(band.name, "copied", known[i]) if copied else StemFilter(band.name, "random")
        for i, band in enumerate(bands)
    )
    notes = [note for group in groups if (note := _note(group, copied=copied))]
    used = {group.index for group in groups}
    notes += [
        f"no band of the group {'+'.join(names)}: it leaves the sequence"
        for index, names in enumerate(all_groups)
        if index not in used
    ]
    return StemReport(filters, notes=tuple(notes))


def _note(group: ChannelGroup, *, copied: bool) -> str | None:
    gone = [name for i, name in enumerate(group.names) if i not in group.members]
    if not gone:
        return None
    scaled = f", its other filters are multiplied by {group.factor:.3g}" if copied else ""
    return f"{enumerate_names(gone)} left the group {group.label}{scaled}"


def _places(bands: Sequence[Band], names: Sequence[str], backbone: str) -> dict[int, int]:
    """Return, for indices in ``names``, the index of the band that stands there."""
    sentinel2 = load_sensor("sentinel2_l1c").bands
    known = [_known_band(name, sentinel2) for name in names]
    try:
        where = match_bands(bands, known, backbone)
    except BandsMissingError:
        fit = [band.name for band in bands if _fits(band, known, backbone)]
        strange = [str(band) for band in bands if band.name not in fit]
        raise ConfigError(
            f"{backbone} has no channel group for the band{'s' if len(strange) > 1 else ''} "
            f"{enumerate_names(strange)}; its groups hold {enumerate_names(names)}: leave the "
            f"others out with data.use_bands=[{', '.join(fit)}]"
        ) from None
    places: dict[int, int] = {}
    for i, place in enumerate(where):
        if place in places:
            raise ConfigError(
                f"the bands {bands[places[place]]} and {bands[i]} both stand for {names[place]} in "
                f"the channel groups of {backbone}; leave one out with data.use_bands=[...]"
            )
        places[place] = i
    return places


def _fits(band: Band, known: Sequence[Band], backbone: str) -> bool:
    try:
        match_bands([band], known, backbone)
    except BandsMissingError:
        return False
    return True


def _known_band(name: str, sentinel2: Sequence[Band]) -> Band:
    """Return the band that a group's name stands for: of Sentinel-2, else a common name."""
    for band in sentinel2:
        if loose_key(band.name) == loose_key(name):
            return band
    common = plain_key(name)
    return generic_band(common) if common in COMMON_NAMES else Band(name)
