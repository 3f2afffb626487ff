"""Prithvi-EO-2.0 for one date: a plain ViT for six bands of Landsat and Sentinel-2."""

from __future__ import annotations

import datetime  # noqa: TC003 - pydantic reads the annotation
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from rsmeta.config.load import validate
from rsmeta.errors import CheckpointError, ConfigError, UnknownNameError
from rsmeta.models.checkpoint import LoadReport, load_strictly, open_checkpoint
from rsmeta.models.names import (
    PRITHVI,
    PRITHVI_BANDS,
    PRITHVI_LICENCE,
    PRITHVI_TL,
    prithvi_names,
)
from rsmeta.models.patch_stem import STEM_WEIGHT, fit_patch_stem, own_bands
from rsmeta.models.records import BackboneRecord, own_record
from rsmeta.models.satmae.backbone import OneDateSatmae
from rsmeta.models.satmae.encoder import ImageEncoder
from rsmeta.models.satmae.options import Layout, SatmaeOptions
from rsmeta.models.satmae.positions import sincos_3d
from rsmeta.models.stem import random_stem
from rsmeta.models.weights import named_weights, weights_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.checkpoint import Checkpoint, StateDict

logger = logging.getLogger(__name__)

_TIME, _PLACE = "temporal_embed_enc.scale", "location_embed_enc.scale"
_CONTEXT = "context"
_EPS = 1e-5
_IMAGE_PX = 224
_BLOCK = re.compile(r"blocks\.(\d+)\.")


@dataclass(frozen=True)
class Size:
    """What a size means: width, blocks, heads, side of a patch in pixels."""

    dim: int
    depth: int
    heads: int
    patch_px: int = 16


#: Source: "Prithvi-EO-2.0: A Versatile Multi-Temporal Foundation Model for Earth Observation
#: Applications", Szwarcman et al., 2024 (arXiv:2412.02732); tiny: TerraTorch, prithvi_vit.py.
SIZES = {
    "tiny": Size(192, 12, 3),
    "100m": Size(768, 12, 12),
    "300m": Size(1024, 24, 16),
    "600m": Size(1280, 32, 16, 14),
}

_Latitude = Annotated[float, Field(ge=-90, le=90)]
_Longitude = Annotated[float, Field(ge=-180, le=180)]


class PrithviOptions(SatmaeOptions):
    """Options of a Prithvi; ``date`` and ``location`` need the weights of a ``_tl`` name."""

    date: datetime.date | None = Field(
        default=None, description="acquisition date of all scenes; none: not embedded"
    )
    location: tuple[_Latitude, _Longitude] | None = Field(
        default=None, description="[latitude, longitude] of all scenes, degrees; none: not embedded"
    )


class PrithviEncoder(ImageEncoder):
    """An encoder whose positions are those of the first date, in a formula of three dimensions.

    Args:
        layout: Its measures.
        channels: Bands C.
        grad_checkpointing: Compute blocks again in the backward pass.
    """

    context: Tensor

    def __init__(self, layout: Layout, channels: int, *, grad_checkpointing: bool = False) -> None:
        super().__init__(layout, channels, grad_checkpointing=grad_checkpointing)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = _EPS
        self.pos_embed = sincos_3d(*layout.grid, layout.dim)
        #: Added to every patch: embedded date and place, or 0.
        self.register_buffer(_CONTEXT, torch.zeros(1, 1, layout.dim))

    def places(self, rows: int, cols: int) -> Tensor:
        """Return the position embeddings (1, 1 + rows · cols, D) of a grid of patches."""
        if (rows, cols) == self.layout.grid:
            return self.pos_embed
        table = sincos_3d(rows, cols, self.layout.dim, device=self.pos_embed.device)
        return table.to(self.pos_embed.dtype)

    def embed(self, x: Tensor) -> Tensor:
        """Return tokens (B, 1 + h · w, D) of images (B, C, H, W), sides multiples of the patch."""
        place = self.places(*self._grid(x))
        patches = self.patch_embed(x) + place[:, 1:] + self.context
        return self._with_cls(patches, place[:, :1])


def _size_of(name: str) -> str:
    return name.removeprefix(PRITHVI).removesuffix(PRITHVI_TL)


