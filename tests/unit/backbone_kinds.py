"""One small backbone of every kind, for the suites that run over all of them."""

from __future__ import annotations

from typing import Any

from rsmeta.config.model import ModelSpec
from rsmeta.geo.bands import generic_band
from rsmeta.geo.sensors import load_sensor
from tests.unit.tiny_satmae import SMALL, TINY

RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
SIX = tuple(generic_band(n) for n in ("blue", "green", "red", "nir", "swir16", "swir22"))
RADAR = load_sensor("sentinel1_grd").bands

_VIT = {"embed_dim": 32, "depth": 3, "num_heads": 2, "img_size": 32}
_SWIN = {"embed_dim": 16, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 4], "img_size": 64}

#: Name and options of a small one of each kind, by what makes it different.
KINDS: dict[str, ModelSpec] = {
    what: ModelSpec(backbone=name, options=options)
    for what, name, options in (
        ("vit", "vit_tiny_patch16_224", {**_VIT, "patch_size": 8}),
        ("deit distilled", "deit_tiny_distilled_patch16_224", {**_VIT, "patch_size": 8}),
        ("deit3", "deit3_small_patch16_224", {**_VIT, "patch_size": 8}),
        ("clip", "vit_base_patch16_clip_224", {**_VIT, "patch_size": 8}),
        ("siglip", "vit_base_patch16_siglip_224", {**_VIT, "patch_size": 8}),
        ("dinov2", "vit_small_patch14_reg4_dinov2", {**_VIT, "img_size": 28}),
        ("dinov3", "vit_small_patch16_dinov3", {**_VIT, "patch_size": 8}),
        ("eva02", "eva02_tiny_patch14_224", {**_VIT, "img_size": 28}),
        ("eva fused", "eva_large_patch14_196", {**_VIT, "img_size": 28}),
        ("swin", "swin_tiny_patch4_window7_224", {**_SWIN, "window_size": 4}),
        ("swinv2", "swinv2_tiny_window8_256", {**_SWIN, "window_size": 4}),
        ("satmae group", "satmae_vit_b16_group", {**TINY["group"], **SMALL}),
        ("dofa", "dofa_vit_b16", {**_VIT, "patch_size": 8}),
        ("panopticon", "panopticon_vit_b14", {**_VIT, "img_size": 28}),
        ("copernicus", "copernicus_vit_b16", {**_VIT, "patch_size": 8, "gsd_m": 10}),
        ("prithvi", "prithvi_vit_300m_tl", {**TINY["rgb"], **SMALL, "location": [47.5, 8.5]}),
        ("scalemae", "scalemae_vit_l16", {**TINY["rgb"], **SMALL, "gsd_m": 2.5}),
        ("satmae rgb", "satmae_vit_b16_rgb", {**TINY["rgb"], **SMALL}),
    )
}


def with_options(kind: str, **keys: Any) -> ModelSpec:
    """Return the settings of a kind with other keys, or options, in them."""
    spec = KINDS[kind]
    options = {**spec.options, **keys.pop("options", {})}
    return ModelSpec(**{"backbone": spec.backbone, "options": options, **keys})
