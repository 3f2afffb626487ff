"""Build a network whose weights are about to be loaded, without drawing random ones first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: What fills a tensor with random numbers, or turns those into others. Of torch.nn.init, those that
#: modes like this one see as a whole; the others fill by the methods.
_FILLS: frozenset[Callable[..., Any]] = frozenset({
    Tensor.uniform_, Tensor.normal_, Tensor.erfinv_,
    nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_,
})  # fmt: skip


class Unfilled(TorchFunctionMode):
    """While active, random initial weights stay as memory has them.

    Drawing them takes longer than reading a file of them: half a second for a ViT-S. Only for a
    network whose every random tensor is then loaded, as that of a bundle is.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do what torch was asked to do, unless it is to draw numbers."""
        given = dict(kwargs or {})
        if func in _FILLS and given.get("generator") is None:  # else it is no chance
            return args[0] if args else given["tensor"]
        return func(*args, **given)