def build_prithvi(spec: ModelSpec, bands: Sequence[Band] | None = None) -> OneDateSatmae:
    """Build a Prithvi for one date, with its weights if some are named, for these bands.

    Args:
        spec: ``backbone`` (``prithvi_vit_300m_tl``, with or without the tag of its weights),
            ``options``, ``checkpoint``, ``pretrained``, ``stem``.
        bands: Bands of the input, in its order; none: those of the weights.

    Raises:
        UnknownNameError: No Prithvi of that name, or no weights of that tag.
        ConfigError: An option that it does not take, or a value that does not fit.
        CheckpointError: Weights that are unavailable or do not fit.
    """
    name = spec.backbone.partition(".")[0]
    if name not in prithvi_names():
        raise UnknownNameError("backbone", name, prithvi_names())
    options = validate(PrithviOptions, spec.options, f"model.options ({spec.backbone})")
    if (options.date or options.location) and not name.endswith(PRITHVI_TL):
        raise ConfigError(
            f"model.options.date and location need weights that embed them; set "
            f"model.backbone={name}{PRITHVI_TL}, or omit them"
        )
    full, weights = named_weights(spec)
    layout = _layout(name, options)
    state, report = None, None
    record = BackboneRecord(name, "prithvi", None, PRITHVI_BANDS, None, None, layout.image_px, None)
    if weights is not None:
        checkpoint, source = open_checkpoint(weights.path), weights.source
        state = encoder_state(checkpoint.tensors)
        _compare(state, name, layout, source)
        record = _published(full, source, layout)
        record = record.told_by(own_record(checkpoint.notes, source))
        dropped = tuple(k for k in checkpoint.tensors if k.removeprefix("encoder.") not in state)
        report = LoadReport(source, weights.sha256, 0, (), dropped, ())
    bands = own_bands(spec, record) if bands is None else bands
    net = PrithviEncoder(layout, len(bands), grad_checkpointing=options.grad_checkpointing)
    if state is None or report is None:
        context = embed_context(options, torch.full((2,), 0.1), layout.dim)
        if context is not None:
            net.context.copy_(context)
        bare = BackboneRecord(name, "prithvi", None, None, None, None, layout.image_px, None)
        return OneDateSatmae(
            net, bands, record=bare, stem_report=random_stem(bands), load_report=None
        )
    stem_report = fit_patch_stem(state, spec.stem, record.expected, bands, source=report.source)
    report = _fill(net, state, options, report, optional=spec.stem.strategy == "random")
    return OneDateSatmae(net, bands, record=record, stem_report=stem_report, load_report=report)


def _fill(
    net: PrithviEncoder, state: StateDict, options: PrithviOptions, report: LoadReport, *,
    optional: bool,
) -> LoadReport:  # fmt: skip
    """Load an encoder; its stem has been fitted, and may be missing if it is ``optional``."""
    scales = [state.pop(key, None) for key in (_TIME, _PLACE)]
    for scale, key in zip(scales, ("date", "location"), strict=True):
        if scale is None and _CONTEXT not in state and getattr(options, key) is not None:
            raise CheckpointError(
                f"{report.source} embeds no {key}; omit model.options.{key}, or take the weights "
                f"of a {PRITHVI_TL} name"
            )
    known = torch.stack([torch.zeros(()) if s is None else s.float().squeeze() for s in scales])
    context = embed_context(options, known, net.layout.dim)
    if context is not None and any(scale is not None for scale in scales):
        state[_CONTEXT] = context
    state.setdefault(_CONTEXT, torch.zeros_like(net.context))
    state["pos_embed"] = net.pos_embed  # a formula: the file's is for several dates
    report = load_strictly(net, state, report=report, optional=("patch_embed.",) * optional)
    logger.debug("%s", report.summary())
    return report


def embed_context(options: PrithviOptions, scales: Tensor, dim: int) -> Tensor | None:
    """Return what date and location add to every patch, (1, 1, D); none: neither is given.

    Args:
        options: Date and location.
        scales: Learned factors of the two, (2,).
        dim: Width D.
    """
    if options.date is None and options.location is None:
        return None
    total = torch.zeros(dim)
    if options.date is not None:
        day = options.date.timetuple().tm_yday
        total = total + scales[0] * _pair((options.date.year, day), dim)
    if options.location is not None:
        total = total + scales[1] * _pair(options.location, dim)
    return total[None, None]


