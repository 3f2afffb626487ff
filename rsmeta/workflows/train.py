"""Train a model from a configuration, and leave a run folder with a bundle in it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta._version import __version__
from rsmeta.bundle import ModelBundle, annotate_bundle, load_bundle, save_bundle
from rsmeta.bundle.record import (
    BackboneIdentity,
    BandRecord,
    BundleRecord,
    ReadRecord,
    StemRecord,
    TargetRecord,
)
from rsmeta.config import Settings, load_settings
from rsmeta.config.meta import MetaSettings
from rsmeta.data.images.datamodule import ImageDataModule
from rsmeta.errors import ConfigError, LabelsError, TrainingError, enumerate_names, optional
from rsmeta.geo.stac_parts import footprint_of
from rsmeta.heads import SolvedHead
from rsmeta.losses import build_loss, check_loss
from rsmeta.models.build import build_network, model_notes, report_network
from rsmeta.models.weights import is_local
from rsmeta.peft import check_tuner, fixed_sites, scales_of, site_modulators
from rsmeta.tasks import task_of
from rsmeta.training.baseline import baseline_scores, compare_with_baselines
from rsmeta.training.fit import evaluate_part
from rsmeta.training.head_start import start_head
from rsmeta.training.meta import check_strategy, judge_scales
from rsmeta.training.module import TaskModule
from rsmeta.workflows.image_record import image_record
from rsmeta.workflows.run_folder import METRICS_FILE, check_run
from rsmeta.workflows.training_run import TrainingRun, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.figure import Figure

    from rsmeta.config.load import Overrides
    from rsmeta.config.predict import PredictSettings
    from rsmeta.data.splits import Part
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData
    from rsmeta.training.fit import FitResult

logger = logging.getLogger(__name__)

#: Side of the tiles of backbones that look at a pixel's neighbourhood only.
_LOCAL_TILE_PX = 256


@dataclass(frozen=True)
class TrainResult:
    """What a finished run produced.

    Attributes:
        output: The run folder.
        bundle: The trained model, saved under ``output/bundle``.
        metrics: What ``metrics.json`` holds.
    """

    output: Path
    bundle: ModelBundle
    metrics: dict[str, Any]


def train(
    config: str | Path | Mapping[str, Any] | Settings,
    overrides: Overrides = (),
    *,
    output: str | Path,
    resume: bool = False,
    progress: bool = False,
) -> TrainResult:
    """Train a model from a configuration.

    Args:
        config: YAML file, mapping, or settings.
        overrides: ``KEY=VALUE`` strings, or a mapping, over the configuration.
        output: Run folder; created if needed.
        resume: Continue the run in ``output``.
        progress: Draw a progress bar.

    Returns:
        The run folder with its bundle and final numbers.

    Raises:
        RsmetaError: Anything a user can correct: settings, scenes, labels, output, NaN.
    """
    settings = config if isinstance(config, Settings) else load_settings(config, overrides)
    if settings.sweep is not None:
        raise ConfigError("the configuration has a section sweep; call rsmeta.sweep, or drop it")
    task = task_of(settings)
    check_loss(settings.loss, task.losses)  # before labels are read, which may take long
    check_tuner(settings.tuner)
    run = TrainingRun(output, settings, resume=resume)
    output = run.output
    check_strategy(settings.meta)
    scales = None
    if settings.meta.retrain:
        scales = learn_scales(settings, output / "scales", resume=resume, progress=progress)
        settings = with_fixed_scales(settings)
    data = task.data(settings, meta=settings.meta)
    mean, std = data.statistics
    network = build_network(
        settings.model, settings.tuner, bands=data.bands, classes=task.outputs(data),
        mean=mean, std=std, meta=settings.meta, per_pixel=task.per_pixel,
        target=task.target_scale(data), sites=scales,
    )  # fmt: skip
    for site, scale in (scales or {}).items():
        site_modulators(network.backbone)[site].set(scale)
    report_network(network)
    _report_parameters(network)
    loss = build_loss(settings.loss, task.loss_statistics(data), task.losses)
    module = TaskModule(network, loss, task.metrics(data), settings)
    if isinstance(network.head, SolvedHead):
        result = run.solve(network, data)
    else:
        if run.starts_anew:
            start_head(network, data, settings)
        result = run.fit(module, data, progress=progress)
    if result.scales is not None:
        optimizer = settings.trainer.optimizer.name
        for warning in judge_scales(result.scales, settings.meta, optimizer):
            logger.warning(warning)
    _prune(network, settings.meta.prune)
    # First of all the model: scores and pictures may fail.
    bundle = save_bundle(output / "bundle", describe(settings, data, network), network)
    run.note("model.txt", model_notes(network))
    numbers = _final_metrics(module, data, result, seconds=run.seconds())
    run.draw(lambda: _pictures(module, data, result))
    bundle = annotate_bundle(
        bundle, {"seed": settings.seed, **numbers}, quicklook=output / "plots" / "chips.png"
    )
    run.finish(numbers)
    return TrainResult(output, bundle, numbers)


def _pictures(
    module: TaskModule, data: TrainingData, result: FitResult
) -> dict[str, Callable[[], Figure]]:
    # here, so that a broken matplotlib costs the pictures alone
    from rsmeta.training.plots import run_pictures
    from rsmeta.training.scale_plot import draw_scales

    pictures = run_pictures(module, data, result.history)
    scales = result.scales
    if scales is not None:
        final = scales_of(module.network.backbone)
        pictures["scales.png"] = lambda: draw_scales(final, scales)
    return pictures


def _warn_of_weak_points(numbers: dict[str, Any], result: FitResult) -> None:
    """Warn of a class that is never predicted, and of a loss that did not fall."""
    part = "test" if "test" in numbers else "validation"
    scores = numbers.get(part, {})
    confusion = np.asarray(scores.get("confusion", np.zeros((0, 0))))  # (reference, predicted)
    never = (confusion.sum(axis=0) == 0) & (confusion.sum(axis=1) > 0)
    missed = [name for name, is_missed in zip(scores.get("classes", ()), never, strict=False)
              if is_missed]  # fmt: skip
    if missed:
        logger.warning(
            "never predicted in the %s part: %s; train longer, add labels, or weight the loss by "
            "class (loss=class_balanced)", part, enumerate_names(missed),
        )  # fmt: skip
    losses = [row["train_loss"] for row in result.history]
    if len(losses) > 1 and not losses[-1] < losses[0]:
        logger.warning(
            "the training loss did not fall (%.4g in the first epoch, %.4g in the last); check the "
            "labels, or change trainer.optimizer.lr", losses[0], losses[-1],
        )  # fmt: skip


def learn_scales(
    settings: Settings, output: Path, *, resume: bool, progress: bool
) -> dict[str, float]:
    """Train once for the scales alone, unless that is done; return those of the sites to keep.

    Args:
        settings: Those of both trainings.
        output: Run folder of this one.
        resume: Continue it if it was begun.
        progress: Draw a progress bar.
    """
    once = settings.model_copy(update={"meta": settings.meta.model_copy(update={"retrain": False})})
    if (output / METRICS_FILE).exists():
        check_run(output, once, resume=True)
        record = load_bundle(output / "bundle").record
    else:
        record = train(once, output=output, resume=resume, progress=progress).bundle.record
    assert record.scales is not None
    return dict(record.scales)


def with_fixed_scales(settings: Settings) -> Settings:
    """Return the settings of a training whose scales are not learned."""
    learned = settings.meta
    fixed = MetaSettings(parametrisation=learned.parametrisation, maximum=learned.maximum)
    return settings.model_copy(update={"meta": fixed})


def describe(settings: Settings, data: TrainingData, network: Network) -> BundleRecord:
    """Return the record that makes a trained network usable on its own."""
    stem, normalisation = network.backbone.stem_report, network.normalisation
    tile_px = _tile_px(settings, network)
    bands = tuple(
        BandRecord(
            name=band.name, common_name=band.common_name, wavelength_nm=band.wavelength_nm,
            gsd_m=band.gsd_m, mean=own.mean, std=own.std, statistics_of=own.whose,
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
        ground=_footprint(data),
        backbone=_identity(network),
        model=settings.model,
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


def _tile_px(settings: Settings, network: Network) -> int:
    """Return the side of what the network sees at once."""
    asked = settings.predict.tile_px if settings.per_pixel else None
    halo_px = network.backbone.halo_px
    if asked is None and halo_px is not None:  # any size gives the same pixels
        return max(_LOCAL_TILE_PX, settings.data.chip_px, 8 * halo_px)
    return asked or settings.data.chip_px


def _exact(predict: PredictSettings, network: Network, tile_px: int) -> PredictSettings:
    """Return settings with which a pixel is mapped from all that its features look at."""
    halo_px = network.backbone.halo_px
    if halo_px is None:
        return predict
    # A little more than twice the halo, so that rounding leaves no pixel less.
    overlap = (2 * halo_px + 0.5) / tile_px if halo_px else 0.0
    return predict.model_copy(update={"blend": "centre", "overlap": overlap})


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


def _prune(network: Network, threshold: float) -> None:
    """Drop the sites whose scale fell below the threshold; nothing at 0."""
    modulators, fixed = site_modulators(network.backbone), fixed_sites(network.backbone)
    kept = [s for s, m in modulators.items() if m.strength() >= threshold or s in fixed]
    dropped = [site for site in modulators if site not in kept]
    if dropped:
        network.keep_sites(kept)
        logger.info(
            "dropped %d of %d sites, whose scale is below meta.prune=%g: %s",
            len(dropped), len(modulators), threshold, enumerate_names(dropped),
        )  # fmt: skip


def _report_parameters(network: Network) -> None:
    total = sum(p.numel() for p in network.parameters())
    trained = sum(p.numel() for p in network.trainable_parameters())
    if isinstance(network.head, SolvedHead):
        return
    if not trained:
        raise TrainingError("nothing to train: head, stem and tuner are all frozen")
    logger.info("training %s of %s parameters (%.1f %%)", f"{trained:,}", f"{total:,}",
                100 * trained / total)  # fmt: skip


def _final_metrics(
    module: TaskModule, data: TrainingData, result: FitResult, *, seconds: float
) -> dict[str, Any]:
    """Evaluate the kept weights; return what metrics.json holds."""
    metrics: dict[str, Any] = {
        "epochs": result.epochs,
        "steps": result.steps,
        "best_epoch": result.best_epoch,
        "train_loss": result.train_loss,
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "trained_parameters": sum(p.numel() for p in module.network.trainable_parameters()),
        "bands": [band.name for band in data.bands],
        **module.task.label_table(data),
    }
    if isinstance(data, ImageDataModule) and data.skipped:
        metrics["unreadable_images"] = {part: len(names) for part, names in data.skipped.items()}
    scores: dict[Part, Any] = {}
    parts: tuple[Part, Part] = ("test", "validation")
    for part in parts:  # validation last: its confusion matrix is plotted
        if data.parts[part]:
            scores[part] = evaluate_part(module, data, part=part)
            metrics[part] = scores[part].as_dict()
    _warn_of_weak_points(metrics, result)
    if module.settings.trainer.baseline and module.task.name == "segmentation":
        metrics["baseline"] = _baselines(module, data, scores)
    return metrics | {"seconds": seconds, "versions": versions()}


def _baselines(
    module: TaskModule, data: TrainingData, scores: Mapping[Part, Any]
) -> dict[str, dict[Part, Any]]:
    """Return the scores of simple classifiers on the parts that the network was scored on."""
    if not scores:
        return {}
    try:
        found = baseline_scores(data, scores, seed=module.settings.seed)
    except LabelsError as error:
        logger.warning("no baseline to compare with: %s", error)
        return {}
    part = next(iter(scores))  # the test part, if there is one
    compare_with_baselines(scores[part], {name: one[part] for name, one in found.items()}, part)
    return {name: {p: s.as_dict() for p, s in one.items()} for name, one in found.items()}
