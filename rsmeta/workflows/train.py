"""Train a model from a configuration, and leave a run folder with a bundle in it."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lightning import seed_everything

from rsmeta.bundle import ModelBundle, annotate_bundle, load_bundle, save_bundle
from rsmeta.bundle.as_backbone import build_from
from rsmeta.config import Settings, load_settings
from rsmeta.config.meta import MetaSettings
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.data.split_table import write_split
from rsmeta.errors import ConfigError, TrainingError, enumerate_names, optional
from rsmeta.losses import build_loss, check_loss
from rsmeta.models.build import check_not_random_and_frozen, model_notes, report_network
from rsmeta.models.scalemae import at_pixel_size
from rsmeta.peft import check_tuner, fixed_sites, scales_of, site_modulators
from rsmeta.shown import Shown, View, pictures_in
from rsmeta.tasks import task_of
from rsmeta.training.head_start import start_head
from rsmeta.training.meta import check_strategy, judge_scales
from rsmeta.training.module import TaskModule
from rsmeta.training.reduction_start import start_reduction
from rsmeta.workflows.auto import duel, network_to_try
from rsmeta.workflows.cross_validation import cross_validate
from rsmeta.workflows.final_metrics import final_metrics
from rsmeta.workflows.map_scores import map_validation
from rsmeta.workflows.model_record import describe
from rsmeta.workflows.run_folder import METRICS_FILE, check_run
from rsmeta.workflows.training_run import TrainingRun

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.figure import Figure

    from rsmeta.config.load import Overrides
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData
    from rsmeta.training.fit import FitResult

logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class TrainResult(Shown):
    """What a finished run produced.

    Attributes:
        output: The run folder.
        bundle: The trained model, saved under ``output/bundle``.
        metrics: What ``metrics.json`` holds.
    """

    output: Path
    bundle: ModelBundle
    metrics: dict[str, Any]

    def view(self) -> View:
        """Return scores of each part, beside the baselines, with chips and curves."""
        models = {"this model": self.metrics, **(self.metrics.get("baseline") or {})}
        scores = [(part, name, one[part]) for part in ("validation", "test")
                  for name, one in models.items() if one.get(part)]  # fmt: skip
        names = [key for key, value in (scores[0][2] if scores else {}).items()
                 if isinstance(value, float)]  # fmt: skip
        rows = [(part, name, *map(one.get, names)) for part, name, one in scores]
        own = {f"{part} {key}": one[key] for part, name, one in scores if name == "this model"
               for key in names if key in ("macro_f1", "rmse")}  # fmt: skip
        model = self.bundle.record.backbone.name
        facts = {"output": self.output, "model": model, **own, "steps": self.metrics["steps"]}
        pictures = pictures_in(self.output / "plots", "chips.png", "curves.png")
        return View(facts, ("part", "model", *names), rows, pictures)


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
    if (known := run.finished) is not None:
        return TrainResult(output, load_bundle(output / "bundle"), known)
    check_strategy(settings.meta)
    scales = None
    if settings.meta.retrain and settings.model.is_open:
        raise ConfigError("meta.retrain needs a network; name model.backbone and model.zoom")
    if settings.meta.retrain:
        scales = learn_scales(settings, output / "scales", resume=resume, progress=progress)
        settings = with_fixed_scales(settings)
    cross_validation = _cross_validation(settings, output, resume=resume, progress=progress)
    data = task.data(settings, meta=settings.meta)
    asked = settings
    settings, selection = run.settle(settings, data)
    rival = network_to_try(asked, data, selection)
    if rival is not None:
        begun = resume and (output / "network").exists()
        tried = train(rival, output=output / "network", resume=begun, progress=progress)
        found = duel(asked, settings.model, tried.bundle.network, data)
        selection["selection"]["network"] = found
        if found["adopted"]:
            return _adopted(run, tried, selection | cross_validation)
    return _train_settled(run, settings, data, scales, selection | cross_validation, progress)


def _train_settled(
    run: TrainingRun,
    settings: Settings,
    data: TrainingData,
    scales: Mapping[str, float] | None,
    known: Mapping[str, Any],
    progress: bool,
) -> TrainResult:
    """Train a model whose settings leave nothing to choose, and write its run.

    Args:
        run: The folder, and the clock.
        settings: What is trained.
        data: Labels and scenes.
        scales: Scale of each site that keeps its adapter; none: all sites, with tuner.scale.
        known: What metrics.json says of the choice and of a cross-validation.
        progress: Draw a progress bar.
    """
    task, output = task_of(settings), run.output
    network = _build(settings, data, scales)
    loss = build_loss(settings.loss, task.loss_statistics(data), task.losses)
    module = TaskModule(network, loss, task.metrics(data), settings)
    result = _fit(run, module, data, progress=progress)
    _prune(network, settings.meta.prune)
    # First of all the model: scores and pictures may fail.
    bundle = save_bundle(output / "bundle", describe(settings, data, network), network)
    run.note("model.txt", model_notes(network))
    if isinstance(data, SceneDataModule):
        with optional("split.gpkg"):
            write_split(data.parts, data.classes, output / "split.gpkg")
    again = _refits(settings, network, data)
    numbers = final_metrics(
        module, bundle, data, result, parts=("validation",) if again else ("test", "validation")
    )
    numbers |= known
    run.draw(lambda: _pictures(module, data, result))
    if again:
        bundle, more = _refit(run, module, data, result)
        numbers = _merged(numbers, more)
    numbers["seconds"] = run.seconds()
    bundle = annotate_bundle(
        bundle, {"seed": settings.seed, **numbers}, quicklook=output / "plots" / "chips.png"
    )
    run.finish(numbers)
    return TrainResult(output, bundle, numbers)


def _refits(settings: Settings, network: Network, data: TrainingData) -> bool:
    """Whether the model is solved for once more, with the validation labels."""
    may = network.solvable and isinstance(data, SceneDataModule) and data.validates
    return may and settings.scenes.split.refit


def _refit(
    run: TrainingRun, module: TaskModule, data: TrainingData, result: FitResult
) -> tuple[ModelBundle, dict[str, Any]]:
    """Solve for the model with the validation labels, which have scored it; save and test it.

    Args:
        run: The folder.
        module: The model that was scored; its weights change.
        data: Labels and scenes.
        result: How training went.

    Returns:
        The bundle, and what metrics.json says of it.
    """
    whole = cast("SceneDataModule", data).with_validation_labels()
    logger.info("solving anew with the validation labels, which the scores above did not see: the "
                "bundle is trained on all labels%s", " but those of the test part"
                if whole.parts["test"] else "")  # fmt: skip
    run.solve(module.network, whole)
    record = describe(module.settings, data, module.network)
    bundle = save_bundle(run.output / "bundle", record, module.network)
    numbers = final_metrics(module, bundle, whole, result, parts=("test",))
    return bundle, numbers | {"trained_on": ["train", "validation"]}


def _merged(numbers: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return both, with the baselines of the parts of either."""
    first, second = numbers.get("baseline") or {}, more.get("baseline") or {}
    found = {name: first.get(name, {}) | second.get(name, {}) for name in {**first, **second}}
    return numbers | more | ({"baseline": found} if "baseline" in numbers else {})


