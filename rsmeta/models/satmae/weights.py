"""Recognise the published SatMAE checkpoints, and bring one into the shape of an encoder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from rsmeta.errors import CheckpointError, enumerate_names
from rsmeta.models.satmae.options import DATE_DIM, FAMILIES, PUBLISHED_SIZES, SIZES, Kind
from rsmeta.models.satmae.positions import fit_grid, is_sincos

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from rsmeta.models.checkpoint import StateDict
    from rsmeta.models.satmae.options import Layout, Resampling

Stage: TypeAlias = Literal["masked autoencoding", "fine-tuned", "encoder alone"]

_GROUP_STEM = re.compile(r"patch_embed\.(\d+)\.proj\.weight")
_BLOCK = re.compile(r"blocks\.(\d+)\.")

#: What only pretraining, and only a classifier, has: dropped.
_DECODER = ("decoder_", "mask_token")
_CLASSIFIER = ("head.",)

#: Beginnings of all names that an encoder has.
_ENCODER = (
    "cls_token", "pos_embed", "channel_embed", "channel_cls_embed", "patch_embed.", "blocks.",
    "norm.", "fc_norm.",
)  # fmt: skip

#: What each tensor of a block is called; one of another name belongs to another network.
_BLOCK_PARTS = frozenset(
    f"{layer}.{kind}"
    for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    for kind in ("weight", "bias")
)


@dataclass(frozen=True)
class Recognised:
    """What the names and shapes of a checkpoint's tensors show.

    Args:
        kind: Which family.
        stage: How far it was trained.
        dim: Width of the features D.
        depth: Number of blocks.
        hidden: Width inside a block's MLP.
        patch_px: Side of a patch, pixels.
        grid: Rows and columns of patches that its position embeddings are for.
        channels: Bands of each patch embedding.
        channel_dim: Width of the group embedding; 0 without groups.
        global_pool: Its features are the mean of all patches, not the class token.
        classes: Classes of its classifier; none: it has none.
        sincos: Whether its position embeddings are those of the formula.
    """

    kind: Kind
    stage: Stage
    dim: int
    depth: int
    hidden: int
    patch_px: int
    grid: tuple[int, int]
    channels: tuple[int, ...]
    channel_dim: int
    global_pool: bool
    classes: int | None
    sincos: bool

    @property
    def size(self) -> str | None:
        """The part of a backbone's name for its size; none: no published one."""
        found = [key for key, size in SIZES.items() if (size.dim, size.depth) == self._measures]
        return found[0] if found else None

    @property
    def backbone(self) -> str:
        """The name under which rsmeta builds it; of another size, the nearest in width."""
        nearest = min(PUBLISHED_SIZES, key=lambda key: abs(SIZES[key].dim - self.dim))
        return f"satmae_vit_{self.size or nearest}_{self.kind}"

    @property
    def image_px(self) -> int:
        """Side of the images that its position embeddings are for, pixels."""
        return self.grid[0] * self.patch_px

    @property
    def _measures(self) -> tuple[int, int]:
        return self.dim, self.depth


def without_wrapper(state: Mapping[str, Tensor]) -> StateDict:
    """Return the tensors without the prefix that distributed training gives their names."""
    return {key.removeprefix("module."): value for key, value in state.items()}


def recognise(state: Mapping[str, Tensor]) -> Recognised | None:
    """Tell a SatMAE from its tensors.

    A network for RGB has the names and shapes of any plain vision transformer; it counts as a
    SatMAE where it has a masked autoencoder's decoder or sine-cosine positions.

    Args:
        state: Tensors of a checkpoint, as published.

    Returns:
        What it is; none: it is none, or an RGB one that cannot be recognised.
    """
    found = read_layout(state)
    if found is None:
        return None
    told = found.kind != "rgb" or found.sincos or found.stage == "masked autoencoding"
    return found if told else None


