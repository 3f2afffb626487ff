"""What ``model.options`` may hold for a SatMAE, and the sizes that names mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import Field

from rsmeta.config.base import Strict

Kind: TypeAlias = Literal["group", "rgb", "temporal"]
Resampling: TypeAlias = Literal["recompute", "interpolate"]
Merging: TypeAlias = Literal["mean", "concat"]
ExtraBands: TypeAlias = Literal["join", "new", "refuse"]

#: Bands of each channel group, in the order of the published multispectral weights.
#: Source: "SatMAE: Pre-training Transformers for Temporal and Multi-Spectral Satellite
#: Imagery", Cong et al., NeurIPS 2022, section 3.2 and appendix.
PUBLISHED_GROUPS = (("B02", "B03", "B04", "B08"), ("B05", "B06", "B07", "B8A"), ("B11", "B12"))

#: Title of each family.
FAMILIES: dict[Kind, str] = {
    "group": "SatMAE multispectral, channel groups",
    "rgb": "SatMAE RGB, or a masked autoencoder of the same build",
    "temporal": "SatMAE temporal",
}

#: Width of the embedding of a date; the rest of a temporal token's width embeds its place.
DATE_DIM = 384


class SatmaeOptions(Strict):
    """Options of every SatMAE; none of a size: as the checkpoint has it, else as published."""

    img_size: int | None = Field(
        default=None, ge=1, description="side of the images that positions are stored for, pixels"
    )
    patch_size: int | None = Field(default=None, ge=1, description="side of a patch, pixels")
    embed_dim: int | None = Field(default=None, ge=4, description="width of the features")
    depth: int | None = Field(default=None, ge=1, description="number of blocks")
    num_heads: int | None = Field(default=None, ge=1, description="attention heads")
    mlp_ratio: float | None = Field(
        default=None, gt=0, description="width inside a block's MLP, in embed_dim"
    )
    global_pool: bool | None = Field(
        default=None, description="an image's features: mean of all patches, or the class token"
    )
    pos_embed: Resampling = Field(
        default="recompute",
        description="positions of another image size: recompute the formula, or interpolate",
    )
    grad_checkpointing: bool = Field(
        default=False, description="keep less for the backward pass and compute it again"
    )


class GroupOptions(SatmaeOptions):
    """Options of the multispectral SatMAE."""

    groups: tuple[tuple[str, ...], ...] = Field(
        default=PUBLISHED_GROUPS, min_length=1, description="band names of each channel group"
    )
    channel_embed: int | None = Field(
        default=None, ge=2, description="width that distinguishes channel groups"
    )
    extra_bands: ExtraBands = Field(
        default="join",
        description="bands of no group: join the group of the nearest wavelength, form a "
        "new group, or refuse them; radar and the like always form a new one",
    )
    merge: Merging = Field(
        default="mean", description="maps of the groups: their mean, or all of them side by side"
    )


class TemporalOptions(SatmaeOptions):
    """Options of the temporal SatMAE."""

    dates: int = Field(default=3, ge=1, description="images of one place, at different dates")
    merge: Merging = Field(
        default="mean", description="maps of the dates: their mean, or all of them side by side"
    )


@dataclass(frozen=True)
class Size:
    """The measures that a part of a backbone's name means.

    Args:
        label: Its name in the paper; ``nano`` is rsmeta's own.
        dim: Width of the features D.
        depth: Number of blocks.
        heads: Attention heads.
        channel_dim: Width of the group embedding.
    """

    label: str
    dim: int
    depth: int
    heads: int
    channel_dim: int = 256


#: The published sizes, by the part of a backbone's name that means them.
PUBLISHED_SIZES = {"b16": Size("base", 768, 12, 12), "l16": Size("large", 1024, 24, 16)}

#: All sizes; nano is rsmeta's own, for channel groups only.
SIZES = {"nano": Size("nano", 96, 6, 3, channel_dim=32), **PUBLISHED_SIZES}

#: Image and patch of the published weights, pixels. The names say 16 for all of them, as the
#: publishers' names do; the multispectral ones were trained on patches of 8.
PUBLISHED_PX: dict[Kind, tuple[int, int]] = {
    "group": (96, 8),
    "rgb": (224, 16),
    "temporal": (224, 16),
}


@dataclass(frozen=True)
class Layout:
    """The measures of an encoder, all of them settled.

    Args:
        image_px: Side of the images that position embeddings are stored for, pixels.
        patch_px: Side of a patch, pixels.
        dim: Width of the features D.
        depth: Number of blocks.
        heads: Attention heads.
        hidden: Width inside a block's MLP.
        channel_dim: Width of the group embedding; 0 without groups.
        global_pool: Features of an image are the mean of its patches, not the class token.
    """

    image_px: int
    patch_px: int
    dim: int
    depth: int
    heads: int
    hidden: int
    channel_dim: int
    global_pool: bool

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches that position embeddings are stored for."""
        return (self.image_px // self.patch_px,) * 2
