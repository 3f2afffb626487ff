"""The sites of a transformer block that is built as timm builds its blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from rsmeta.peft.sites import Position, Site

if TYPE_CHECKING:
    from collections.abc import Iterable


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
        block: The block, with ``attn.qkv`` (or a projection each: ``attn.q_proj``, …),
            ``attn.proj``, ``mlp.fc1`` (in a gated MLP the values' ``mlp.fc1_x``), ``mlp.fc2``.
        path: Where it stands in the backbone, dotted.
    """
    found: list[Site] = []
    qkv = getattr(getattr(block, "attn", None), "qkv", None)
    if isinstance(qkv, nn.Linear) and qkv.out_features % 3 == 0:
        width = qkv.out_features // 3
        fused: tuple[Position, ...] = ("q", "k", "v")
        for i, position in enumerate(fused):
            rows = (i * width, (i + 1) * width)
            found.append(Site(index, position, qkv.in_features, width, f"{path}.attn.qkv", rows))
    for position, name in _SINGLE:
        parent, leaf = name.split(".")
        layer = getattr(getattr(block, parent, None), leaf, None)
        if isinstance(layer, nn.Linear):
            widths = layer.in_features, layer.out_features
            found.append(Site(index, position, *widths, f"{path}.{name}"))
    dim = found[0].in_features if found else 0
    return [*found, Site(index, "block", dim, dim, path)]
