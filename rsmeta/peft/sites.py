"""Sites: the places of a backbone that adapters act on, as the backbone itself lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import nn

from rsmeta.config.tuner import Position

__all__ = ["Position", "Site", "SitePosition", "Sited"]

#: Positions in a block, which settings name, and the stem.
SitePosition: TypeAlias = Position | Literal["stem"]


@dataclass(frozen=True)
class Site:
    """One place: a position in a transformer block, with its widths.

    Args:
        block: Index of the block from the input, from 0.
        position: ``q``, ``k``, ``v`` (projections into attention), ``out`` (projection out of
            it), ``mlp1``, ``mlp2`` (the two layers after it), ``norm1``, ``norm2`` (the
            normalisations of attention and of the layers after it), ``block`` (the whole block);
            ``stem``, before block 0: from bands (B, C, H, W) to tokens (B, D, h, w).
        in_features: Width of what goes in.
        out_features: Width of what comes out.
        module: Dotted path, inside the backbone, of the module that the site is part of.
        rows: Slice ``(first, end)`` of that module's outputs which is the site's own, where
            several projections are fused into one; none where the site is the whole module.
        branch: Dotted path of the module whose input is what enters the residual branch that
            ends at this site; none where the site ends no branch.
        takes_prompts: Whether further tokens may follow what goes in, and the
            module's keyword ``attn_mask`` is added to the attention scores.
    """

    block: int
    position: SitePosition
    in_features: int
    out_features: int
    module: str
    rows: tuple[int, int] | None = None
    branch: str | None = None
    takes_prompts: bool = False

    @property
    def name(self) -> str:
        """Block and position: ``"3.q"``."""
        return f"{self.block}.{self.position}"


class Sited(nn.Module, ABC):
    """A network that hands out its sites; all that tuners need of a backbone."""

    @property
    @abstractmethod
    def depth(self) -> int:
        """Number of blocks."""

    @abstractmethod
    def sites(self) -> tuple[Site, ...]:
        """Return all sites in the order in which data pass them; the same after tuning."""

    def stem_site(self) -> Site | None:
        """Return the convolution that makes a token of each patch; none: another module does."""
        return None

    @property
    def new_bands(self) -> tuple[str, ...]:
        """Names of the bands that have no filter of their own in the weights."""
        return ()