def _pair(numbers: tuple[float, float], dim: int) -> Tensor:
    """Embed two numbers, half of the width each, (D,).

    In single precision, as published: an angle of a year is 2000 radians and more.
    """
    widths = (dim // 2, dim - dim // 2)
    parts = []
    for number, width in zip(numbers, widths, strict=True):
        steps = torch.arange(width // 2, dtype=torch.float32) / (width / 2)
        angles = torch.tensor(float(number)) * (1.0 / 10000**steps)
        parts += [angles.sin(), angles.cos()]
    return torch.cat(parts)


def encoder_state(tensors: Mapping[str, Tensor]) -> StateDict:
    """Return an encoder's tensors for one date, by its own names; what else there is is left out.

    Args:
        tensors: As published (``encoder.…``, ``decoder.…``, filters for one date at a time in
            three dimensions), or as rsmeta writes them.
    """
    state = {key.removeprefix("encoder."): value for key, value in tensors.items()
             if "decoder" not in key and "_dec." not in key and key != "mask_token"}  # fmt: skip
    stem = state.get(STEM_WEIGHT)
    if stem is not None and stem.ndim == 5 and stem.shape[2] == 1:
        state[STEM_WEIGHT] = stem[:, :, 0]
    return state


def _measures(state: Mapping[str, Tensor]) -> dict[str, int] | None:
    """Return what can be seen of a Prithvi's measures; none: the tensors are of something else."""
    stem, qkv = state.get(STEM_WEIGHT), state.get("blocks.0.attn.qkv.weight")
    if stem is None or qkv is None or stem.ndim != 4 or "norm.weight" not in state:
        return None
    depth = len({m[1] for key in state if (m := _BLOCK.match(key))})
    return {"embed_dim": stem.shape[0], "depth": depth, "patch_size": stem.shape[-1]}


def _compare(state: Mapping[str, Tensor], name: str, layout: Layout, source: str) -> None:
    """Refuse a file of another network, or of another size.

    Raises:
        CheckpointError: It is one.
    """
    found = _measures(state)
    if found is None:
        raise CheckpointError(
            f"{source} is no Prithvi checkpoint for model.backbone={name}; see what it is with: "
            f"rsmeta inspect {source}"
        )
    wanted = {"embed_dim": layout.dim, "depth": layout.depth, "patch_size": layout.patch_px}
    if found != wanted:
        size = _named_size(found)
        mend = f"backbone={PRITHVI}{size}" if size else "options to the file's measures"
        raise CheckpointError(
            f"{source} holds a Prithvi with {_listed(found)}, and {name} has {_listed(wanted)}; "
            f"set model.{mend}"
        )


def _listed(measures: Mapping[str, int]) -> str:
    return ", ".join(f"{key}={value}" for key, value in measures.items())


def _named_size(found: Mapping[str, int]) -> str | None:
    seen = tuple(found.values())
    return next((k for k, s in SIZES.items() if (s.dim, s.depth, s.patch_px) == seen), None)


def _layout(name: str, options: PrithviOptions) -> Layout:
    """Settle the measures: options, else those of the name.

    Raises:
        ConfigError: They do not fit one another.
    """
    size = SIZES[_size_of(name)]
    dim, heads = options.embed_dim or size.dim, options.num_heads or size.heads
    patch_px = options.patch_size or size.patch_px
    image_px = options.img_size or _IMAGE_PX
    for what, value, of in (
        ("embed_dim", dim, 16), ("embed_dim", dim, heads), ("img_size", image_px, patch_px),
    ):  # fmt: skip
        if value % of:
            raise ConfigError(f"model.options of {name}: {what}={value} must be a multiple of {of}")
    return Layout(
        image_px=image_px,
        patch_px=patch_px,
        dim=dim,
        depth=options.depth or size.depth,
        heads=heads,
        hidden=max(int(dim * (options.mlp_ratio or 4)), 1),
        channel_dim=0,
        global_pool=bool(options.global_pool),
    )


def _published(name: str, source: str, layout: Layout) -> BackboneRecord:
    """Describe the published weights; all sizes were trained on the same images."""
    known = weights_of(f"{PRITHVI}300m")[0].record("prithvi", source)
    return BackboneRecord(
        name, "prithvi", source, PRITHVI_BANDS, known.mean, known.std, layout.image_px,
        PRITHVI_LICENCE, unit="reflectance",
    )  # fmt: skip


def describe_prithvi(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Return what a published file says of itself, as plain values; none: it is no Prithvi."""
    stem = checkpoint.tensors.get(f"encoder.{STEM_WEIGHT}")
    found = _measures(encoder_state(checkpoint.tensors))
    if stem is None or stem.ndim != 5 or found is None:
        return None
    context = f"encoder.{_TIME}" in checkpoint.tensors
    size = _named_size(found)
    end = PRITHVI_TL if context else ""
    return {
        "family": "Prithvi-EO-2.0",
        "backbone": f"{PRITHVI}{size}{end}" if size else None,
        "size": size or "custom",
        "dim": found["embed_dim"],
        "depth": found["depth"],
        "patch_px": found["patch_size"],
        "bands": stem.shape[1],
        "embeds": "date and location, if they are given" if context else "images alone",
    }
