"""Adapters with a nonlinearity: after a branch (adapter) or beside it (adaptformer)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.config.tuner import LowRankOptions
from rsmeta.errors import TunerError
from rsmeta.peft.adapter import Adapter
from rsmeta.peft.plan import TUNERS, SiteTuner, inner_width

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from rsmeta.peft.sites import Site, Sited


class Bottleneck(Adapter):
    """``delta(x, y) = (alpha / rank) · up(relu(down(norm(y))))`` after a branch; zero at first.

    Args:
        features: Width of what comes out of the site.
        rank: Width in between.
        alpha: Strength relative to the rank, unitless.

    Source: "Parameter-Efficient Transfer Learning for NLP", Houlsby et al., ICML 2019, section
    2.1; normalised at the entrance and scaled as MetaPEFT's published code does.
    """

    order: ClassVar[int] = 40

    def __init__(self, features: int, *, rank: int = 8, alpha: float = 8.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.down = nn.Linear(features, rank)
        self.up = nn.Linear(rank, features)
        self._alpha_by_rank = alpha / rank
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    @property
    def rank(self) -> int:
        """Width in between."""
        return self.down.out_features

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the change (…, D) for the branch's output ``y`` (…, D)."""
        return self._bend(y)

    def _bend(self, tokens: Tensor) -> Tensor:
        # The factor goes to the narrow tensor, not to the wide one.
        inner = functional.relu(self.down(self.norm(tokens)))
        factor = self._factor()
        return functional.linear(inner, self.up.weight * factor, self.up.bias * factor)

    def _factor(self) -> Tensor | float:
        return self._alpha_by_rank


class ParallelBottleneck(Bottleneck):
    """The same beside a branch: it reads what enters the branch, and its factor is learned.

    Args:
        features: Width of the branch.
        rank: Width in between.
        alpha: Strength relative to the rank at the start, unitless.

    Source: "AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition", Chen et
    al., NeurIPS 2022, section 3.2.
    """

    order: ClassVar[int] = 50

    def __init__(self, features: int, *, rank: int = 8, alpha: float = 8.0) -> None:
        super().__init__(features, rank=rank, alpha=alpha)
        self.scaling = nn.Parameter(torch.tensor([alpha / rank]))
        #: By thread: several may pass through one network at the same time.
        self._entered = threading.local()
        self._listening: RemovableHandle | None = None

    def attach(self, backbone: Sited, site: Site) -> None:
        """Listen to what enters the branch.

        Within one pass the branch is entered before it ends, also where gradient checkpointing
        computes the block a second time.
        """
        if site.branch is None:  # the plan has asked for it
            raise ValueError(f"site {site.name} ends no branch")
        entrance = backbone.get_submodule(site.branch)
        self._listening = entrance.register_forward_pre_hook(self.listen)

    def detach(self) -> None:
        """Listen no longer."""
        if self._listening is not None:
            self._listening.remove()

    def listen(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Keep what enters the branch until the branch ends."""
        self._entered.tokens = inputs[0]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the change (…, D) for what entered the branch, (…, D)."""
        entered: Tensor | None = getattr(self._entered, "tokens", None)
        if entered is None:
            raise RuntimeError("the branch ended without having been entered")
        self._entered.tokens = None
        return self._bend(entered)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy takes over: nothing of a pass under way."""
        return {name: value for name, value in self.__dict__.items() if name != "_entered"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin a copy."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._entered = threading.local()

    def _factor(self) -> Tensor:
        return self.scaling


@TUNERS.register("adapter")
class BottleneckTuner(SiteTuner):
    """Adapter: a small network after the MLP (or attention); runs as it is."""

    Options = LowRankOptions
    positions = ("mlp2",)
    more = ("out",)

    def adapter(self, module: nn.Module, site: Site, options: LowRankOptions) -> Bottleneck:
        """Return the adapter after a branch."""
        rank, alpha = inner_width(options, site)
        return Bottleneck(site.out_features, rank=rank, alpha=alpha)


@TUNERS.register("adaptformer")
class ParallelTuner(BottleneckTuner):
    """AdaptFormer: a small network beside the MLP (or attention); runs as it is."""

    def adapter(self, module: nn.Module, site: Site, options: LowRankOptions) -> ParallelBottleneck:
        """Return the adapter beside a branch."""
        rank, alpha = inner_width(options, site)
        if site.branch is None:
            raise TunerError(
                f"site {site.name} ends no branch of its block, so that {self.spec.method} has "
                f"nothing to read; use method adapter"
            )
        return ParallelBottleneck(site.out_features, rank=rank, alpha=alpha)
