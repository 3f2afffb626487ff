"""Weights for timm networks: where they are published, converted and resampled to fit."""

from __future__ import annotations

import contextlib
import io
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from torch import Tensor

from rsmeta.errors import CheckpointError, one_line
from rsmeta.models.timm.torchvision_swin import is_torchvision_swin, timm_swin_state
from rsmeta.models.weights.hub import HUB_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from timm.models import Eva, SwinTransformer, SwinTransformerV2, VisionTransformer

    from rsmeta.models.checkpoint import StateDict

    Transformer: TypeAlias = VisionTransformer | Eva | SwinTransformer | SwinTransformerV2


def hub_source(name: str) -> str:
    """Return where timm publishes weights, as a hub name.

    Args:
        name: Exact timm name with tag.

    Raises:
        CheckpointError: timm has none on the hub.
    """
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise CheckpointError(
            f"timm's hub has no weights for {name}; get a file yourself and set model.checkpoint="
        )
    file = f"/{config.hf_hub_filename}" if config.hf_hub_filename else ""
    return f"{HUB_PREFIX}{config.hf_hub_id}{file}"


def fit_to_model(
    state: StateDict, net: Transformer
) -> tuple[StateDict, tuple[str, ...], tuple[str, ...]]:
    """Bring a checkpoint into the names and shapes of a network, by timm's own rules.

    Position and patch embeddings are resampled to the network's grid; known foreign layouts
    (OpenAI CLIP, DINOv2, OpenCLIP, torchvision's Swin) are renamed. The number of bands is left
    as it is.

    Args:
        state: Tensors as read.
        net: The network that they are for.

    Returns:
        Tensors by the network's names; names of resampled ones; names of those that were
        dropped (a classifier; the text tower of a whole CLIP).

    Raises:
        CheckpointError: The tensors belong to another kind of network.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    if is_torchvision_swin(state):
        state = timm_swin_state(state)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # EVA's rules print
            fitted = _rules(net, state)(dict(state), net)
    except (RuntimeError, KeyError, IndexError, AssertionError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint is not of a network like the backbone ({one_line(error)[:160]}); "
            f"check model.backbone and model.options"
        ) from error
    tensors = {key: value for key, value in fitted.items() if isinstance(value, Tensor)}
    reshaped = tuple(
        key for key, value in tensors.items() if key in state and state[key].shape != value.shape
    )
    heads = tuple(key for key in tensors if key.startswith(("head.", "head_dist.", "attn_pool.")))
    other_tower = "visual.class_embedding" in state
    text = tuple(key for key in state if other_tower and not key.startswith("visual."))
    return {k: v for k, v in tensors.items() if k not in heads}, reshaped, heads + text


def _rules(net: Transformer, state: StateDict) -> Callable[..., Any]:
    """Return timm's own conversion of checkpoints for a network."""
    from timm.models import (
        Eva,
        SwinTransformer,
        SwinTransformerV2,
        eva,
        swin_transformer,
        swin_transformer_v2,
        vision_transformer,
    )

    for kind, module in (
        (Eva, eva),
        (SwinTransformer, swin_transformer),
        (SwinTransformerV2, swin_transformer_v2),
    ):
        if isinstance(net, kind):
            return cast("Callable[..., Any]", module.checkpoint_filter_fn)
    scaled = any("gamma_" in key for key in state)
    return partial(vision_transformer.checkpoint_filter_fn, adapt_layer_scale=scaled)