def _adopted(run: TrainingRun, tried: TrainResult, numbers: dict[str, Any]) -> TrainResult:
    """Make the network that was tried the result of the run."""
    folder, output = tried.output, run.output
    for name in ("bundle", "plots", "history.csv", "model.txt", "split.gpkg"):
        if (folder / name).is_dir():
            shutil.copytree(folder / name, output / name, dirs_exist_ok=True)
        elif (folder / name).exists():
            shutil.copyfile(folder / name, output / name)
    metrics = tried.metrics | numbers | {"seconds": run.seconds()}
    bundle = annotate_bundle(load_bundle(output / "bundle"), tried.bundle.record.training | metrics)
    run.finish(metrics)
    return TrainResult(output, bundle, metrics)


def _cross_validation(
    settings: Settings, output: Path, *, resume: bool, progress: bool
) -> dict[str, Any]:
    """Return what metrics.json says of a cross-validation; nothing where none is asked for."""
    if not settings.per_pixel or settings.scenes.split.folds is None:
        return {}
    if settings.scenes.split.fold is not None:
        return {}

    def train_fold(one: Settings, folder: Path) -> dict[str, Any]:
        begun = resume and folder.exists()
        return train(one, output=folder, resume=begun, progress=progress).metrics

    found = cross_validate(settings, output / "folds", train_fold)
    seed_everything(settings.seed, workers=True, verbose=False)  # as if there had been none
    return {"cross_validation": found}


def _build(settings: Settings, data: TrainingData, scales: Mapping[str, float] | None) -> Network:
    """Build the network to train.

    Args:
        settings: Model, tuner and task.
        data: Bands, classes and statistics.
        scales: Scale of each site that keeps its adapter; none: all sites, with tuner.scale.
    """
    task = task_of(settings)
    mean, std = data.statistics
    model = at_pixel_size(settings.model, data.gsd_range_m)
    network = build_from(
        model, settings.tuner, bands=data.bands, classes=task.outputs(data),
        mean=mean, std=std, meta=settings.meta, per_pixel=task.per_pixel,
    )  # fmt: skip
    if model is not settings.model:
        network.rebuilt_by = model
    start_reduction(network, data)
    if (target := task.target_scale(data)) is not None:
        network.set_target(*target)
    if scales is not None:
        network.keep_sites(scales)
        for site, scale in scales.items():
            site_modulators(network.backbone)[site].set(scale)
    report_network(network)
    check_not_random_and_frozen(network, settings.model)
    _report_parameters(network)
    return network


def _fit(run: TrainingRun, module: TaskModule, data: TrainingData, *, progress: bool) -> FitResult:
    """Train, or solve for the head where that needs no steps."""
    network, settings = module.network, module.settings
    if network.solvable:
        return run.solve(network, data)
    if run.starts_anew:
        start_head(network, data, settings)
    if isinstance(data, SceneDataModule) and data.validates and not _is_sharded(settings):
        map_validation(module, data, settings)
    result = run.fit(module, data, progress=progress)
    if result.scales is not None:
        optimizer = settings.trainer.optimizer.name
        for warning in judge_scales(result.scales, settings.meta, optimizer):
            logger.warning(warning)
    return result


def _is_sharded(settings: Settings) -> bool:
    """Whether no process holds the whole network while it is trained."""
    return settings.trainer.strategy.startswith(("fsdp", "deepspeed"))


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
    fixed = MetaSettings(
        parametrisation=learned.parametrisation, maximum=learned.maximum,
        top_sites=learned.top_sites, top_every=learned.top_every,
    )  # fmt: skip
    return settings.model_copy(update={"meta": fixed})


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
    if network.solvable:
        return
    if not trained:
        raise TrainingError("nothing to train: head, stem and tuner are all frozen")
    logger.info("training %s of %s parameters (%.1f %%)", f"{trained:,}", f"{total:,}",
                100 * trained / total)  # fmt: skip
