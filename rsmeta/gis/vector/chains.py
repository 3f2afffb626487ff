"""Put the links of many chains in order at once: who follows whom becomes rank by rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rsmeta.gis.labelling import components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.integer]


class Chains(NamedTuple):
    """Links in the order of their chains.

    Attributes:
        order: Links, chain after chain, each from head to tail, (N,).
        start: Place in ``order`` of each chain's head, and N at the end, (C + 1,).
        chain_of: The chain of each link, (N,).
    """

    order: Ints
    start: Ints
    chain_of: Ints

    @property
    def heads(self) -> Ints:
        """The first link of each chain."""
        return self.order[self.start[:-1]]

    @property
    def tails(self) -> Ints:
        """The last link of each chain."""
        return self.order[self.start[1:] - 1]


def break_cycles(following: Ints) -> Ints:
    """Return ``following`` cut open where links run in a circle: before its smallest link.

    Args:
        following: The link after each link, -1 after the last of a chain, (N,); no two links
            have the same follower.
    """
    count = len(following)
    linked = np.flatnonzero(following >= 0)
    groups, group_of = components(linked, following[linked], count)
    is_open = np.zeros(groups, dtype=bool)
    is_open[group_of[following < 0]] = True
    smallest = np.empty(groups, dtype=np.int64)
    smallest[group_of[::-1]] = np.arange(count)[::-1]  # of equal places the last one counts
    before = np.full(count, -1, dtype=np.int64)
    before[following[linked]] = linked
    cut = following.copy()
    cut[before[smallest[~is_open]]] = -1
    return cut


def in_order(following: Ints) -> Chains:
    """Return the links of chains in their order.

    Args:
        following: As ``break_cycles`` returns it: no circles.
    """
    count = len(following)
    places = np.arange(count)
    tail = np.where(following < 0, places, following)
    steps = (following >= 0).astype(np.int32)
    active = np.flatnonzero(tail[tail] != tail)
    while len(active):  # each round doubles how far a link sees
        seen = tail[active]
        steps[active] += steps[seen]
        tail[active] = tail[seen]
        seen = tail[active]
        active = active[tail[seen] != seen]
    is_head = np.ones(count, dtype=bool)
    is_head[following[following >= 0]] = False
    heads = np.flatnonzero(is_head)
    start = np.concatenate([[0], np.cumsum(steps[heads] + 1, dtype=np.int64)])
    chain_of_tail = np.empty(count, dtype=np.int64)
    chain_of_tail[tail[heads]] = np.arange(len(heads))
    chain_of = chain_of_tail[tail]
    order = np.empty(count, dtype=np.int64)
    order[start[1:][chain_of] - 1 - steps] = places
    return Chains(order, start, chain_of)


def spans(start: Ints, length: Ints) -> Ints:
    """Return the numbers of many stretches, one after the other.

    Args:
        start: First number of each, (S,).
        length: How many of each, (S,).

    Returns:
        (sum of lengths,).
    """
    ends = np.cumsum(length)
    if len(ends) == 0:
        return np.zeros(0, dtype=np.int64)
    numbers: Ints = np.arange(ends[-1]) + np.repeat(start - (ends - length), length)
    return numbers
