"""Build a network from settings: backbone for the bands, tuner, head for the classes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rsmeta.errors import ConfigError
from rsmeta.heads import HeadInput, build_head
from rsmeta.models.families import build_backbone
from rsmeta.models.network import Network
from rsmeta.models.prepare import Prepare
from rsmeta.peft import apply_tuner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.config.tuner import TunerSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.backbone import Backbone
    from rsmeta.models.prepare import BandValues

logger = logging.getLogger(__name__)


def build_network(
    model: ModelSpec,
    tuner: TunerSpec | Sequence[TunerSpec],
    *,
    bands: Sequence[Band],
    classes: int,
    mean: BandValues,
    std: BandValues,
) -> Network:
    """Build the network that settings describe.

    Args:
        model: Backbone, stem and head.
        tuner: What is trained, and how: one method, or several that act together.
        bands: Bands of the images, in their order, C.
        classes: Number of classes K.
        mean: Mean of each band over training pixels, physical units, (C,).
        std: Standard deviation likewise.

    Raises:
        UnknownNameError: A backbone, tuner or head of that name does not exist.
        ConfigError: An option that does not fit.
        CheckpointError: Weights that cannot be had or do not fit.
        TunerError: The backbone cannot take the tuner.
    """
    backbone = build_backbone(model, bands)
    if backbone.dates != 1:
        raise ConfigError(
            f"model.backbone={model.backbone} takes {backbone.dates} images of one place with "
            f"their dates, and the scenes here hold one each; choose a satmae_vit_..._rgb or "
            f"satmae_vit_..._group, or build it from Python for its features"
        )
    shape = HeadInput(
        dim=backbone.dim,
        patch_px=backbone.patch_px,
        depth=backbone.depth,
        channels=len(backbone.bands),
    )
    head = build_head(model.head, shape, classes)
    tuned = apply_tuner(backbone, tuner, classes=classes)
    _set_stem(backbone, model)
    return Network(Prepare(mean, std), backbone, head, tuned=tuned)


def _set_stem(backbone: Backbone, model: ModelSpec) -> None:
    """Let the stem learn as the settings say; by default where a band had no filter."""
    wanted = model.stem.trainable
    if wanted == "auto":
        if backbone.stem_report.all_matched:
            return  # as the tuner left it
        wanted = True
    backbone.stem.requires_grad_(bool(wanted))


def tell(network: Network) -> None:
    """Log what of a network is trained, and warn of what can hardly work."""
    backbone, tuned = network.backbone, network.tuned
    logger.info("%s", tuned.summary())
    if not backbone.has_weights and not tuned.trained_parameters:
        logger.warning(
            "the backbone %s has random weights, which tuner.method=%s leaves frozen: it can "
            "learn little; set tuner.method=full, or give weights with model.checkpoint= or "
            "model.pretrained=true",
            backbone.record.name,
            tuned.method,
        )
