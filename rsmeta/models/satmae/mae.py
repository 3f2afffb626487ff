"""Masked autoencoding of multispectral images: hide tokens, rebuild their pixels."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from rsmeta.models.satmae.positions import fit_grid, sincos_1d, sincos_2d

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.models.checkpoint import StateDict
    from rsmeta.models.satmae.encoder import GroupEncoder

_EPS = 1e-6

#: What of a fine-tuning encoder pretraining does not have.
_NOT_PRETRAINED = ("channel_cls_embed",)


class Mask(NamedTuple):
    """Which tokens are hidden.

    Args:
        kept: Indices of the visible tokens, (B, K), in the order in which they are encoded.
        restore: Where each token stands among visible, then hidden ones, (B, N).
        hidden: 1 where a token is hidden, else 0, (B, N) float.
    """

    kept: Tensor
    restore: Tensor
    hidden: Tensor


class Reconstruction(NamedTuple):
    """What an autoencoder makes of a batch.

    Args:
        pixels: Predicted patches of every band (B, C, h · w, p²), bands as in the input.
        hidden: 1 where a group's patch was hidden (B, G, h · w).
        latent: Encoded visible tokens, the class token first (B, 1 + K, D).
    """

    pixels: Tensor
    hidden: Tensor
    latent: Tensor


def draw_mask(noise: Tensor, ratio: float) -> Mask:
    """Hide the tokens with the largest noise.

    Args:
        noise: One random number per token, (B, N).
        ratio: Share to hide, in [0, 1); at least one token stays.

    Raises:
        ValueError: ``ratio`` is outside of [0, 1).
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"the share of hidden tokens must be in [0, 1), not {ratio}")
    order = noise.argsort(dim=1)
    restore = order.argsort(dim=1)
    keep = max(int(noise.shape[1] * (1 - ratio)), 1)
    return Mask(order[:, :keep], restore, (restore >= keep).to(noise.dtype))


def to_patches(x: Tensor, patch_px: int) -> Tensor:
    """Cut images (B, C, H, W) into patches (B, C, h · w, p²), row by row inside and out."""
    batch, bands, height, width = x.shape
    rows, cols = height // patch_px, width // patch_px
    cut = x.reshape(batch, bands, rows, patch_px, cols, patch_px).transpose(3, 4)
    return cut.reshape(batch, bands, rows * cols, patch_px**2)


def from_patches(patches: Tensor, rows: int, cols: int) -> Tensor:
    """Undo ``to_patches``: (B, C, h · w, p²) with h = ``rows``, w = ``cols`` to (B, C, H, W)."""
    batch, bands, _, size = patches.shape
    side = round(size**0.5)
    cut = patches.reshape(batch, bands, rows, cols, side, side).transpose(3, 4)
    return cut.reshape(batch, bands, rows * side, cols * side)


