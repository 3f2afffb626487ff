"""Put adapters into the weights for prediction, and take them out again exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsmeta.peft.adapted import AdaptedModule
from rsmeta.peft.adapter import Wrapper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


@dataclass(frozen=True)
class MergeReport:
    """What ``merge`` came to.

    Args:
        merged: Sites that cost nothing now, by method and name: ``"lora 3.q"``.
        left: Sites whose adapters run as they are: no weight can do the same.
    """

    merged: tuple[str, ...]
    left: tuple[str, ...]


def merge(module: nn.Module) -> MergeReport:
    """Put every adapter inside ``module`` into the weights that it adapts, where one can.

    Outputs stay equal within rounding (1e-5); what is merged costs nothing in prediction.
    Adapters that no weight can replace (those with a nonlinearity, prompts) stay.

    Args:
        module: A network, or any part of it.

    Returns:
        What was merged and what was not.
    """
    merged: list[str] = []
    left: list[str] = []
    for stack in _stacks(module):
        blocked = False
        for one in stack:
            # What acts on the output of an adapter that stays cannot go below it.
            blocked = blocked or not one.method.mergeable
            if not blocked:
                one.merge()
            (left if blocked else merged).extend(_names(one))
    return MergeReport(tuple(merged), tuple(left))


def unmerge(module: nn.Module) -> None:
    """Undo ``merge``: every weight is again what it was, bit for bit."""
    for stack in _stacks(module):
        for one in reversed(stack):
            one.unmerge()


def is_merged(module: nn.Module) -> bool:
    """Return whether any adapter inside ``module`` is merged."""
    return any(isinstance(one, AdaptedModule) and one.merged for one in module.modules())


def strip_merged(module: nn.Module) -> None:
    """Take away what is merged, for good: the changed weights get their own names back."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            below = child
            while isinstance(below, AdaptedModule) and below.merged:
                below = below.base
            if below is not child:
                setattr(parent, name, below)


def _stacks(module: nn.Module) -> Iterator[list[AdaptedModule]]:
    """Yield the wrappers of each adapted module, in the order in which they can be merged."""
    adapted = [one for one in module.modules() if isinstance(one, AdaptedModule)]
    inner = {id(one.base) for one in adapted}
    for outer in adapted:
        if id(outer) in inner:
            continue
        stack: list[AdaptedModule] = []
        below: nn.Module = outer
        while isinstance(below, Wrapper):
            if isinstance(below, AdaptedModule):
                stack.append(below)
            below = below.base
        stack.reverse()
        # Changed parameters act below everything else, although their wrapper is the outermost.
        yield sorted(stack, key=lambda one: not one.method.changes_parameters)


def _names(one: AdaptedModule) -> list[str]:
    return [f"{one.name} {site.name}" for site in one.sites.values()]
