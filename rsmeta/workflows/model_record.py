"""Describe a trained network for its bundle: everything that makes it usable on its own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsmeta._version import __version__
from rsmeta.bundle.record import (
    BackboneIdentity,
    BandRecord,
    BundleRecord,
    ReadRecord,
    StemRecord,
    TargetRecord,
)
from rsmeta.data.images.datamodule import ImageDataModule
from rsmeta.errors import optional
from rsmeta.geo.stac_parts import footprint_of
from rsmeta.models.average import AverageNetwork
from rsmeta.models.weights import is_local
from rsmeta.peft import scales_of, site_modulators
from rsmeta.workflows.image_record import image_record

if TYPE_CHECKING:
    from rsmeta.config import Settings
    from rsmeta.config.model import ModelSpec
    from rsmeta.config.predict import PredictSettings
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData

#: Side of the tiles of backbones that look at a pixel's neighbourhood only.
_LOCAL_TILE_PX = 256


def describe(settings: Settings, data: TrainingData, network: Network) -> BundleRecord:
    """Return the record that makes a trained network usable on its own."""
    stem, normalisation = network.backbone.stem_report, network.normalisation
    tile_px = _tile_px(settings, network)
    bands = tuple(
        BandRecord.of(
            band, mean=own.mean, std=own.std, statistics_of=own.whose,
            filter_from=origin, data_mean=float(mean), data_std=float(std),
        )
        for band, own, origin, mean, std in zip(
            data.bands, normalisation.bands, stem.origins, *data.statistics, strict=True
        )
    )  # fmt: skip
    return BundleRecord(
        rsmeta=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        bands=bands,
        task=settings.task,
        per="pixel" if settings.per_pixel else "image",
        classes=data.classes,
        target=_target(settings, network),
        stem=StemRecord(
            strategy=stem.strategy,
            notes=stem.notes,
            form=normalisation.form,
            normalisation=normalisation.note,
        ),
        read=ReadRecord(
            **{key: getattr(settings.data, key) for key in ReadRecord.model_fields},
        ),
        image=image_record(data),
        tile_px=tile_px,
        gsd_m=data.gsd_range_m,
        footprint=_footprint(data),
        backbone=_identity(network),
        model=_pinned(network.rebuilt_by or settings.model, network),
        tuner=settings.tuner,
        meta=settings.meta,
        scales=scales_of(network.backbone),
        predict=_exact(settings.predict, network, tile_px),
        kept_sites=tuple(site_modulators(network.backbone)),
        training={"seed": settings.seed},
        weights_sha256="",
    )


def _footprint(data: TrainingData) -> dict[str, Any] | None:
    """Return the footprint of the training scenes; none where there is none to be had."""
    footprint = None
    if not isinstance(data, ImageDataModule):
        with optional("the footprint of the training scenes"):
            footprint = footprint_of(data.train_grids)
    return footprint


def _exact(predict: PredictSettings, network: Network, tile_px: int) -> PredictSettings:
    """Return settings with which a pixel is mapped from all that its features look at."""
    halo_px = network.backbone.halo_px
    if halo_px is None:
        return predict
    # A little more than twice the halo, so that rounding leaves no pixel less.
    overlap = (2 * halo_px + 0.5) / tile_px if halo_px else 0.0
    return predict.model_copy(update={"blend": "centre", "overlap": overlap})


def _tile_px(settings: Settings, network: Network) -> int:
    """Return the side of what the network sees at once."""
    asked = settings.predict.tile_px if settings.per_pixel else None
    halo_px = network.backbone.halo_px
    if asked is None and halo_px is not None:  # any size gives the same pixels
        return max(_LOCAL_TILE_PX, settings.data.chip_px, 8 * halo_px)
    return asked or settings.data.chip_px


def _pinned(model: ModelSpec, network: Network) -> ModelSpec:
    """Return a model's settings whose members take no other weights than those of training."""
    if not isinstance(network, AverageNetwork):
        return model
    pinned = []
    for one, member in zip(model.average, network.members, strict=True):
        backbone = member.backbone
        report = None if backbone.in_bundle else backbone.load_report
        sha256 = None if report is None else report.sha256
        pinned.append(one.model_copy(update={"checkpoint_sha256": sha256}))
    return model.model_copy(update={"average": tuple(pinned)})


def _target(settings: Settings, network: Network) -> TargetRecord | None:
    target, scale = settings.data.target, network.target
    if target is None or scale is None:
        return None
    return TargetRecord(
        name=target.name, unit=target.unit, mean=float(scale.mean), std=float(scale.std)
    )


def _identity(network: Network) -> BackboneIdentity:
    record, report = network.backbone.record, network.backbone.load_report
    source = None if report is None else report.source
    return BackboneIdentity(
        name=record.name,
        licence=record.licence,
        checkpoint=Path(source).name if source is not None and is_local(source) else source,
        sha256=None if report is None else report.sha256,
    )