def patch_moments(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of patches (B, C, h · w, p²) over all bands, (B, 1, h · w, 1)."""
    centre = patches.mean(dim=(1, 3), keepdim=True)
    spread = patches.var(dim=(1, 3), keepdim=True)
    return centre, (spread + _EPS).sqrt()


class GroupAutoencoder(nn.Module):
    """The multispectral masked autoencoder: an encoder of visible tokens, and a small decoder.

    Args:
        encoder: Encoder with the class token's pooling; its class token has no place here.
        dim: Width of the decoder.
        channel_dim: Width of its group embedding.
        depth: Number of its blocks.
        heads: Its attention heads.
        outputs: For each prediction, group after group, the input band that it is for; none:
            the group's own bands in order. The published program pairs the predictions, in
            group order, with the bands in the order of its input; only its weights need that.

    Raises:
        ValueError: The encoder pools patches, or ``outputs`` does not name each band once.

    Source: "SatMAE", Cong et al., NeurIPS 2022, section 3.2; "Masked Autoencoders Are Scalable
    Vision Learners", He et al., CVPR 2022.
    """

    decoder_pos_embed: Tensor

    def __init__(
        self,
        encoder: GroupEncoder,
        *,
        dim: int = 512,
        channel_dim: int = 128,
        depth: int = 8,
        heads: int = 16,
        outputs: Sequence[int] | None = None,
    ) -> None:
        from timm.models.vision_transformer import Block

        super().__init__()
        if encoder.layout.global_pool:
            raise ValueError("masked autoencoding needs an encoder without global_pool")
        own = [i for group in encoder.groups for i in group.inputs]
        self.outputs = tuple(own if outputs is None else outputs)
        if sorted(self.outputs) != sorted(own):
            raise ValueError(f"outputs={self.outputs} must name each of {len(own)} bands once")
        layout, total = encoder.layout, encoder.channel_embed.shape[1]
        norm: Any = partial(nn.LayerNorm, eps=_EPS)
        self.encoder = encoder
        self.decoder_embed = nn.Linear(layout.dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.register_buffer("decoder_pos_embed", sincos_2d(*layout.grid, dim - channel_dim))
        # One more than there are groups: the last stands for the class token.
        kinds = sincos_1d(torch.arange(total + 1), channel_dim).float()[None]
        self.register_buffer("decoder_channel_embed", kinds)
        ratio = layout.hidden / layout.dim
        self.decoder_blocks = nn.ModuleList(
            Block(dim, heads, mlp_ratio=ratio, qkv_bias=True, norm_layer=norm) for _ in range(depth)
        )
        self.decoder_norm = norm(dim)
        self.decoder_pred = nn.ModuleDict(
            {
                str(group.index): nn.Linear(dim, len(group.inputs) * layout.patch_px**2)
                for group in encoder.groups
            }
        )
        nn.init.normal_(self.mask_token, std=0.02)

    def noise_shape(self, x: Tensor, *, spatial: bool) -> tuple[int, int]:
        """Return the shape (B, N) of the noise that ``forward`` needs for images (B, C, H, W)."""
        rows, cols = self._grid(x)
        return x.shape[0], rows * cols * (1 if spatial else self.encoder.parts)

    def forward(self, x: Tensor, noise: Tensor, ratio: float = 0.75) -> Reconstruction:
        """Hide tokens and rebuild every band.

        Args:
            x: Prepared images (B, C, H, W), sides multiples of the patch.
            noise: (B, G · h · w) hides the groups of a patch independently, (B, h · w) hides all
                groups of a patch together.
            ratio: Share of tokens to hide.
        """
        mask = draw_mask(noise, ratio)
        rows, cols = self._grid(x)
        parts, count = self.encoder.parts, rows * cols
        spatial = noise.shape[1] == count
        latent = self._encode(x, mask, spatial=spatial)
        tokens = self._decode(latent, mask, (rows, cols), spatial=spatial)
        pixels = self._predict(tokens.reshape(x.shape[0], parts, count, -1))
        hidden = mask.hidden[:, None] if spatial else mask.hidden.reshape(-1, parts, count)
        return Reconstruction(pixels, hidden.expand(-1, parts, -1), latent)

    def loss(
        self,
        x: Tensor,
        made: Reconstruction,
        *,
        normalise: bool = False,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Return the mean squared error over hidden patches, each group counting alike, ().

        Args:
            x: What was hidden and rebuilt, (B, C, H, W).
            made: What ``forward`` returned for it.
            normalise: Compare with patches of mean 0 and deviation 1 over all their bands.
            valid: Pixels that count, (B, H, W) bool; a patch with any other one does not. None:
                all of them.
        """
        patch_px = self.encoder.layout.patch_px
        wanted = to_patches(x, patch_px)
        if normalise:
            centre, spread = patch_moments(wanted)
            wanted = (wanted - centre) / spread
        per_band = (made.pixels - wanted).square().mean(dim=-1)
        per_group = [per_band[:, list(g.inputs)].mean(dim=1) for g in self.encoder.groups]
        counted = made.hidden
        if valid is not None:
            counted = counted * to_patches(valid[:, None], patch_px).all(dim=-1)
        total = (torch.stack(per_group, dim=1) * counted).sum()
        return total / counted.sum().clamp(min=1)

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that an optimizer takes."""
        return [p for p in self.parameters() if p.requires_grad]

    def published_state(self) -> StateDict:
        """Return all tensors under the published names of a pretraining checkpoint."""
        state = {key.removeprefix("encoder."): value for key, value in self.state_dict().items()}
        return {key: value for key, value in state.items() if key not in _NOT_PRETRAINED}

    def load_published_state(self, state: StateDict) -> None:
        """Take the tensors of a pretraining checkpoint, as published.

        Raises:
            RuntimeError: A tensor is missing, left over or of another shape.
        """
        own = {key.removeprefix("encoder."): key for key in self.state_dict()}
        renamed = {own.get(key, key): value for key, value in state.items()}
        for key in _NOT_PRETRAINED:
            renamed[own[key]] = self.state_dict()[own[key]]
        self.load_state_dict(renamed)

    def _encode(self, x: Tensor, mask: Mask, *, spatial: bool) -> Tensor:
        tokens = self.encoder.embed_patches(x)
        tokens = _folded(tokens, self.encoder.parts) if spatial else tokens
        tokens = _taken(tokens, mask.kept)
        tokens = _unfolded(tokens, self.encoder.parts) if spatial else tokens
        cls = self.encoder.cls_token.expand(x.shape[0], -1, -1)
        last = len(self.encoder.blocks) - 1
        tokens = self.encoder.run(torch.cat((cls, tokens), dim=1), {last})[last]
        normal: Tensor = self.encoder.norm(tokens)
        return normal

    def _decode(
        self, latent: Tensor, mask: Mask, grid: tuple[int, int], *, spatial: bool
    ) -> Tensor:
        """Return decoded tokens of all patches (B, G · h · w, D_decoder), without the class's."""
        parts = self.encoder.parts
        inner: Tensor = self.decoder_embed(latent)
        cls, tokens = inner[:, :1], inner[:, 1:]
        tokens = _folded(tokens, parts) if spatial else tokens
        filler = self.mask_token.repeat(1, 1, parts if spatial else 1)
        absent = mask.restore.shape[1] - tokens.shape[1]
        tokens = torch.cat((tokens, filler.expand(tokens.shape[0], absent, -1)), dim=1)
        tokens = _taken(tokens, mask.restore)
        tokens = _unfolded(tokens, parts) if spatial else tokens
        inner = torch.cat((cls, tokens), dim=1) + self._decoder_places(grid)
        for block in self.decoder_blocks:
            inner = block(inner)
        normal: Tensor = self.decoder_norm(inner)
        return normal[:, 1:]

    def _decoder_places(self, grid: tuple[int, int]) -> Tensor:
        place = fit_grid(
            self.decoder_pos_embed,
            self.encoder.layout.grid,
            grid,
            how=self.encoder.resampling,
        )
        kinds: Tensor = self.get_buffer("decoder_channel_embed")
        found = [torch.cat((place[:, :1], kinds[:, -1:]), dim=-1)]
        for group in self.encoder.groups:
            kind = kinds[:, group.index, None].expand(-1, place.shape[1] - 1, -1)
            found.append(torch.cat((place[:, 1:], kind), dim=-1))
        return torch.cat(found, dim=1)

    def _predict(self, tokens: Tensor) -> Tensor:
        """Return patches (B, C, h · w, p²) of decoded tokens (B, G, h · w, D_decoder)."""
        found = []
        for i, group in enumerate(self.encoder.groups):
            made = self.decoder_pred[str(group.index)](tokens[:, i])
            bands = made.reshape(*made.shape[:2], len(group.inputs), -1)
            found.append(bands.transpose(1, 2))
        slots = torch.cat(found, dim=1)
        order = sorted(range(len(self.outputs)), key=self.outputs.__getitem__)
        return slots[:, order]

    def _grid(self, x: Tensor) -> tuple[int, int]:
        patch = self.encoder.layout.patch_px
        return x.shape[-2] // patch, x.shape[-1] // patch


def _taken(tokens: Tensor, index: Tensor) -> Tensor:
    """Return tokens (B, K, D) at the indices (B, K) of tokens (B, N, D)."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def _folded(tokens: Tensor, parts: int) -> Tensor:
    """Put the groups of a patch side by side: (B, G · N, D) to (B, N, G · D)."""
    batch, count, dim = tokens.shape
    grouped = tokens.reshape(batch, parts, count // parts, dim).transpose(1, 2)
    return grouped.reshape(batch, count // parts, parts * dim)


def _unfolded(tokens: Tensor, parts: int) -> Tensor:
    """Undo ``_folded``: (B, N, G · D) to (B, G · N, D)."""
    batch, count, width = tokens.shape
    grouped = tokens.reshape(batch, count, parts, width // parts).transpose(1, 2)
    return grouped.reshape(batch, parts * count, width // parts)
