"""Plain vision transformers of timm as backbones: ViT, DeiT, CLIP, SigLIP, DINOv2/3, EVA."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rsmeta.models.backbone import Backbone, Features
from rsmeta.models.block_sites import sites_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from timm.models import Eva, VisionTransformer
    from torch import Tensor, nn

    from rsmeta.geo.bands import Band
    from rsmeta.models.checkpoint import LoadReport
    from rsmeta.models.records import BackboneRecord
    from rsmeta.models.stem import StemReport
    from rsmeta.peft.sites import Site


class TimmViT(Backbone):
    """A timm ``VisionTransformer`` or ``Eva``, without its classifier.

    Args:
        vit: The network, fitted to the bands.
        bands: Bands of the input, in its order.
        record: What is known of the weights.
        stem_report: Where the filter of each band came from.
        load_report: Which tensors were loaded; none: the weights are random.
    """

    def __init__(
        self,
        vit: VisionTransformer | Eva,
        bands: Sequence[Band],
        *,
        record: BackboneRecord,
        stem_report: StemReport,
        load_report: LoadReport | None,
    ) -> None:
        super().__init__(bands, record=record, stem_report=stem_report, load_report=load_report)
        self.vit = vit
        self._sites = sites_of(vit.blocks, "vit.blocks")

    @property
    def dim(self) -> int:
        """Width D of the features."""
        return int(self.vit.embed_dim)

    @property
    def patch_px(self) -> int:
        """Side of a patch, pixels."""
        return int(self.vit.patch_embed.patch_size[0])

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.vit.blocks)

    @property
    def patch_embed(self) -> nn.Module:
        """The patch embedding."""
        return cast("nn.Module", self.vit.patch_embed)

    def sites(self) -> tuple[Site, ...]:
        """Return all sites in the order in which data pass them."""
        return self._sites

    def forward(self, x: Tensor) -> Features:
        """Return normalised features of the last block, and timm's own pooled features.

        Args:
            x: Prepared images (B, C, H, W); padded to multiples of the patch with 0.
        """
        x = self.enter(x)
        tokens = self.vit.forward_features(x)
        cls = self.vit.forward_head(tokens, pre_logits=True)
        patches = self.vit.fc_norm(tokens[:, self.vit.num_prefix_tokens :])
        return Features(self._as_map(patches, x), cls)

    def dense(self, x: Tensor, depths: Sequence[int]) -> list[Tensor]:
        """Return feature maps (B, D, h, w) after the blocks ``depths``, normalised as the last.

        Args:
            x: Prepared images (B, C, H, W); padded to multiples of the patch with 0.
            depths: Indices of blocks, from 0.
        """
        x = self.enter(x)
        order = sorted(set(depths))
        maps = self.vit.forward_intermediates(
            x,
            indices=order,
            norm=True,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        by_depth = dict(zip(order, maps, strict=True))
        return [self._as_map(self.vit.fc_norm(by_depth[depth]), x) for depth in depths]

    def _as_map(self, patches: Tensor, x: Tensor) -> Tensor:
        rows, cols = x.shape[-2] // self.patch_px, x.shape[-1] // self.patch_px
        patches = patches[:, : rows * cols]  # prompts may follow them
        return patches.transpose(1, 2).reshape(x.shape[0], self.dim, rows, cols)
