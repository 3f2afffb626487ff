"""The encoders of SatMAE: tokens from images, blocks, normalisation; names as published."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rsmeta.models.satmae.options import DATE_DIM, Layout, Resampling
from rsmeta.models.satmae.positions import embed_dates, fit_grid, sincos_1d, sincos_2d

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from rsmeta.models.checkpoint import StateDict
    from rsmeta.models.satmae.groups import ChannelGroup

_EPS = 1e-6


class PatchEmbed(nn.Module):
    """Cut an image into patches and map each to a token.

    Args:
        channels: Bands C.
        dim: Width of a token D.
        patch_px: Side of a patch, pixels.
    """

    def __init__(self, channels: int, dim: int, patch_px: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, patch_px, stride=patch_px)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, h · w, D), row by row, of an image (B, C, H, W)."""
        tokens: Tensor = self.proj(x)
        return tokens.flatten(2).transpose(1, 2)


class Encoder(nn.Module, ABC):
    """A SatMAE encoder as it is fine-tuned: the class token has a place, too.

    Args:
        layout: Its measures.
        place_dim: Width of the position embeddings; the rest distinguishes groups or dates.
        resampling: How positions of another image size come about.
        grad_checkpointing: Compute blocks again in the backward pass.

    Source: "SatMAE: Pre-training Transformers for Temporal and Multi-Spectral Satellite
    Imagery", Cong et al., NeurIPS 2022, sections 3.1 to 3.3.
    """

    pos_embed: Tensor

    def __init__(
        self,
        layout: Layout,
        place_dim: int,
        *,
        resampling: Resampling = "recompute",
        grad_checkpointing: bool = False,
    ) -> None:
        from timm.models.vision_transformer import Block

        super().__init__()
        self.layout = layout
        self.resampling = resampling
        self.grad_checkpointing = grad_checkpointing
        norm: Any = partial(nn.LayerNorm, eps=_EPS)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, layout.dim))
        self.register_buffer("pos_embed", sincos_2d(*layout.grid, place_dim))
        # Half a unit more, so that rounding down cannot lose one.
        ratio = (layout.hidden + 0.5) / layout.dim
        self.blocks = nn.ModuleList(
            Block(layout.dim, layout.heads, mlp_ratio=ratio, qkv_bias=True, norm_layer=norm)
            for _ in range(layout.depth)
        )
        self.norm = nn.Identity() if layout.global_pool else norm(layout.dim)
        self.fc_norm = norm(layout.dim) if layout.global_pool else nn.Identity()

    @property
    @abstractmethod
    def parts(self) -> int:
        """How many tokens each patch has: groups or dates, P."""

    def run(self, tokens: Tensor, depths: Collection[int]) -> dict[int, Tensor]:
        """Pass tokens through the blocks, as far as they are needed.

        Args:
            tokens: (B, 1 + P · h · w, D), the class token first.
            depths: Indices of blocks, from 0.

        Returns:
            Tokens after each of these blocks, not normalised.

        Raises:
            IndexError: A block that does not exist.
        """
        last = max(depths)
        if not 0 <= min(depths) <= last < len(self.blocks):
            raise IndexError(f"blocks {sorted(depths)} of {len(self.blocks)}")
        again = self.grad_checkpointing and self.training and torch.is_grad_enabled()
        kept: dict[int, Tensor] = {}
        for i, block in enumerate(self.blocks[: last + 1]):
            tokens = checkpoint(block, tokens, use_reentrant=False) if again else block(tokens)
            if i in depths:
                kept[i] = tokens
        return kept

    def pool(self, tokens: Tensor) -> Tensor:
        """Return one feature vector per image (B, D) from the tokens after the last block."""
        if self.layout.global_pool:
            pooled: Tensor = self.fc_norm(tokens[:, 1:].mean(dim=1))
            return pooled
        normal: Tensor = self.norm(tokens[:, 0])
        return normal

    def patches(self, tokens: Tensor) -> Tensor:
        """Return the tokens of the patches alone, normalised, (B, P, h · w, D)."""
        normal: Tensor = self.fc_norm(self.norm(tokens[:, 1:]))
        return normal.reshape(normal.shape[0], self.parts, -1, normal.shape[-1])

    def places(self, rows: int, cols: int) -> Tensor:
        """Return the position embeddings (1, 1 + rows · cols, D_place) of a grid of patches."""
        return fit_grid(self.pos_embed, self.layout.grid, (rows, cols), how=self.resampling)

    def start(self) -> None:
        """Give all weights random values, as masked autoencoders are initialised."""
        nn.init.normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                # A patch embedding is a linear map of flattened patches.
                nn.init.xavier_uniform_(module.weight.detach().flatten(1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def _grid(self, x: Tensor) -> tuple[int, int]:
        patch = self.layout.patch_px
        return x.shape[-2] // patch, x.shape[-1] // patch

    def _with_cls(self, tokens: Tensor, cls_place: Tensor) -> Tensor:
        cls = (self.cls_token + cls_place).expand(tokens.shape[0], -1, -1)
        return torch.cat((cls, tokens), dim=1)


class ImageEncoder(Encoder):
    """SatMAE for RGB: one token per patch.

    Args:
        layout: Its measures.
        channels: Bands C.
        resampling: How positions of another image size come about.
        grad_checkpointing: Compute blocks again in the backward pass.
    """

    def __init__(
        self,
        layout: Layout,
        channels: int,
        *,
        resampling: Resampling = "recompute",
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__(
            layout, layout.dim, resampling=resampling, grad_checkpointing=grad_checkpointing
        )
        self.patch_embed = PatchEmbed(channels, layout.dim, layout.patch_px)
        self.start()

    @property
    def parts(self) -> int:
        """One token per patch."""
        return 1

    def embed(self, x: Tensor) -> Tensor:
        """Return tokens (B, 1 + h · w, D) of images (B, C, H, W), sides multiples of the patch."""
        place = self.places(*self._grid(x))
        return self._with_cls(self.patch_embed(x) + place[:, 1:], place[:, :1])


class GroupEncoder(Encoder):
    """SatMAE for multispectral images: one token per patch and channel group.

    Args:
        layout: Its measures.
        groups: Groups that have a band; the others leave the sequence.
        total: Number of all groups, empty ones included.
        resampling: How positions of another image size come about.
        grad_checkpointing: Compute blocks again in the backward pass.
    """

    channel_embed: Tensor

    def __init__(
        self,
        layout: Layout,
        groups: Sequence[ChannelGroup],
        total: int,
        *,
        resampling: Resampling = "recompute",
        grad_checkpointing: bool = False,
    ) -> None:
        place_dim = layout.dim - layout.channel_dim
        super().__init__(
            layout, place_dim, resampling=resampling, grad_checkpointing=grad_checkpointing
        )
        self.groups = tuple(groups)
        # Keyed by the published index of a group, which an empty group takes along.
        self.patch_embed = nn.ModuleDict(
            {str(g.index): PatchEmbed(len(g.inputs), layout.dim, layout.patch_px) for g in groups}
        )
        channels = sincos_1d(torch.arange(total), layout.channel_dim).float()
        self.register_buffer("channel_embed", channels[None])
        self.channel_cls_embed = nn.Parameter(torch.zeros(1, 1, layout.channel_dim))
        self.start()

    @property
    def parts(self) -> int:
        """Groups that have a band, G."""
        return len(self.groups)

    def embed(self, x: Tensor) -> Tensor:
        """Return tokens of images, the class token first, then group after group.

        Args:
            x: (B, C, H, W), sides multiples of the patch.

        Returns:
            (B, 1 + G · h · w, D).
        """
        place = self.places(*self._grid(x))
        cls_place = torch.cat((place[:, :1], self.channel_cls_embed), dim=-1)
        return self._with_cls(self._embed_patches(x, place), cls_place)

    def embed_patches(self, x: Tensor) -> Tensor:
        """Return the tokens of the patches alone, (B, G · h · w, D); ``x`` as in ``embed``."""
        return self._embed_patches(x, self.places(*self._grid(x)))

    def _embed_patches(self, x: Tensor, place: Tensor) -> Tensor:
        found = []
        for group in self.groups:
            # Stacked, not indexed: an index would travel to the device with every batch.
            inputs = torch.stack([x[:, i] for i in group.inputs], dim=1)
            tokens = self.patch_embed[str(group.index)](inputs)
            kind = self.channel_embed[:, group.index, None].expand(-1, tokens.shape[1], -1)
            found.append(tokens + torch.cat((place[:, 1:], kind), dim=-1))
        return torch.cat(found, dim=1)


class TemporalEncoder(Encoder):
    """SatMAE for images of one place at several dates: one token per patch and date.

    Args:
        layout: Its measures; wider than the embedding of a date.
        channels: Bands C.
        dates: Number of dates T.
        resampling: How positions of another image size come about.
        grad_checkpointing: Compute blocks again in the backward pass.
    """

    def __init__(
        self,
        layout: Layout,
        channels: int,
        dates: int,
        *,
        resampling: Resampling = "recompute",
        grad_checkpointing: bool = False,
    ) -> None:
        place_dim = layout.dim - DATE_DIM
        super().__init__(
            layout, place_dim, resampling=resampling, grad_checkpointing=grad_checkpointing
        )
        self.dates = dates
        self.patch_embed = PatchEmbed(channels, layout.dim, layout.patch_px)
        self.start()

    @property
    def parts(self) -> int:
        """Dates T."""
        return self.dates

    def embed(self, x: Tensor, timestamps: Tensor) -> Tensor:
        """Return tokens of images, date after date.

        Args:
            x: (B, T, C, H, W), sides multiples of the patch.
            timestamps: (B, T, 3): years since 2002, months since January (0 to 11), hours.

        Returns:
            (B, 1 + T · h · w, D).
        """
        place = self.places(*self._grid(x))
        batch, dates = x.shape[:2]
        tokens = self.patch_embed(x.flatten(0, 1)).reshape(batch, dates, -1, self.layout.dim)
        when = embed_dates(timestamps.to(x.device), DATE_DIM).to(place.dtype)
        where = place[:, None, 1:].expand(batch, dates, -1, -1)
        when = when[:, :, None].expand(-1, -1, where.shape[2], -1)
        tokens = tokens + torch.cat((where, when), dim=-1)
        cls_place = nn.functional.pad(place[:, :1], (0, DATE_DIM))
        return self._with_cls(tokens.flatten(1, 2), cls_place)


def backbone_state(encoder: GroupEncoder, dtype: torch.dtype | None = None) -> StateDict:
    """Return the encoder's tensors under SatMAE's published names; empty groups are left out.

    Args:
        encoder: The encoder.
        dtype: Of what was learned; none: its own. The formulas' embeddings are always float32.
    """
    learned = {name for name, _ in encoder.named_parameters()}
    places = {group.index: i for i, group in enumerate(encoder.groups)}
    state: StateDict = {}
    for key, value in encoder.state_dict().items():
        if key == "channel_cls_embed":  # pretraining does not learn it
            continue
        kept, name = value, key
        if key == "channel_embed":
            kept = value[:, list(places)]
        elif key.startswith("patch_embed."):
            _, index, rest = key.split(".", 2)
            name = f"patch_embed.{places[int(index)]}.{rest}"
        kept = kept if dtype is None or key not in learned else kept.to(dtype)
        state[name] = kept.detach().cpu().contiguous()
    return state
