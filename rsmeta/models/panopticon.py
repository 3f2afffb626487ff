"""Panopticon: a DINOv2 ViT-B whose stem weighs bands of any sensor by attention."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import torch

from rsmeta.errors import CheckpointError, ConfigError, UnknownNameError
from rsmeta.geo.sensors import known_band
from rsmeta.models.channel_attention import BAND_ROWS, ChannelAttention, fold
from rsmeta.models.checkpoint import LoadReport, check_numbers, load_strictly, open_checkpoint
from rsmeta.models.dofa.generator import sines
from rsmeta.models.dofa.spectrum import Spectrum
from rsmeta.models.names import PANOPTICON_LICENCE, panopticon_names
from rsmeta.models.patch_stem import named_bands, own_bands
from rsmeta.models.records import BackboneRecord, own_record
from rsmeta.models.stem import StemReport, band_table, random_stem
from rsmeta.models.timm.build import create_network
from rsmeta.models.timm.convert import fit_to_model
from rsmeta.models.timm.names import size_name
from rsmeta.models.timm.vit import TimmViT
from rsmeta.models.weights import named_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from rsmeta.config.model import ModelSpec, StemSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.backbone import OwnWeights
    from rsmeta.models.checkpoint import Checkpoint, StateDict

logger = logging.getLogger(__name__)

(NAME,) = panopticon_names()
_TIMM_NAME = "vit_base_patch14_dinov2"
_STEM = "patch_embed."
_CHANNELS = f"{_STEM}chnfus.chnemb."
_BLOCK = re.compile(r"blocks\.(\d+)\.")

#: Bands of Sentinel-2; what strategies other than ``match`` and ``wavelength`` start from.
SENTINEL2 = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")

#: Polarisations, sent and received, in the order of Panopticon's channel ids from -1 on.
_POLARISATIONS = ("vv", "vh", "hh", "hv")
_RECEIVED = (0, 1, 1, 0)


def panopticon_code(band: Band) -> float | None:
    """Return the channel id of a band: whole nm, or below 0 for radar; none: it has none."""
    name = band.name.casefold()
    if name in _POLARISATIONS:
        return -1.0 - _POLARISATIONS.index(name)
    if band.spectrum_part == "microwave" or band.wavelength_nm is None:
        return None
    return float(int(band.wavelength_nm))


def _label(code: float) -> str:
    return f"{code:g} nm" if code >= 0 else _POLARISATIONS[round(-1 - code)].upper()


SPECTRUM = Spectrum("Panopticon", SENTINEL2, panopticon_code, _label)


class PanopticonViT(TimmViT):
    """A Panopticon as a backbone."""

    def own_weights(self) -> OwnWeights:
        """Return the weights as a file of them has them.

        Raises:
            ConfigError: The bands are projected, which attention over them cannot absorb.
        """
        if self.projection is not None:
            raise ConfigError(
                f"{self.record.name} projects or reduces its bands before attention weighs them, "
                f"which no weights file can hold; train it with model.stem.strategy=match"
            )
        return super().own_weights()


def build_panopticon(spec: ModelSpec, bands: Sequence[Band] | None = None) -> PanopticonViT:
    """Build a Panopticon, with its weights if some are named, for these bands.

    Args:
        spec: ``backbone`` (``panopticon_vit_b14``, with or without the tag of its weights),
            ``options`` (timm's), ``checkpoint``, ``pretrained``, ``stem``.
        bands: Bands of the input, in its order; none: those of Sentinel-2.

    Raises:
        UnknownNameError: No Panopticon of that name, or no weights of that tag.
        ConfigError: An option that it does not take.
        CheckpointError: Weights that are unavailable or do not fit.
    """
    name = spec.backbone.partition(".")[0]
    if name != NAME:
        raise UnknownNameError("backbone", name, panopticon_names())
    full, weights = named_weights(spec)
    if weights is None:
        bands = tuple(map(known_band, SENTINEL2)) if bands is None else bands
        net = _network(spec, len(bands))
        image_px = int(net.patch_embed.img_size[0])
        bare = BackboneRecord(name, "panopticon", None, None, None, None, image_px, None)
        stem_report = random_stem(bands)
        return PanopticonViT(net, bands, record=bare, stem_report=stem_report, load_report=None)
    checkpoint, source = open_checkpoint(weights.path), weights.source
    state = {key.removeprefix("module."): value for key, value in checkpoint.tensors.items()}
    record = BackboneRecord(
        full, "panopticon", source, SENTINEL2, None, None, 224,
        PANOPTICON_LICENCE if has_channels(state) else None,
    ).told_by(own_record(checkpoint.notes, source))  # fmt: skip
    bands = own_bands(spec, record) if bands is None else bands
    net = _network(spec, len(bands))
    stem_report = fit_attention(state, spec.stem, record.expected, bands, source=source)
    state, reshaped, dropped = fit_to_model(state, net)
    report = load_strictly(
        net,
        state,
        report=LoadReport(source, weights.sha256, 0, (), dropped, reshaped),
        optional=(_STEM,) if spec.stem.strategy == "random" else (),
    )
    logger.debug("%s", report.summary())
    return PanopticonViT(net, bands, record=record, stem_report=stem_report, load_report=report)


def _network(spec: ModelSpec, channels: int) -> Any:
    as_timm = spec.model_copy(update={"backbone": _TIMM_NAME})
    net = create_network(as_timm, channels)
    net.set_grad_checkpointing(bool(spec.options.get("grad_checkpointing")))
    plain = net.patch_embed
    net.patch_embed = ChannelAttention(
        plain.img_size[0], plain.patch_size[0], channels, net.embed_dim
    )
    return net


def has_channels(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors are those of a Panopticon as published."""
    return f"{_CHANNELS}embed_transmit" in state


def fit_attention(
    state: StateDict, spec: StemSpec, recorded: Sequence[Band] | None, bands: Sequence[Band],
    *, source: str,
) -> StemReport:  # fmt: skip
    """Replace the patch embedding in ``state`` by one for ``bands``.

    Args:
        state: Tensors as published or after an earlier training; changed.
        spec: How rows of bands are made.
        recorded: The bands that earlier training left; none: none did.
        bands: Bands of the input, in its order.
        source: The checkpoint; for messages.

    Raises:
        CheckpointError: The patch embedding is damaged, or its bands are unknown.
    """
    stem = {k.removeprefix(_STEM): state.pop(k) for k in list(state) if k.startswith(_STEM)}
    if spec.strategy == "random":
        return random_stem(bands, "random")
    if not has_channels({f"{_STEM}{key}": value for key, value in stem.items()}):
        if BAND_ROWS[0] not in stem:
            raise CheckpointError(
                f"{source} is no Panopticon checkpoint; see what it is with: "
                f"rsmeta inspect {source}"
            )
        known = named_bands(len(stem[BAND_ROWS[0]]), spec.bands, recorded, source)
        report = _mix(stem, known, bands, spec)
    else:
        check_numbers(stem, source)
        plan = SPECTRUM.plan(spec, bands)
        try:
            stem = fold(stem, channel_embeddings(stem, plan.codes))
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"{source} has no complete attention over bands, as a Panopticon has; get the "
                f"file again"
            ) from error
        if plan.direct:
            for key in BAND_ROWS:
                stem[key] = plan.spread(stem[key], dim=0)
            report = plan.report
        else:
            report = _mix(stem, plan.reference, bands, plan.spec)
            report = StemReport(report.filters, spec.strategy, report.notes)
    state |= {f"{_STEM}{key}": value for key, value in stem.items()}
    return report


