"""Swin transformers of timm as backbones: four stages, each half as fine and wider."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from rsmeta.models.backbone import Backbone, Features
from rsmeta.models.block_sites import block_sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from timm.models import SwinTransformer, SwinTransformerV2
    from torch import Tensor, nn

    from rsmeta.geo.bands import Band
    from rsmeta.models.checkpoint import LoadReport
    from rsmeta.models.records import BackboneRecord
    from rsmeta.models.stem import StemReport
    from rsmeta.peft.sites import Site


class TimmSwin(Backbone):
    """A timm ``SwinTransformer`` or ``SwinTransformerV2``, without its classifier.

    Blocks are counted through all stages. Maps of the last stage carry the network's own final
    norm; those of earlier stages, which have none, are normalised over their channels without
    weights.

    Args:
        swin: The network, fitted to the bands, of dynamic image size.
        bands: Bands of the input, in its order.
        record: What is known of the weights.
        stem_report: Where the filter of each band came from.
        load_report: Which tensors were loaded; none: the weights are random.

    Source: "Swin Transformer", Liu et al., ICCV 2021; "Swin Transformer V2", Liu et al., CVPR
    2022.
    """

    def __init__(
        self,
        swin: SwinTransformer | SwinTransformerV2,
        bands: Sequence[Band],
        *,
        record: BackboneRecord,
        stem_report: StemReport,
        load_report: LoadReport | None,
    ) -> None:
        super().__init__(bands, record=record, stem_report=stem_report, load_report=load_report)
        self.swin = cast("Any", swin)  # timm types its stages as bare modules
        self.grad_checkpointing = False
        # How many blocks have been passed at the end of each stage.
        self._ends = tuple(accumulate(len(stage.blocks) for stage in self.swin.layers))
        self._sites = tuple(
            site
            for i, (stage, block) in enumerate(self._places())
            for site in block_sites(
                i, self.swin.layers[stage].blocks[block], f"swin.layers.{stage}.blocks.{block}"
            )
        )

    @property
    def dim(self) -> int:
        """Width D of the features of the last block."""
        return int(self.swin.num_features)

    @property
    def dims(self) -> tuple[int, ...]:
        """Width of the feature map after each block."""
        widths = [int(info["num_chs"]) for info in self.swin.feature_info]
        return tuple(widths[stage] for stage, _ in self._places())

    @property
    def strides_px(self) -> tuple[int, ...]:
        """Pixels of the image per pixel of the feature map after each block."""
        return tuple(self.patch_px * 2**stage for stage, _ in self._places())

    @property
    def levels(self) -> tuple[int, ...]:
        """The last block of each of the four stages."""
        ends = tuple(end - 1 for end in self._ends)
        return ends if len(ends) == 4 else super().levels

    @property
    def patch_px(self) -> int:
        """Side of a patch of the first stage, pixels."""
        return int(self.swin.patch_embed.patch_size[0])

    @property
    def depth(self) -> int:
        """Number of blocks in all stages."""
        return self._ends[-1]

    @property
    def patch_embed(self) -> nn.Module:
        """The patch embedding."""
        return cast("nn.Module", self.swin.patch_embed)

    def sites(self) -> tuple[Site, ...]:
        """Return all sites in the order in which data pass them."""
        return self._sites

    def forward(self, x: Tensor) -> Features:
        """Return normalised features of the last block, and their mean.

        Args:
            x: Prepared images (B, C, H, W); padded to multiples of the coarsest stride with 0.
        """
        last = self.dense(x, (self.depth - 1,))[0]
        cls = self.swin.forward_head(last.permute(0, 2, 3, 1), pre_logits=True)
        return Features(last, cls)

    def dense(self, x: Tensor, depths: Sequence[int]) -> list[Tensor]:
        """Return feature maps (B, D, h, w) after the blocks ``depths``, normalised.

        Args:
            x: Prepared images (B, C, H, W); padded to multiples of the coarsest stride with 0.
            depths: Indices of blocks, from 0.

        Raises:
            IndexError: A block that does not exist.
        """
        if not 0 <= min(depths) <= max(depths) < self.depth:
            raise IndexError(f"blocks {sorted(depths)} of {self.depth}")
        again = self.grad_checkpointing and self.training and torch.is_grad_enabled()
        tokens = self.swin.patch_embed(self.enter(x))
        maps: dict[int, Tensor] = {}
        for i, (stage, place) in enumerate(self._places()[: max(depths) + 1]):
            if place == 0:
                tokens = self.swin.layers[stage].downsample(tokens)
            block = self.swin.layers[stage].blocks[place]
            tokens = checkpoint(block, tokens, use_reentrant=False) if again else block(tokens)
            if i in depths:
                maps[i] = self._normal(tokens, stage).permute(0, 3, 1, 2)
        return [maps[depth] for depth in depths]

    def _normal(self, tokens: Tensor, stage: int) -> Tensor:
        if stage == len(self._ends) - 1:
            return cast("Tensor", self.swin.norm(tokens))
        return functional.layer_norm(tokens, tokens.shape[-1:])

    def _places(self) -> list[tuple[int, int]]:
        """Return (stage, block within it) of every block."""
        return [
            (s, b) for s, stage in enumerate(self.swin.layers) for b in range(len(stage.blocks))
        ]
