"""Build a DOFA, or one built like it: a plain ViT with filters for the bands of the input."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from rsmeta.errors import UnknownNameError
from rsmeta.geo.sensors import known_band
from rsmeta.models.checkpoint import LoadReport, load_strictly, open_checkpoint
from rsmeta.models.dofa.generator import has_generator
from rsmeta.models.dofa.stem import DOFA, Generated
from rsmeta.models.names import DOFA_LICENCE, DOFA_NETWORKS
from rsmeta.models.patch_stem import own_bands
from rsmeta.models.records import BackboneRecord, own_record
from rsmeta.models.stem import random_stem
from rsmeta.models.timm.build import create_network
from rsmeta.models.timm.convert import fit_to_model
from rsmeta.models.timm.vit import TimmViT
from rsmeta.models.weights import named_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.checkpoint import StateDict
    from rsmeta.models.weights import LocalWeights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratedFamily:
    """A family of plain vision transformers whose filters are made of wavelengths.

    Args:
        name: Of the family, in records.
        networks: The network of timm that is built like each of its backbones.
        filters: How its filters come about.
        licence: Of its published weights.
        eps: Of its normalisations.
        settle: Given a checkpoint's tensors, the side of a patch and the checkpoint's name, changes
            what must be changed before they are loaded, and returns names of what it drops.
    """

    name: str
    networks: Mapping[str, str]
    filters: Generated
    licence: str
    eps: float = 1e-6
    settle: Callable[[StateDict, int, str], tuple[str, ...]] = lambda *_: ()


DOFA_FAMILY = GeneratedFamily("dofa", DOFA_NETWORKS, DOFA, DOFA_LICENCE)


def build_dofa(spec: ModelSpec, bands: Sequence[Band] | None = None) -> TimmViT:
    """Build a DOFA, as ``build_generated`` does."""
    return build_generated(spec, bands, DOFA_FAMILY)


def build_generated(
    spec: ModelSpec, bands: Sequence[Band] | None, family: GeneratedFamily
) -> TimmViT:
    """Build a backbone of a family, with its weights if some are named, for these bands.

    Args:
        spec: ``backbone`` (with or without the tag of its weights), ``options`` (timm's),
            ``checkpoint``, ``pretrained``, ``stem``.
        bands: Bands of the input, in its order; none: the family's reference.
        family: Which one.

    Raises:
        UnknownNameError: No backbone of that name, or no weights of that tag.
        ConfigError: An option that it does not take.
        CheckpointError: Weights that are unavailable or do not fit.
    """
    name = spec.backbone.partition(".")[0]
    if name not in family.networks:
        raise UnknownNameError("backbone", name, family.networks)
    full, weights = named_weights(spec)
    if weights is not None:
        return _loaded(spec, full, weights, bands, family)
    bands = tuple(map(known_band, family.filters.spectrum.reference)) if bands is None else bands
    net = _network(spec, name, len(bands), family)
    image_px = int(net.patch_embed.img_size[0])
    record = BackboneRecord(name, family.name, None, None, None, None, image_px, None)
    return TimmViT(net, bands, record=record, stem_report=random_stem(bands), load_report=None)


def _loaded(
    spec: ModelSpec,
    full: str,
    weights: LocalWeights,
    bands: Sequence[Band] | None,
    family: GeneratedFamily,
) -> TimmViT:
    checkpoint, source = open_checkpoint(weights.path), weights.source
    state = {key.removeprefix("module."): value for key, value in checkpoint.tensors.items()}
    record = BackboneRecord(
        full, family.name, source, family.filters.spectrum.reference, None, None, 224,
        family.licence if has_generator(state, family.filters.at) else None,
    ).told_by(own_record(checkpoint.notes, source))  # fmt: skip
    bands = own_bands(spec, record) if bands is None else bands
    net = _network(spec, full.partition(".")[0], len(bands), family)
    stem_report = family.filters.fit(state, spec.stem, record.expected, bands, source=source)
    settled = family.settle(state, int(net.patch_embed.patch_size[0]), source)
    state, reshaped, dropped = fit_to_model(state, net)
    report = load_strictly(
        net,
        state,
        report=LoadReport(source, weights.sha256, 0, (), dropped + settled, reshaped),
        # The published files have no last normalisation: theirs belonged to a classifier.
        optional=("fc_norm.", *(("patch_embed.",) if spec.stem.strategy == "random" else ())),
    )
    logger.debug("%s", report.summary())
    return TimmViT(net, bands, record=record, stem_report=stem_report, load_report=report)


def _network(spec: ModelSpec, name: str, channels: int, family: GeneratedFamily) -> Any:
    """Return timm's network, whose patches begin a pixel before the image, as DOFA's do."""
    options = {**spec.options, "global_pool": "avg"}
    as_timm = spec.model_copy(update={"backbone": family.networks[name], "options": options})
    net = create_network(as_timm, channels)
    net.set_grad_checkpointing(bool(spec.options.get("grad_checkpointing")))
    for module in net.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = family.eps
    plain = net.patch_embed.proj
    net.patch_embed.proj = nn.Conv2d(
        channels, plain.out_channels, plain.kernel_size, plain.stride, padding=1
    )
    nn.init.trunc_normal_(net.patch_embed.proj.weight, std=0.02)
    nn.init.zeros_(net.patch_embed.proj.bias)
    return net
