"""A patch embedding that weighs bands against each other in every patch, as Panopticon does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from rsmeta.models.checkpoint import StateDict

#: Heads of the attention over bands; tensors do not show them.
HEADS = 16

#: Tensors with one row per band.
BAND_ROWS = ("score_bias", "value_bias")


class ChannelAttention(nn.Module):
    """Attention over bands, one learned query for all patches, folded for fixed bands.

    As published, each band's patch passes a linear map to A numbers, gets the embedding of its
    band added, and becomes key and value. Query and projections are constants, so that scores
    are a filter of the pixels per head, and tokens are a filter of the pixels mixed per head:
    the same numbers, for a fraction of the work.

    Args:
        image_px: Side of the images that positions are stored for.
        patch_px: Side of a patch, pixels.
        channels: Bands C.
        dim: Width of a token D.
        heads: Heads N.

    Source: "Panopticon: Advancing Any-Sensor Foundation Models for Earth Observation", Waldmann
    et al., 2025, section 3.1.
    """

    def __init__(
        self, image_px: int, patch_px: int, channels: int, dim: int, heads: int = HEADS
    ) -> None:
        super().__init__()
        # What timm's transformers ask of a patch embedding.
        self.patch_size = (patch_px, patch_px)
        self.img_size = (image_px, image_px)
        self.grid_size = (image_px // patch_px, image_px // patch_px)
        self.score_weight = nn.Parameter(torch.empty(heads, 1, patch_px, patch_px))
        self.score_bias = nn.Parameter(torch.zeros(channels, heads))
        self.value_weight = nn.Parameter(torch.empty(dim, heads, patch_px, patch_px))
        self.value_bias = nn.Parameter(torch.zeros(channels, heads, dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        for weight in (self.score_weight, self.value_weight, self.value_bias):
            nn.init.trunc_normal_(weight, std=0.02)

    def dynamic_feat_size(self, img_size: tuple[int, int]) -> tuple[int, int]:
        """Return rows and columns of patches of an image; timm's name."""
        return img_size[0] // self.patch_size[0], img_size[1] // self.patch_size[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, h, w, D) of images (B, C, h p, w p)."""
        patch_px = self.patch_size[0]
        rows, cols = self.dynamic_feat_size((x.shape[-2], x.shape[-1]))
        alone = x.flatten(0, 1)[:, None]
        scores = functional.conv2d(alone, self.score_weight, stride=patch_px)
        scores = scores.reshape(*x.shape[:2], -1, rows, cols) + self.score_bias[..., None, None]
        shares = scores.softmax(dim=1)  # (B, C, N, h, w)
        patches = x.reshape(*x.shape[:2], rows, patch_px, cols, patch_px)
        mixed = torch.einsum("bcnhw,bchiwj->bhwnij", shares, patches)
        tokens = functional.linear(mixed.flatten(3), self.value_weight.flatten(1), self.bias)
        return tokens + torch.einsum("bcnhw,cnd->bhwd", shares, self.value_bias)


def fold(state: StateDict, bands: Tensor, heads: int = HEADS) -> StateDict:
    """Return the tensors of a ``ChannelAttention`` for bands.

    Args:
        state: The patch embedding as published, without ``patch_embed.`` before its names.
        bands: Embeddings of the bands, (C, A).
        heads: Heads N.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: Tensors do not fit each other.
    """
    cut, cut_bias = state["conv3d.conv3d.weight"].double(), state["conv3d.conv3d.bias"].double()
    inner = cut.shape[0]
    keys = state["chnfus.xattn.inproj_k.weight"].double().reshape(heads, -1, inner)
    values = state["chnfus.xattn.inproj_v.weight"].double().reshape(heads, -1, inner)
    out = state["proj.weight"].double().reshape(-1, heads, inner // heads)
    query = state["chnfus.query"].double().reshape(heads, -1)
    side, flat = cut.shape[-1], cut.flatten(1)  # (A, p p)
    constant = bands.double() + cut_bias  # (C, A)
    scores = torch.einsum("nd,nda->na", query * query.shape[1] ** -0.5, keys)
    weights, biases = [], []
    for head in range(heads):  # all at once they would take 16 times the memory
        tokens = out[:, head] @ values[head]  # (D, A)
        weights.append(tokens @ flat)
        biases.append(constant @ tokens.T)
    return {
        "score_weight": (scores @ flat).float().reshape(heads, 1, side, side),
        "score_bias": (constant @ scores.T).float(),
        "value_weight": torch.stack(weights, 1).float().reshape(-1, heads, side, side),
        "value_bias": torch.stack(biases, 1).float(),
        "bias": state["proj.bias"].float(),
    }
