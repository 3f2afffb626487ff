"""Settle the measures of an encoder: options first, then the checkpoint, then as published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.errors import CheckpointError, ConfigError
from rsmeta.models.satmae.options import (
    DATE_DIM,
    PUBLISHED_PX,
    SIZES,
    GroupOptions,
    Layout,
)

if TYPE_CHECKING:
    from rsmeta.config.model import ModelSpec
    from rsmeta.models.satmae.options import Kind, SatmaeOptions, Size
    from rsmeta.models.satmae.weights import Recognised


def settle_layout(
    spec: ModelSpec, options: SatmaeOptions, kind: Kind, found: Recognised | None
) -> Layout:
    """Return the measures of an encoder.

    Args:
        spec: Names the size.
        options: Override it.
        kind: Which family.
        found: What the checkpoint has; none: there is no checkpoint.

    Raises:
        ConfigError: Measures that do not fit one another.
        CheckpointError: Measures that are not the checkpoint's.
    """
    size = SIZES[spec.backbone.split("_")[2]]
    image_px, patch_px = PUBLISHED_PX[kind]
    if found is not None:
        image_px, patch_px = found.image_px, found.patch_px
    patch_px = options.patch_size or patch_px
    dim = options.embed_dim or size.dim
    layout = Layout(
        image_px=options.img_size or max(image_px // patch_px, 1) * patch_px,
        patch_px=patch_px,
        dim=dim,
        depth=options.depth or size.depth,
        heads=options.num_heads or size.heads,
        hidden=_hidden(options, dim, found),
        channel_dim=_channel_dim(options, size, found),
        global_pool=_global_pool(options, found),
    )
    _check(layout, spec, kind)
    if found is not None:
        _compare(layout, found, spec)
    return layout


def _hidden(options: SatmaeOptions, dim: int, found: Recognised | None) -> int:
    if options.mlp_ratio is None and found is not None:
        return found.hidden
    return max(int(dim * (options.mlp_ratio or 4)), 1)


def _channel_dim(options: SatmaeOptions, size: Size, found: Recognised | None) -> int:
    if not isinstance(options, GroupOptions):
        return 0
    return options.channel_embed or (found.channel_dim if found else size.channel_dim)


def _global_pool(options: SatmaeOptions, found: Recognised | None) -> bool:
    if options.global_pool is not None:
        return options.global_pool
    return found.global_pool if found is not None else False


def _check(layout: Layout, spec: ModelSpec, kind: Kind) -> None:
    where = f"model.options of {spec.backbone}"
    if layout.dim % layout.heads:
        raise ConfigError(
            f"{where}: embed_dim={layout.dim} must be a multiple of num_heads={layout.heads}"
        )
    if layout.image_px % layout.patch_px:
        raise ConfigError(
            f"{where}: img_size={layout.image_px} must be a multiple of "
            f"patch_size={layout.patch_px}; images of any size are taken all the same"
        )
    rest = layout.channel_dim + (DATE_DIM if kind == "temporal" else 0)
    place = layout.dim - rest
    if place < 4 or place % 4 or layout.channel_dim % 2:
        beside = {
            "group": f" less channel_embed={layout.channel_dim} (even)",
            "temporal": f" less {DATE_DIM} for the dates",
        }.get(kind, "")
        raise ConfigError(
            f"{where}: embed_dim={layout.dim}{beside} leaves {place} for positions; it must leave "
            f"a multiple of 4"
        )


def _compare(layout: Layout, found: Recognised, spec: ModelSpec) -> None:
    """Refuse measures that are not the checkpoint's, and name what to set."""
    pairs = {
        "embed_dim": (found.dim, layout.dim),
        "depth": (found.depth, layout.depth),
        "patch_size": (found.patch_px, layout.patch_px),
        "channel_embed": (found.channel_dim, layout.channel_dim),
        "mlp_ratio": (found.hidden / found.dim, layout.hidden / layout.dim),
    }
    wrong = {key: has for key, (has, wants) in pairs.items() if has != wants}
    if not wrong:
        return
    key, has = next(iter(wrong.items()))
    named = found.size is not None and key in ("embed_dim", "depth")
    mend = (
        f"model.backbone={found.backbone}"
        if named and found.backbone != spec.backbone
        else "model.options." + ", ".join(f"{k}={v:g}" for k, v in wrong.items())
    )
    raise CheckpointError(
        f"{spec.checkpoint} holds a {SIZES[found.size].label if found.size else 'custom'} SatMAE "
        f"with {key}={has:g}, {spec.backbone} has {pairs[key][1]:g}; set {mend}"
    )