def read_layout(state: Mapping[str, Tensor]) -> Recognised | None:
    """Return the measures of anything built like a SatMAE; none: it is built otherwise."""
    stems = _stems(state)
    places, qkv = state.get("pos_embed"), state.get("blocks.0.attn.qkv.weight")
    fc1 = state.get("blocks.0.mlp.fc1.weight")
    if not stems or places is None or qkv is None or fc1 is None or strange_names(state):
        return None
    dim = qkv.shape[-1]
    channel_dim = state["channel_embed"].shape[-1] if "channel_embed" in state else 0
    kind = _kind(places.shape[-1], dim, channel_dim, grouped="patch_embed.proj.weight" not in state)
    side = round(max(places.shape[1] - 1, 0) ** 0.5)
    fits = places.ndim == 3 and side and side**2 == places.shape[1] - 1
    if kind is None or not fits or "cls_token" not in state:
        return None
    decoder = any(key.startswith(_DECODER) for key in state)
    head = state.get("head.weight")
    tuned = head is not None or "fc_norm.weight" in state
    return Recognised(
        kind=kind,
        stage="masked autoencoding" if decoder else "fine-tuned" if tuned else "encoder alone",
        dim=dim,
        depth=len({m[1] for key in state if (m := _BLOCK.match(key))}),
        hidden=fc1.shape[0],
        patch_px=stems[0].shape[-1],
        grid=(side, side),
        channels=tuple(stem.shape[1] for stem in stems),
        channel_dim=channel_dim,
        global_pool="fc_norm.weight" in state,
        classes=None if head is None else head.shape[0],
        sincos=is_sincos(places, (side, side)),
    )


def strange_names(state: Iterable[str]) -> list[str]:
    """Return the names of tensors that no SatMAE has."""
    return [
        key
        for key in state
        if not key.startswith((*_ENCODER, *_DECODER, *_CLASSIFIER))
        or (key.startswith("blocks.") and key.split(".", 2)[-1] not in _BLOCK_PARTS)
    ]


def encoder_state(
    state: Mapping[str, Tensor], layout: Layout, how: Resampling
) -> tuple[StateDict, tuple[str, ...], tuple[str, ...]]:
    """Keep what an encoder takes, with positions for its image size.

    Args:
        state: Tensors as published.
        layout: Measures of the encoder.
        how: How positions of another image size come about.

    Returns:
        Tensors by the encoder's names, float32; names of the resampled ones; names of those
        that were dropped: decoder, classifier, and the normalisation of the other pooling.
    """
    other = "norm." if layout.global_pool else "fc_norm."
    dropped = tuple(k for k in state if k.startswith((*_DECODER, *_CLASSIFIER, other)))
    kept = {key: value.float() for key, value in state.items() if key not in dropped}
    places = kept["pos_embed"]
    side = round((places.shape[1] - 1) ** 0.5)
    kept["pos_embed"] = fit_grid(places, (side, side), layout.grid, how=how)
    reshaped = () if kept["pos_embed"] is places else ("pos_embed",)
    return kept, reshaped, dropped


def explain_mismatch(state: Mapping[str, Tensor], backbone: str, source: str) -> CheckpointError:
    """Return the error for a checkpoint that is no SatMAE of the family of ``backbone``."""
    found = read_layout(state)
    if found is not None:
        return CheckpointError(
            f"{source} holds a SatMAE of another family ({FAMILIES[found.kind]}), not of "
            f"model.backbone={backbone}; set model.backbone={found.backbone}"
        )
    strange = strange_names(state)
    holds = f"it holds {enumerate_names(strange, 3)}" if strange else "parts of one are missing"
    return CheckpointError(
        f"{source} is no SatMAE checkpoint for model.backbone={backbone}: {holds}; see what it is "
        f"with: rsmeta inspect {source}"
    )


def refuse_satmae(state: Mapping[str, Tensor], backbone: str, source: str) -> None:
    """Refuse a checkpoint with channel groups or dates for a backbone that has neither.

    Raises:
        CheckpointError: It is one.
    """
    found = recognise(without_wrapper(state))
    if found is not None and found.kind != "rgb":
        raise explain_mismatch(without_wrapper(state), backbone, source)


def _stems(state: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the patch embeddings (D, C, p, p), in the order of their groups."""
    grouped = sorted((int(m[1]), k) for k in state if (m := _GROUP_STEM.fullmatch(k)))
    names = [key for _, key in grouped] or ["patch_embed.proj.weight"]
    return [state[key] for key in names if key in state and state[key].ndim == 4]


def _kind(place_dim: int, dim: int, channel_dim: int, *, grouped: bool) -> Kind | None:
    if grouped:
        return "group" if channel_dim and place_dim + channel_dim == dim else None
    if channel_dim:
        return None
    if place_dim == dim:
        return "rgb"
    return "temporal" if place_dim == dim - DATE_DIM else None
