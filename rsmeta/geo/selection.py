"""Which of a raster's bands make the bands that are needed: found, mixed or computed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from rsmeta.geo.bands import Band, find_band, plain_key
from rsmeta.geo.spectral_match import mix_bands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.geo.spectral_match import Mix

#: Places in what is read, each with its share.
Shares: TypeAlias = tuple[tuple[int, float], ...]
#: What a band is made of: its shares, or those of both inputs of one that is computed.
Recipe: TypeAlias = tuple[Shares, ...]


def select(
    wanted: Sequence[Band], bands: Sequence[Band], recipes: Sequence[Recipe], source: str
) -> tuple[tuple[Band, ...], tuple[Recipe, ...]]:
    """Choose bands out of others, in the order in which they are wanted.

    They are found by name, else computed where they have a formula, else made of bands that see
    the same; see ``mix_bands``.

    Args:
        wanted: Bands that are needed.
        bands: The bands that there are.
        recipes: What each of these is made of.
        source: What messages call the raster.

    Returns:
        The bands, and what each of them is made of.

    Raises:
        BandsMissingError: One of them is not there.
    """
    computed = {plain_key(band.name): i for i, band in enumerate(bands) if band.formula is not None}
    places = [i for i, band in enumerate(bands) if band.formula is None]
    measured = [bands[i] for i in places]
    inputs = {
        band: _inputs(band, measured) for band in wanted if plain_key(band.name) not in computed
    }
    needed = list(dict.fromkeys(one for own in inputs.values() for one in own))
    found = dict(zip(needed, mix_bands(needed, measured, source), strict=True)) if needed else {}
    chosen, made = [], []
    for band in wanted:
        if band not in inputs:
            place = computed[plain_key(band.name)]
            chosen.append(bands[place])
            made.append(recipes[place])
            continue
        own = [one if found[one].how else measured[_first(found[one])] for one in inputs[band]]
        chosen.append(own[0] if len(own) == 1 else _of_inputs(band, *own))
        made.append(tuple(_shares(found[one], places, recipes) for one in inputs[band]))
    return tuple(chosen), tuple(made)


def packed(recipes: Sequence[Recipe]) -> tuple[list[int], tuple[Recipe, ...] | None]:
    """Return which places recipes need, and the recipes with places among these.

    Recipes are none where each band is just what stands at its place.
    """
    picked = list(dict.fromkeys(i for own in recipes for part in own for i, _ in part))
    at = {i: place for place, i in enumerate(picked)}
    moved = tuple(
        tuple(tuple((at[i], share) for i, share in part) for part in own) for own in recipes
    )
    return picked, None if moved == as_they_are(len(picked)) else moved


def as_they_are(count: int) -> tuple[Recipe, ...]:
    """Return the recipes of bands that stand each at its own place."""
    return tuple((((i, 1.0),),) for i in range(count))


def _inputs(band: Band, measured: Sequence[Band]) -> tuple[Band, ...]:
    """Return what must be there for a band: itself, or both that it is computed from."""
    if band.formula is None or find_band(band, measured) is not None:
        return (band,)
    return band.formula.first, band.formula.second


def _of_inputs(band: Band, first: Band, second: Band) -> Band:
    assert band.formula is not None
    return replace(band, formula=band.formula._replace(first=first, second=second))


def _first(mix: Mix) -> int:
    return next(iter(mix.shares))


def _shares(mix: Mix, places: Sequence[int], recipes: Sequence[Recipe]) -> Shares:
    return tuple(
        (i, share * part) for k, part in mix.shares.items() for i, share in recipes[places[k]][0]
    )
