"""The sites of a transformer block that is built as timm builds its blocks."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from torch import nn

from rsmeta.peft.sites import Position, Site

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Blocks that normalise what leaves a branch, not what enters it.
_POST_NORM = frozenset({"ResPostBlock", "SwinTransformerV2Block"})


#: Layers that are a site each; a block has some of them.
_SINGLE: tuple[tuple[Position, str], ...] = (
    ("q", "attn.q_proj"), ("k", "attn.k_proj"), ("v", "attn.v_proj"), ("out", "attn.proj"),
    ("mlp1", "mlp.fc1"), ("mlp1", "mlp.fc1_x"), ("mlp2", "mlp.fc2"),
)  # fmt: skip


def sites_of(blocks: Iterable[nn.Module], path: str) -> tuple[Site, ...]:
    """List the sites of all blocks, in the order in which data pass them.

    Args:
        blocks: The blocks, from the input.
        path: Where their list stands in the backbone, dotted.
    """
    return tuple(
        site for i, block in enumerate(blocks) for site in block_sites(i, block, f"{path}.{i}")
    )


def block_sites(index: int, block: nn.Module, path: str) -> list[Site]:
    """List what can be adapted in one block; a block of unusual build offers fewer sites.

    Args:
        index: Of the block, from the input, from 0.
        block: The block, with ``norm1``, ``attn.qkv`` (or a projection each: ``attn.q_proj``,
            …), ``attn.proj``, ``norm2``, ``mlp.fc1`` (in a gated MLP the values'
            ``mlp.fc1_x``), ``mlp.fc2``.
        path: Where it stands in the backbone, dotted.
    """
    found = _norm(index, block, "norm1", path)
    qkv = getattr(getattr(block, "attn", None), "qkv", None)
    if isinstance(qkv, nn.Linear) and qkv.out_features % 3 == 0:
        width = qkv.out_features // 3
        fused: tuple[Position, ...] = ("q", "k", "v")
        for i, position in enumerate(fused):
            rows = (i * width, (i + 1) * width)
            found.append(Site(index, position, qkv.in_features, width, f"{path}.attn.qkv", rows))
    entrances: dict[Position, str | None] = {
        "out": _entrance(block, "norm1", "attn"),
        "mlp2": _entrance(block, "norm2", "mlp"),
    }
    for position, name in _SINGLE:
        layer = _layer(block, name)
        if isinstance(layer, nn.Linear):
            widths = layer.in_features, layer.out_features
            entrance = entrances.get(position)
            branch = entrance and f"{path}.{entrance}"
            found.append(Site(index, position, *widths, f"{path}.{name}", branch=branch))
        if position == "out":
            found += _norm(index, block, "norm2", path)
    dim = found[0].in_features if found else 0
    whole = Site(index, "block", dim, dim, path, takes_prompts=_takes_prompts(block))
    return [*found, whole]


def _layer(block: nn.Module, path: str) -> object:
    parent, leaf = path.split(".")
    return getattr(getattr(block, parent, None), leaf, None)


def _norm(index: int, block: nn.Module, name: Position, path: str) -> list[Site]:
    norm = getattr(block, name, None)
    if not isinstance(norm, nn.LayerNorm) or norm.weight is None:
        return []
    width = norm.normalized_shape[0]
    return [Site(index, name, width, width, f"{path}.{name}")]


def _entrance(block: nn.Module, norm: str, branch: str) -> str | None:
    """Return the first module of a residual branch: its norm, or itself where that comes after."""
    if not isinstance(getattr(block, branch, None), nn.Module):
        return None
    before = hasattr(block, norm) and type(block).__name__ not in _POST_NORM
    return norm if before else branch


def _takes_prompts(block: nn.Module) -> bool:
    """Return whether a block takes a sequence of any length and a mask of its attention."""
    taken = inspect.signature(block.forward).parameters
    return "attn_mask" in taken and "rope" not in taken
