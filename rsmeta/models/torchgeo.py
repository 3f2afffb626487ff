"""Backbones by the names of TorchGeo's weights: timm networks with bands that TorchGeo declares.

TorchGeo itself is not imported: ``configs/weights/torchgeo_*.yaml`` says what its enumerations say.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from rsmeta.errors import UnknownNameError
from rsmeta.models.names import torchgeo_names
from rsmeta.models.timm.build import build_timm
from rsmeta.models.weights import known_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.backbone import Backbone
    from rsmeta.models.weights import KnownWeights

logger = logging.getLogger(__name__)


def build_torchgeo(spec: ModelSpec, bands: Sequence[Band] | None = None) -> Backbone:
    """Build the timm network of some of TorchGeo's weights, for these bands.

    Args:
        spec: ``backbone`` (``torchgeo:ViTSmall16_Weights.SENTINEL2_ALL_MOCO``), ``options``,
            ``checkpoint`` (the file, where it lies on this machine already), ``pretrained``,
            ``stem``. The weights are taken with ``checkpoint`` or ``pretrained`` only.
        bands: Bands of the input, in its order; none: those of the weights.

    Raises:
        UnknownNameError: There are no such weights.
        ConfigError: An option that the network does not take.
        CheckpointError: Weights that are unavailable or do not fit.
    """
    if spec.backbone not in torchgeo_names():
        raise UnknownNameError("weights of TorchGeo", spec.backbone, torchgeo_names())
    known = known_weights()[spec.backbone]
    backbone = build_timm(_timm_spec(spec, known), bands)
    if not backbone.has_weights:
        logger.warning(
            "%s is built with random weights; set model.pretrained=true for those of its name",
            spec.backbone,
        )
        return backbone
    backbone.record = known.record("timm", backbone.record.source)
    return backbone


def torchgeo_plain(spec: ModelSpec) -> tuple[str, dict[str, Any]]:
    """Return timm's name of the network, and its options."""
    entry = known_weights()[spec.backbone].entry
    return entry.backbone, {**entry.options, **spec.options}


def _timm_spec(spec: ModelSpec, known: KnownWeights) -> ModelSpec:
    """Return the settings that build the same from timm's name and the file's address."""
    given: dict[str, object] = {
        "backbone": known.entry.backbone,
        "options": {**known.entry.options, **spec.options},
    }
    if spec.pretrained or spec.checkpoint is not None:
        named = spec.stem.bands or known.input.bands
        given["stem"] = spec.stem.model_copy(update={"bands": named})
    if spec.pretrained:
        given |= {"checkpoint": known.entry.source, "pretrained": False}
        given["checkpoint_sha256"] = spec.checkpoint_sha256 or known.entry.sha256
    return spec.model_copy(update=given)