def _mix(
    stem: StateDict, known: Sequence[Band], bands: Sequence[Band], spec: StemSpec
) -> StemReport:
    """Make the rows of bands from those of other bands."""
    table, filters = band_table(known, bands, spec.strategy)
    for key in BAND_ROWS:
        stem[key] = torch.einsum("bk,k...->b...", table, stem[key].float())
    return StemReport(filters, spec.strategy)


def channel_embeddings(stem: Mapping[str, Tensor], codes: Sequence[float]) -> Tensor:
    """Return the embeddings (C, A) of channel ids, as published.

    Args:
        stem: The patch embedding as published, without ``patch_embed.`` before its names.
        codes: Whole nm; -1 to -4: VV, VH, HH, HV, of a pass whose direction is unknown.
    """
    own = {k.removeprefix("chnfus.chnemb."): v.float() for k, v in stem.items()}
    dim = stem["chnfus.query"].shape[-1]
    orbit = own["embed_orbit"].mean(dim=0)
    rows = []
    for code in codes:
        if code >= 0:
            rows.append(sines(torch.tensor([code]), dim)[0])
            continue
        kind = round(-1 - code)
        sent, received = own["embed_transmit"][kind // 2], own["embed_receive"][_RECEIVED[kind]]
        rows.append(torch.cat([sent, received, orbit]))
    return torch.stack(rows)


def describe_panopticon(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Return what a published file says of itself, as plain values; none: it is no Panopticon."""
    state = {key.removeprefix("module."): value for key, value in checkpoint.tensors.items()}
    places, cut = state.get("pos_embed"), state.get(f"{_STEM}conv3d.conv3d.weight")
    if not has_channels(state) or places is None or cut is None:
        return None
    dim, patch_px = places.shape[-1], cut.shape[-1]
    depth = len({m[1] for key in state if (m := _BLOCK.match(key))})
    return {
        "family": "Panopticon",
        "backbone": NAME,
        "size": size_name(dim, depth),
        "dim": dim,
        "depth": depth,
        "patch_px": patch_px,
        "image_px": round((places.shape[1] - 1) ** 0.5) * patch_px,
        "bands": "any, by wavelength or polarisation",
        "licence": f"{PANOPTICON_LICENCE} as its authors publish it",
    }
