"""Any plain vision transformer of timm as a backbone."""

from __future__ import annotations

import inspect
import logging
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from rsmeta.errors import (
    ConfigError,
    UnknownNameError,
    did_you_mean,
    enumerate_names,
    one_line,
)
from rsmeta.models.backbone import Backbone, Features, pad_to_multiple
from rsmeta.models.block_sites import sites_of
from rsmeta.models.checkpoint import (
    LoadReport,
    StateDict,
    file_sha256,
    load_strictly,
    read_checkpoint,
)
from rsmeta.models.patch_stem import fit_patch_stem
from rsmeta.models.records import BackboneRecord
from rsmeta.models.satmae.weights import refuse_satmae
from rsmeta.models.stem import random_stem
from rsmeta.models.timm_weights import fetch_hub_weights, fit_to_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from timm.models import VisionTransformer
    from torch import Tensor, nn

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.stem import StemReport
    from rsmeta.peft.sites import Site

logger = logging.getLogger(__name__)

#: timm modules whose networks are plain vision transformers.
_MODULES = ("vision_transformer", "deit")

#: Options of timm that rsmeta sets itself, or that are code and not values.
_NOT_OPTIONS = frozenset(
    {"self", "in_chans", "num_classes", "dynamic_img_size", "dynamic_img_pad", "device", "dtype",
     "embed_layer", "block_fn", "mlp_layer", "attn_layer", "weight_init", "fix_init"}
)  # fmt: skip


class TimmViT(Backbone):
    """A timm ``VisionTransformer``, without its classifier.

    Args:
        vit: The network, fitted to the bands.
        bands: Bands of the input, in its order.
        record: What is known of the weights.
        stem_report: Where the filter of each band came from.
        load_report: What became of the checkpoint; none: the weights are random.
    """

    def __init__(
        self,
        vit: VisionTransformer,
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
        return self.vit.embed_dim

    @property
    def patch_px(self) -> int:
        """Side of a patch, pixels."""
        return int(self.vit.patch_embed.patch_size[0])

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.vit.blocks)

    @property
    def stem(self) -> nn.Module:
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
        x = pad_to_multiple(x, self.patch_px)
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
        x = pad_to_multiple(x, self.patch_px)
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
        patches = patches[:, : rows * cols]  # prompts may stand behind them
        return patches.transpose(1, 2).reshape(x.shape[0], self.dim, rows, cols)


def build_timm_vit(spec: ModelSpec, bands: Sequence[Band]) -> TimmViT:
    """Build a timm vision transformer, with its weights if some are named, for these bands.

    Args:
        spec: ``backbone`` (timm name, with or without tag), ``options``, ``checkpoint``,
            ``pretrained``, ``stem``.
        bands: Bands of the input, in its order.

    Raises:
        UnknownNameError: timm knows no such vision transformer, or no such tag.
        ConfigError: An option that it does not take, or a value that does not fit.
        CheckpointError: Weights that cannot be had, or that do not fit.
    """
    record = _record(spec)
    vit = _create(spec, len(bands))
    image_px = int(vit.patch_embed.img_size[0])
    weights = _weights(spec, record)
    if weights is None:
        bare = BackboneRecord(record.name, "timm", None, None, None, None, image_px, None)
        return TimmViT(vit, bands, record=bare, stem_report=random_stem(bands), load_report=None)
    state, source = weights
    refuse_satmae(state, spec.backbone, source)
    sha256 = file_sha256(source) if spec.checkpoint is not None else None
    state, reshaped, dropped = fit_to_model(state, vit)
    stem_report = fit_patch_stem(state, spec.stem.bands, record.bands, bands, source=source)
    report = load_strictly(
        vit,
        state,
        report=LoadReport(source, sha256, 0, (), dropped, reshaped),
        optional=("patch_embed.", "head."),
    )
    logger.info("%s", report.summary())
    logger.info("%s", stem_report.summary())
    return TimmViT(vit, bands, record=record, stem_report=stem_report, load_report=report)


@cache
def backbone_names() -> tuple[str, ...]:
    """Return the timm names of all plain vision transformers, sorted."""
    import timm

    return tuple(sorted({name for module in _MODULES for name in timm.list_models(module=module)}))


def _record(spec: ModelSpec) -> BackboneRecord:
    """Return what timm knows of the named weights; the name gets its full tag.

    Raises:
        UnknownNameError: No such vision transformer, or no weights of that tag.
    """
    from timm.models import get_pretrained_cfg

    name, _, tag = spec.backbone.partition(".")
    if name not in backbone_names():
        raise UnknownNameError("backbone", name, backbone_names())
    config = get_pretrained_cfg(name, allow_unregistered=True)
    if tag:
        tags = _tags(name)
        if tag not in tags:
            raise UnknownNameError(f"weights of {name}", tag, tags)
        config = get_pretrained_cfg(spec.backbone)
    wanted = spec.pretrained or spec.checkpoint is not None
    full = f"{name}.{config.tag}" if config is not None and config.tag and wanted else spec.backbone
    if config is None:
        return BackboneRecord(full, "timm", spec.checkpoint, None, None, None, 224, None)
    rgb = config.input_size[0] == 3
    return BackboneRecord(
        name=full,
        family="timm",
        source=spec.checkpoint or config.hf_hub_id,
        bands=("red", "green", "blue") if rgb else None,
        mean=tuple(config.mean),
        std=tuple(config.std),
        image_px=int(config.input_size[1]),
        licence=config.license,
    )


def _tags(name: str) -> list[str]:
    import timm

    full = timm.list_pretrained(f"{name}.*") if name in backbone_names() else []
    return [entry.partition(".")[2] for entry in full]


def _create(spec: ModelSpec, channels: int) -> VisionTransformer:
    """Create the network with random weights and without classifier."""
    import timm
    from timm.layers.patch_embed import PatchEmbed
    from timm.models import VisionTransformer

    known = sorted(set(inspect.signature(VisionTransformer.__init__).parameters) - _NOT_OPTIONS)
    for key in spec.options:
        if key not in known:
            raise ConfigError(
                f"model.options holds {key!r}, which {spec.backbone} does not take"
                f"{did_you_mean(key, known) or '; it takes ' + enumerate_names(known)}"
            )
    name = spec.backbone.partition(".")[0]
    try:
        vit = timm.create_model(
            name, in_chans=channels, num_classes=0, dynamic_img_size=True, **spec.options
        )
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ConfigError(
            f"timm cannot build {name} with model.options={_shown(spec.options)} "
            f"({one_line(error) or type(error).__name__})"
        ) from error
    if not isinstance(vit, VisionTransformer) or not isinstance(vit.patch_embed, PatchEmbed):
        raise ConfigError(
            f"model.backbone={name} is no plain vision transformer; choose one of: "
            f"rsmeta list backbones"
        )
    if vit.patch_embed.patch_size[0] != vit.patch_embed.patch_size[1]:
        raise ConfigError(f"model.options.patch_size={vit.patch_embed.patch_size} must be square")
    if vit.global_pool == "map":  # attention pooling is a classifier's: dense maps bypass it
        vit.reset_classifier(0, "avg")
    return vit


def _shown(options: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in options.items()) + "}"


def _weights(spec: ModelSpec, record: BackboneRecord) -> tuple[StateDict, str] | None:
    if spec.checkpoint is not None:
        return read_checkpoint(spec.checkpoint), spec.checkpoint
    if spec.pretrained:
        return fetch_hub_weights(record.name), record.source or record.name
    return None
