"""Find the name in timm whose network has the tensors of a checkpoint."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

Kind: TypeAlias = Literal["vit", "eva", "swin", "swinv2"]

#: timm's modules of each kind.
_MODULES: dict[Kind, tuple[str, ...]] = {
    "vit": ("vision_transformer", "deit"),
    "eva": ("eva",),
    "swin": ("swin_transformer",),
    "swinv2": ("swin_transformer_v2",),
}

#: Width of the patch embedding, blocks (of a Swin per stage), and what such a network is called.
_SIZES: dict[tuple[int, int | tuple[int, ...]], str] = {
    (192, 12): "tiny", (384, 12): "small", (512, 12): "medium", (768, 12): "base",
    (1024, 24): "large", (1152, 27): "so400m", (1280, 32): "huge", (1408, 40): "giant",
    (1536, 40): "giant", (1664, 48): "gigantic",
    (96, (2, 2, 6, 2)): "tiny", (96, (2, 2, 18, 2)): "small", (128, (2, 2, 18, 2)): "base",
    (192, (2, 2, 18, 2)): "large",
}  # fmt: skip

#: Tensors that depend on the number of bands, of classes, or on the size of the images.
_LOOSE = (
    "patch_embed.", "head", "pos_embed", "norm.", "fc_norm.", "pre_logits.", "rope.",
)  # fmt: skip
_BUFFERS = ("relative_position_index", "relative_coords_table", "attn_mask", "k_bias")


def size_name(dim: int, depth: int | tuple[int, ...]) -> str:
    """Return what a network of these measures is called; ``custom``: no usual one."""
    return _SIZES.get((dim, depth), "custom")


def fitting_name(
    state: Mapping[str, Tensor], kind: Kind, size: str, image_px: int | None
) -> str | None:
    """Return the name in timm whose blocks have just the tensors of a checkpoint.

    Args:
        state: Tensors by timm's names.
        kind: Which networks come into question.
        size: As ``size_name`` calls it.
        image_px: Side of the images that its positions are for; none: unknown.

    Returns:
        Of several, the one for the size of the images, with the plainest name; none: no network
        of timm has these tensors.
    """
    stem, wanted = state["patch_embed.proj.weight"], _shapes(state)
    patch = f"_patch{stem.shape[-1]}_"
    alike = [
        name
        for name in _names(kind)
        if f"_{size}_" in name and (patch in f"{name}_" or "_patch" not in name)
    ]
    alike.sort(key=lambda name: (not name.endswith(f"_{image_px}"), len(name), name))
    return next((name for name in alike if _shapes_of(name) == wanted), None)


@cache
def _names(kind: Kind) -> tuple[str, ...]:
    import timm

    return tuple(
        name
        for module in _MODULES[kind]
        for name in timm.list_models(module=module)
        if "quickgelu" not in name  # the same tensors as the name without it
    )


@cache
def _shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network of timm, which is not filled with numbers."""
    import timm

    with torch.device("meta"):
        return _shapes(timm.create_model(name, num_classes=0).state_dict())


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {
        key: tuple(value.shape)
        for key, value in state.items()
        if not key.startswith(_LOOSE) and not key.endswith(_BUFFERS)
    } | {"pos_embed": (state["pos_embed"].ndim,) if "pos_embed" in state else ()}
