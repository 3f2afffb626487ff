"""SatMAE encoders as backbones: maps at any depth, sites, stem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from rsmeta.errors import ConfigError
from rsmeta.models.backbone import Backbone, Features, OwnWeights
from rsmeta.models.block_sites import sites_of
from rsmeta.models.satmae.encoder import (
    Encoder,
    GroupEncoder,
    ImageEncoder,
    TemporalEncoder,
    backbone_state,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from rsmeta.geo.bands import Band
    from rsmeta.models.checkpoint import LoadReport
    from rsmeta.models.records import BackboneRecord
    from rsmeta.models.satmae.options import Merging
    from rsmeta.models.stem import StemReport
    from rsmeta.peft.sites import Site

E_co = TypeVar("E_co", bound=Encoder, covariant=True)


class SatmaeBackbone(Backbone, Generic[E_co]):
    """What the three families share.

    Args:
        vit: The encoder, fitted to the bands.
        bands: Bands of the input, in its order.
        merge: What becomes of the maps of groups or dates: their ``mean``, or all of them side
            by side (``concat``), which makes ``dim`` as many times as wide.
        record: What is known of the weights.
        stem_report: Where the filter of each band came from.
        load_report: Which tensors were loaded; none: the weights are random.
    """

    def __init__(
        self,
        vit: E_co,
        bands: Sequence[Band],
        *,
        merge: Merging = "mean",
        record: BackboneRecord,
        stem_report: StemReport,
        load_report: LoadReport | None,
    ) -> None:
        super().__init__(bands, record=record, stem_report=stem_report, load_report=load_report)
        self.vit = vit
        self.merge = merge
        self._sites = sites_of(vit.blocks, "vit.blocks")
        #: Bands of all channel groups, empty ones included; none: no groups.
        self.group_names: tuple[tuple[str, ...], ...] = ()

    @property
    def dim(self) -> int:
        """Width D of the maps; that of one token, times the parts where they are concatenated."""
        return self.vit.layout.dim * (self.vit.parts if self.merge == "concat" else 1)

    @property
    def patch_px(self) -> int:
        """Side of a patch, pixels."""
        return self.vit.layout.patch_px

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.vit.layout.depth

    @property
    def patch_embed(self) -> nn.Module:
        """The patch embedding, of all groups."""
        return cast("nn.Module", self.vit.patch_embed)

    @property
    def standalone_options(self) -> dict[str, Any]:
        """The measures that a checkpoint may have settled."""
        layout = self.vit.layout
        found: dict[str, Any] = {
            "img_size": layout.image_px, "patch_size": layout.patch_px, "embed_dim": layout.dim,
            "depth": layout.depth, "num_heads": layout.heads, "global_pool": layout.global_pool,
            # Half a unit more, so that rounding down cannot lose one.
            "mlp_ratio": (layout.hidden + 0.5) / layout.dim,
        }  # fmt: skip
        if self.group_names:
            found["channel_embed"] = layout.channel_dim
            found["groups"] = [list(group) for group in self.group_names]
        return found

    @property
    def weights_bands(self) -> tuple[str, ...] | None:
        """None where channel groups name them."""
        return None if self.group_names else super().weights_bands

    def own_weights(self) -> OwnWeights:
        """Return the weights as a file of them has them; groups without bands are left out.

        Raises:
            ConfigError: The bands are projected onto channel groups.
        """
        encoder: Encoder = self.vit
        if not isinstance(encoder, GroupEncoder):
            return super().own_weights()
        if self.projection is not None:
            raise ConfigError(
                f"{self.record.name} projects its bands onto channel groups "
                f"(model.stem.strategy=project), which no weights file can hold; train it with "
                f"another stem strategy, or start from its own weights"
            )
        state = backbone_state(encoder)
        kept = encoder.state_dict()["channel_cls_embed"]
        state["channel_cls_embed"] = kept.detach().cpu().contiguous()
        order = tuple(i for group in encoder.groups for i in group.inputs)
        return OwnWeights(state, order, tuple(group.names for group in encoder.groups))

    def sites(self) -> tuple[Site, ...]:
        """Return all sites in the order in which data pass them."""
        return self._sites

    def _features(self, tokens: Tensor, x: Tensor) -> Features:
        last = self.depth - 1
        tokens = self.vit.run(tokens, {last})[last]
        return Features(self._as_map(tokens, x), self.vit.pool(tokens))

    def _maps(self, tokens: Tensor, x: Tensor, depths: Sequence[int]) -> list[Tensor]:
        by_depth = self.vit.run(tokens, set(depths))
        return [self._as_map(by_depth[depth], x) for depth in depths]

    def _as_map(self, tokens: Tensor, x: Tensor) -> Tensor:
        rows, cols = x.shape[-2] // self.patch_px, x.shape[-1] // self.patch_px
        tokens = tokens[:, : 1 + self.vit.parts * rows * cols]  # prompts may follow them
        parts = self.vit.patches(tokens).transpose(2, 3)
        merged = parts.flatten(1, 2) if self.merge == "concat" else parts.mean(dim=1)
        return merged.reshape(*merged.shape[:2], rows, cols)


class OneDateSatmae(SatmaeBackbone[GroupEncoder | ImageEncoder]):
    """SatMAE for one image: multispectral in channel groups, or RGB."""

    def forward(self, x: Tensor) -> Features:
        """Return normalised features of the last block, and one vector per image.

        Args:
            x: Prepared images (B, C, H, W); padded to multiples of the patch with 0.
        """
        x = self.enter(x)
        return self._features(self.vit.embed(x), x)

    def dense(self, x: Tensor, depths: Sequence[int]) -> list[Tensor]:
        """Return feature maps (B, D, h, w) after the blocks ``depths``, normalised as the last.

        Args:
            x: Prepared images (B, C, H, W); padded to multiples of the patch with 0.
            depths: Indices of blocks, from 0.
        """
        x = self.enter(x)
        return self._maps(self.vit.embed(x), x, depths)


class TemporalSatmae(SatmaeBackbone[TemporalEncoder]):
    """SatMAE for images of one place at several dates."""

    @property
    def dates(self) -> int:
        """Number of dates T of an input."""
        return self.vit.dates

    def forward(self, x: Tensor, timestamps: Tensor | None = None) -> Features:
        """Return normalised features of the last block, and one vector per image.

        Args:
            x: Prepared images (B, T, C, H, W); padded to multiples of the patch with 0.
            timestamps: (B, T, 3): years since 2002, months since January (0 to 11), hours.

        Raises:
            ValueError: Another number of dates, or no timestamps.
        """
        x = self.enter(x)
        return self._features(self._embed(x, timestamps), x)

    def dense(
        self, x: Tensor, depths: Sequence[int], timestamps: Tensor | None = None
    ) -> list[Tensor]:
        """Return feature maps (B, D, h, w) after the blocks ``depths``, normalised as the last.

        Args:
            x: Prepared images (B, T, C, H, W); padded to multiples of the patch with 0.
            depths: Indices of blocks, from 0.
            timestamps: (B, T, 3): years since 2002, months since January (0 to 11), hours.

        Raises:
            ValueError: Another number of dates, or no timestamps.
        """
        x = self.enter(x)
        return self._maps(self._embed(x, timestamps), x, depths)

    def _embed(self, x: Tensor, timestamps: Tensor | None) -> Tensor:
        if timestamps is None or x.ndim != 5 or x.shape[1] != self.dates:
            raise ValueError(
                f"images must be (B, {self.dates}, C, H, W) with timestamps (B, {self.dates}, 3), "
                f"not {tuple(x.shape)} with {None if timestamps is None else timestamps.shape}"
            )
        if timestamps.shape != (*x.shape[:2], 3):
            raise ValueError(
                f"timestamps must be {(*x.shape[:2], 3)}: year, month and hour of each date, "
                f"not {tuple(timestamps.shape)}"
            )
        return self.vit.embed(x, timestamps)
