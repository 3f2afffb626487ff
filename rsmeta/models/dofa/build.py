"""Build a DOFA by name: a plain vision transformer with filters for the bands of the input."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from torch import nn

from rsmeta.errors import UnknownNameError
from rsmeta.geo.sensors import known_band
from rsmeta.models.checkpoint import LoadReport, load_strictly, open_checkpoint
from rsmeta.models.dofa.generator import has_generator
from rsmeta.models.dofa.stem import SENTINEL2, fit_dofa_stem
from rsmeta.models.names import DOFA_LICENCE, DOFA_NETWORKS
from rsmeta.models.patch_stem import own_bands
from rsmeta.models.records import BackboneRecord, own_record
from rsmeta.models.stem import random_stem
from rsmeta.models.timm.build import create_network
from rsmeta.models.timm.convert import fit_to_model
from rsmeta.models.timm.vit import TimmViT
from rsmeta.models.weights import named_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.stem import StemReport
    from rsmeta.models.weights import LocalWeights

logger = logging.getLogger(__name__)


def build_dofa(spec: ModelSpec, bands: Sequence[Band] | None = None) -> TimmViT:
    """Build a DOFA, with its weights if some are named, for these bands.

    Args:
        spec: ``backbone`` (``dofa_vit_b16``, with or without the tag of its weights),
            ``options`` (timm's), ``checkpoint``, ``pretrained``, ``stem``.
        bands: Bands of the input, in its order; none: those of Sentinel-2 that it was trained on.

    Raises:
        UnknownNameError: No DOFA of that name, or no weights of that tag.
        ConfigError: An option that it does not take.
        CheckpointError: Weights that are unavailable or do not fit.
    """
    name = spec.backbone.partition(".")[0]
    if name not in DOFA_NETWORKS:
        raise UnknownNameError("backbone", name, DOFA_NETWORKS)
    full, weights = named_weights(spec)
    if weights is None:
        bands = tuple(map(known_band, SENTINEL2)) if bands is None else bands
        net = _network(spec, name, len(bands))
        record = BackboneRecord(name, "dofa", None, None, None, None, _image_px(net), None)
        return _wrapped(net, bands, record, random_stem(bands))
    return _loaded(spec, full, weights, bands)


def _loaded(
    spec: ModelSpec, full: str, weights: LocalWeights, bands: Sequence[Band] | None
) -> TimmViT:
    checkpoint = open_checkpoint(weights.path)
    state = {key.removeprefix("module."): value for key, value in checkpoint.tensors.items()}
    own = own_record(checkpoint.notes, weights.source)
    record = BackboneRecord(
        full, "dofa", weights.source, SENTINEL2, None, None, 224,
        DOFA_LICENCE if has_generator(state) else None,
    ).told_by(own)  # fmt: skip
    bands = own_bands(spec, record) if bands is None else bands
    net = _network(spec, full.partition(".")[0], len(bands))
    stem_report = fit_dofa_stem(state, spec.stem, record.expected, bands, source=weights.source)
    state, reshaped, dropped = fit_to_model(state, net)
    report = load_strictly(
        net,
        state,
        report=LoadReport(weights.source, weights.sha256, 0, (), dropped, reshaped),
        # The published files have no last normalisation: theirs belonged to a classifier.
        optional=("fc_norm.", *(("patch_embed.",) if spec.stem.strategy == "random" else ())),
    )
    logger.debug("%s", report.summary())
    return _wrapped(net, bands, record, stem_report, report)


def _network(spec: ModelSpec, name: str, channels: int) -> Any:
    """Return timm's network, whose patches begin a pixel before the image, as DOFA's do."""
    options = {**spec.options, "global_pool": "avg"}
    as_timm = spec.model_copy(update={"backbone": DOFA_NETWORKS[name], "options": options})
    net = create_network(as_timm, channels)
    net.set_grad_checkpointing(bool(spec.options.get("grad_checkpointing")))
    plain = net.patch_embed.proj
    net.patch_embed.proj = nn.Conv2d(
        channels, plain.out_channels, plain.kernel_size, plain.stride, padding=1
    )
    nn.init.trunc_normal_(net.patch_embed.proj.weight, std=0.02)
    nn.init.zeros_(net.patch_embed.proj.bias)
    return net


def _wrapped(
    net: Any,
    bands: Sequence[Band],
    record: BackboneRecord,
    stem_report: StemReport,
    load_report: LoadReport | None = None,
) -> TimmViT:
    return TimmViT(net, bands, record=record, stem_report=stem_report, load_report=load_report)


def _image_px(net: Any) -> int:
    return int(net.patch_embed.img_size[0])
