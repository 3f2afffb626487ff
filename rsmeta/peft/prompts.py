"""Visual prompts: learned tokens at the end of the sequence (Jia et al. 2022)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from torch import Tensor, nn

from rsmeta.config.tuner import PromptOptions
from rsmeta.errors import TunerError
from rsmeta.peft.adapter import Adapter, Part
from rsmeta.peft.plan import TUNERS, Plan, SiteTuner, block_indices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.peft.sites import Site, Sited


class Prompts(Adapter):
    """Prompts in one block: the tokens attend to them, as strongly as the scale says.

    A prompt changes a token only through attention, where it takes the share
    ``exp(score) / Σ exp(score)``. Its scale s multiplies that exponential: ``log(s)`` is added
    to the scores of the prompts. So 1 is the method as published, and towards 0 the prompts
    leave the softmax, smoothly, at the cost of one pass. At 0 itself the sequence runs without
    them, because longer products round otherwise and the backbone's output must be its own bit
    for bit.

    Args:
        features: Width of a token D.
        length: Number of prompts P.
        enters: Whether new prompts enter here; else they come in at the end of the sequence.
        leaves: Whether the prompts leave after the block; else they pass on to the next.

    Source: "Visual Prompt Tuning", Jia et al., ECCV 2022, section 3.2; appended at the end, as
    MetaPEFT's published code does. Drawn as a square matrix of width D would be, which for
    ViT-B/16 is the published way.
    """

    order: ClassVar[int] = 90
    decays: ClassVar[bool] = False

    def __init__(
        self, features: int, length: int, *, enters: bool = True, leaves: bool = True
    ) -> None:
        super().__init__()
        self.length = length
        self.leaves = leaves
        self.prompt: nn.Parameter | None = None
        if enters:
            bound = math.sqrt(3 / features)
            self.prompt = nn.Parameter(torch.empty(length, features).uniform_(-bound, bound))

    @property
    def stands_alone(self) -> bool:
        """Whether they enter and leave here; prompts that pass through are dropped together."""
        return self.prompt is not None and self.leaves

    @classmethod
    def run(cls, base: nn.Module, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Return the tokens (B, N, D) after a block, with the prompts if they pass on."""
        (part,) = parts
        adapter, scale = cast("Prompts", part.adapter), part.scale.mean()
        tokens, prompts = adapter.split(x)
        count = tokens.shape[1]
        if _is(scale, 0):
            after: Tensor = base(tokens)
            return after if adapter.leaves else torch.cat((after, prompts), dim=1)
        both = torch.cat((tokens, prompts), dim=1) if adapter.prompt is not None else x
        if _is(scale, 1) and not scale.requires_grad:
            after = base(both)
        else:
            after = base(both, attn_mask=_mask(scale, both, count))
        return after[:, :count] if adapter.leaves else after

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens (B, N, D) and the prompts (B, P, D) of this block."""
        if self.prompt is None:
            return x[:, : -self.length], x[:, -self.length :]
        return x, self.prompt.to(x.dtype).expand(x.shape[0], -1, -1)


def _is(scale: Tensor, value: float) -> bool:
    return bool(scale.detach() == value)


def _mask(scale: Tensor, sequence: Tensor, tokens: int) -> Tensor:
    """Return what is added to the scores of all heads and queries, (1, 1, 1, N + P)."""
    small = torch.finfo(scale.dtype).tiny  # the logarithm of 0 has no gradient
    added = scale.clamp_min(small).log().expand(sequence.shape[1] - tokens)
    mask = torch.cat((added.new_zeros(tokens), added)).to(sequence.dtype)
    return mask.view(1, 1, 1, -1)


@TUNERS.register("vpt_deep")
class DeepPromptTuner(SiteTuner):
    """VPT deep: prompts of its own in every chosen block; runs as it is."""

    Options = PromptOptions
    positions = ("block",)

    def adapter(self, module: nn.Module, site: Site, options: PromptOptions) -> Prompts:
        """Return the prompts of a block."""
        return self._prompts(site, options.length)

    def _prompts(
        self, site: Site, length: int, *, enters: bool = True, leaves: bool = True
    ) -> Prompts:
        if not site.takes_prompts:
            raise TunerError(
                f"tuner.method={self.spec.method} needs blocks that take a sequence of any length "
                f"with a mask; block {site.block} of this backbone (windows, rotary positions) "
                f"does not"
            )
        return Prompts(site.in_features, length, enters=enters, leaves=leaves)


@TUNERS.register("vpt_shallow")
class ShallowPromptTuner(DeepPromptTuner):
    """VPT shallow: prompts that enter the first block and go through all; runs as it is."""

    def plan(self, backbone: Sited) -> Plan:
        """Plan the prompts of one range of blocks."""
        self._blocks = sorted(block_indices(self.spec, backbone.depth))
        if self._blocks != list(range(self._blocks[0], self._blocks[-1] + 1)):
            raise TunerError(
                f"tuner.blocks={list(self.spec.blocks or ())} leaves gaps, and the prompts of "
                f"{self.spec.method} pass from block to block; name one range, or use vpt_deep"
            )
        return super().plan(backbone)

    def adapter(self, module: nn.Module, site: Site, options: PromptOptions) -> Prompts:
        """Return the prompts that enter, pass or leave a block."""
        if options != self.options:
            raise TunerError(
                f"tuner.sites sets another length for block {site.block}, and the prompts of "
                f"{self.spec.method} pass from block to block; use one length, or vpt_deep"
            )
        enters, leaves = site.block == self._blocks[0], site.block == self._blocks[-1]
        return self._prompts(site, options.length, enters=enters, leaves=leaves)
