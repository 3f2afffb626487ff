"""What methods share that change a module's own parameters: the bare module with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from torch.func import functional_call
from torch.nn import functional

from rsmeta.peft.adapter import Adapter, Part, bare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn


class ParameterAdapter(Adapter):
    """Adds a trained difference to parameters that stay frozen; subclasses say which.

    A module that is linear in its parameters makes of ``parameter + scale · difference`` what it
    would add to its output: the one form of an adapter, at no cost in activations. At scale 0
    the parameters, and with them the output, are what they were, bit for bit.
    """

    order: ClassVar[int] = 60
    mergeable: ClassVar[bool] = True
    changes_parameters: ClassVar[bool] = True

    def differences(self) -> Mapping[str, Tensor]:
        """Return what is added to each parameter of the site, (out_features, …), unscaled."""
        raise NotImplementedError

    @classmethod
    def run(cls, base: nn.Module, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Return the output of ``base`` for ``x``, its bare module with changed parameters."""
        return run_changed(cls, base, x, parts)

    @classmethod
    def changed(cls, module: nn.Module, parts: Sequence[Part]) -> dict[str, Tensor]:
        """Return the parameters with the differences of all sites in them."""
        changed: dict[str, Tensor] = {}
        for part in parts:
            adapter = cast("ParameterAdapter", part.adapter)
            for name, difference in adapter.differences().items():
                whole = changed.get(name, getattr(module, name))
                changed[name] = whole + _on_rows(part.scaled(difference), part, whole)
        return changed


def run_changed(method: type[Adapter], base: nn.Module, x: Tensor, parts: Sequence[Part]) -> Tensor:
    """Return the output of ``base`` for ``x``, its bare module as ``method.changed`` says.

    The module holds the changed parameters meanwhile, so that threads cannot share it: before a
    map, whose batches run side by side, such methods are merged.
    """
    path, module = bare(base)
    changed = {f"{path}{name}": t for name, t in method.changed(module, parts).items()}
    output: Tensor = functional_call(base, changed, (x,))
    return output


def _on_rows(share: Tensor, part: Part, whole: Tensor) -> Tensor:
    """Return the site's share (out_features, …) with 0 for the other rows of the parameter."""
    if part.rows is None:
        return share
    sides = (part.rows[0], whole.shape[0] - part.rows[1])
    return functional.pad(share, (*[0, 0] * (share.ndim - 1), *sides))
