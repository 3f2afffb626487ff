"""Build a masked autoencoder for bands and chips, and describe the backbone that it leaves."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rsmeta.config.model import ModelSpec
from rsmeta.errors import ConfigError
from rsmeta.models.names import satmae_names
from rsmeta.models.records import OwnRecord
from rsmeta.models.satmae.build import build_satmae
from rsmeta.models.satmae.encoder import GroupEncoder
from rsmeta.models.satmae.mae import GroupAutoencoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from rsmeta.config.pretrain import AutoencoderSpec, PretrainSettings
    from rsmeta.geo.bands import Band
    from rsmeta.models.records import BackboneRecord, InputUnit

logger = logging.getLogger(__name__)

#: Mean and standard deviation per band, (C,) each.
Statistics = tuple["Sequence[float] | np.ndarray", "Sequence[float] | np.ndarray"]


def build_autoencoder(
    settings: PretrainSettings, bands: Sequence[Band]
) -> tuple[GroupAutoencoder, Statistics | None]:
    """Build the autoencoder that settings describe.

    Args:
        settings: Backbone, decoder, mask and size of the chips.
        bands: Bands of the chips, in their order.

    Returns:
        The autoencoder; and mean and deviation per band that the weights it starts from were
        normalised with, none where there are no such weights or they expect another form.

    Raises:
        UnknownNameError: No SatMAE of that name.
        ConfigError: A backbone without channel groups, an option or a chip that does not fit, a
            band of no group, or a mask that leaves nothing.
        CheckpointError: Weights that are unavailable or do not fit.
    """
    backbone = build_satmae(_encoder_spec(settings.model), bands)
    encoder = backbone.vit
    assert isinstance(encoder, GroupEncoder)
    _check_chip(settings, encoder)
    decoder = settings.model.decoder
    autoencoder = GroupAutoencoder(
        encoder,
        dim=decoder.dim,
        channel_dim=decoder.channel_embed,
        depth=decoder.depth,
        heads=decoder.heads,
    )
    return autoencoder, _kept_statistics(backbone.record, encoder)


def backbone_record(
    encoder: GroupEncoder, mean: Tensor, std: Tensor, *, unit: InputUnit | None, licence: str | None
) -> OwnRecord:
    """Describe what the encoder expects of its bands.

    Args:
        encoder: The encoder.
        mean: Mean of each input band that it was trained with, (C,), in ``unit``.
        std: Standard deviation likewise.
        unit: What they are in; none: unknown.
        licence: Of the weights.
    """
    order = [i for group in encoder.groups for i in group.inputs]
    groups = tuple(group.names for group in encoder.groups)
    return OwnRecord(
        bands=tuple(name for group in groups for name in group),
        mean=tuple(float(mean[i]) for i in order),
        std=tuple(float(std[i]) for i in order),
        form="standard",
        unit=unit,
        licence=licence,
        groups=groups,
    )


def _encoder_spec(spec: AutoencoderSpec) -> ModelSpec:
    if spec.backbone in satmae_names() and not spec.backbone.endswith("_group"):
        raise ConfigError(
            f"model.backbone={spec.backbone} has no channel groups, which pretraining is for; "
            f"choose a satmae_vit_..._group"
        )
    # The class token's pooling: masked autoencoding has no use for the other.
    options = {**spec.options, "global_pool": False}
    if spec.options.get("global_pool"):
        raise ConfigError(
            "model.options.global_pool=true has no place in pretraining; set it where the "
            "backbone is used"
        )
    return ModelSpec(backbone=spec.backbone, options=options, checkpoint=spec.checkpoint)


def _check_chip(settings: PretrainSettings, encoder: GroupEncoder) -> None:
    patch_px, chip_px = encoder.layout.patch_px, settings.data.chip_px
    if chip_px % patch_px:
        raise ConfigError(
            f"data.chip_px={chip_px} is no multiple of the backbone's patch of {patch_px} pixels; "
            f"set data.chip_px={max(chip_px // patch_px, 1) * patch_px}"
        )
    count = (chip_px // patch_px) ** 2
    count *= 1 if settings.mask.spatial == "consistent" else encoder.parts
    if int(count * (1 - settings.mask.ratio)) < 1:
        raise ConfigError(
            f"mask.ratio={settings.mask.ratio:g} leaves none of the {count} tokens of a chip to "
            f"see; set it below {1 - 1 / count:.3g}"
        )


def _kept_statistics(record: BackboneRecord, encoder: GroupEncoder) -> Statistics | None:
    if record.source is None:
        return None
    if record.form != "standard" or record.mean is None or record.std is None or not record.bands:
        logger.info(
            "%s expects its bands in another form than (x - mean) / std; it learns this one, with "
            "the statistics of these scenes",
            record.source,
        )
        return None
    of_band = {name: i for i, name in enumerate(record.bands)}
    order = sorted(
        (place, name)
        for group in encoder.groups
        for name, place in zip(group.names, group.inputs, strict=True)
    )
    new = [name for _, name in order if name not in of_band]
    if new:
        logger.info(
            "%s has no statistics for %s; all bands are normalised by these scenes' own statistics",
            record.source,
            ", ".join(new),
        )
        return None
    kept = [of_band[name] for _, name in order]
    return [record.mean[i] for i in kept], [record.std[i] for i in kept]
