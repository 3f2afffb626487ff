"""The one form of every adapter: a site's output is ``base(x) + scale * delta(x)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.peft.sites import Site, Sited


class Part(NamedTuple):
    """One site's share in an adapted module.

    Args:
        adapter: What computes the site's delta.
        scale: The site's modulator, shape () or (out_features,).
        rows: Slice of the module's outputs that the delta is added to; none: all of them.
    """

    adapter: Adapter
    scale: Tensor
    rows: tuple[int, int] | None

    def own(self, whole: Tensor) -> Tensor:
        """Return the site's share (…) of something that the module's outputs lead, (out, …)."""
        return whole if self.rows is None else whole[self.rows[0] : self.rows[1]]

    def spread(self, share: Tensor, width: int) -> Tensor:
        """Return a share of the last axis, (…, out_features), with 0 around it: (…, width)."""
        if self.rows is None:
            return share
        return functional.pad(share, (self.rows[0], width - self.rows[1]))

    def scaled(self, share: Tensor) -> Tensor:
        """Return the scale times a share of a module's parameter, (out_features, …)."""
        if self.scale.ndim == 0:
            return self.scale * share
        return self.scale.view(-1, *[1] * (share.ndim - 1)) * share


class Adapter(nn.Module):
    """Computes the change of one site's output; methods derive from it.

    A method that is not additive by nature returns its difference from the base.

    Attributes:
        order: Where several methods share a module, those of lower order come first: a later
            one takes for its base what the earlier ones made.
        mergeable: Whether ``changed`` can put the method into the module's own parameters.
        changes_parameters: Whether it acts on the module's parameters even while it is trained;
            it then acts below all methods of the module that act on outputs.
        decays: Whether weight decay acts on its matrices.
        lr_scale: Factor of the optimizer's learning rate for this adapter.
    """

    order: ClassVar[int] = 40
    mergeable: ClassVar[bool] = False
    changes_parameters: ClassVar[bool] = False
    decays: ClassVar[bool] = True
    lr_scale: float = 1.0

    @property
    def rank(self) -> int | None:
        """Inner width; none where the method has no such thing."""
        return None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the change of the site's output, unscaled; methods with a ``run`` need none.

        Args:
            x: What goes into the site, (…, in_features).
            y: What comes out of it without this adapter, (…, out_features).

        Returns:
            Delta (…, out_features).
        """
        raise NotImplementedError(f"{type(self).__name__} acts through run() alone")

    def attach(self, backbone: Sited, site: Site) -> None:
        """Connect to other places of the backbone, once the adapter is in its own; rarely needed.

        Args:
            backbone: The backbone, with this adapter in place.
            site: Where the adapter acts.
        """

    def detach(self) -> None:
        """Undo ``attach``, when the adapter is dropped."""

    @property
    def stands_alone(self) -> bool:
        """Whether the adapter can be dropped while those of other sites stay."""
        return True

    @classmethod
    def run(cls, base: nn.Module, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Return the adapted output of a module.

        Args:
            base: The module, other adapters of lower order included.
            x: Its input.
            parts: The sites, all of this method.
        """
        return cls.add_all(base(x), x, parts)

    @classmethod
    def add_all(cls, y: Tensor, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Add the scaled deltas of all sites of one module to its output.

        Methods override this where several sites can share their work.

        Args:
            y: Output of the base, (…, out).
            x: Input of the base, (…, in).
            parts: The sites, all of this method.

        Returns:
            The adapted output (…, out).
        """
        adapted = y
        for part in parts:
            own = y if part.rows is None else y[..., part.rows[0] : part.rows[1]]
            delta = part.scale * part.adapter(x, own)
            adapted = adapted + part.spread(delta, y.shape[-1])
        return adapted

    @classmethod
    def changed(cls, module: nn.Module, parts: Sequence[Part]) -> Mapping[str, Tensor]:
        """Return the parameters with which the bare module does what all sites do together.

        Args:
            module: The module of the backbone.
            parts: The sites, all of this method.

        Returns:
            New values by the parameter's name; only of mergeable methods.
        """
        raise NotImplementedError(f"{cls.__name__} is not mergeable")


class Wrapper(nn.Module):
    """Stands in the backbone for another module, ``base``, which may be a wrapper itself."""

    base: nn.Module

    def bare(self) -> tuple[str, nn.Module]:
        """Return the innermost module and its dotted path from here, with a dot at its end."""
        path, module = bare(self.base)
        return f"base.{path}", module


def bare(module: nn.Module) -> tuple[str, nn.Module]:
    """Return what a module is within all wrappers, and its dotted path from there."""
    return module.bare() if isinstance(module, Wrapper) else ("", module)


def weight_of(module: nn.Module) -> Tensor:
    """Return the weight of a linear map (out, in) or of a normalisation (out,)."""
    return cast("Tensor", module.weight)


def bias_of(module: nn.Module) -> Tensor | None:
    """Return the bias (out,) of a module, if it has one."""
    return cast("Tensor | None", module.bias)
