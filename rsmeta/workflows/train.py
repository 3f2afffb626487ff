"""Train a model from a configuration, and leave a run folder with a bundle in it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import seed_everything

import rsmeta
from rsmeta.bundle import ModelBundle, save_bundle
from rsmeta.bundle.record import BackboneIdentity, BandRecord, BundleRecord, ReadRecord
from rsmeta.config import Settings, dump_settings, load_settings
from rsmeta.config.load import read_yaml
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.errors import OutputError, RsmetaError, TrainingError, one_line
from rsmeta.losses import build_loss
from rsmeta.metrics import SegmentationMetrics
from rsmeta.models.build import build_network
from rsmeta.models.checkpoint import file_sha256
from rsmeta.training.fit import FitResult, evaluate_part, fit
from rsmeta.training.module import SegmentationModule
from rsmeta.training.plots import plot_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rsmeta.models.network import Network

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.json"

#: Settings that may differ when a run is resumed: how long, where and how fast it runs.
_MAY_CHANGE = {
    "trainer": {"max_epochs", "max_steps", "max_minutes", "accelerator", "devices", "num_nodes",
                "strategy", "log_every_n_steps", "early_stopping"},
    "data": {"root", "workers"},
    "predict": None,
}  # fmt: skip


@dataclass(frozen=True)
class TrainResult:
    """What a finished run left.

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
    overrides: Sequence[str] = (),
    *,
    output: str | Path,
    resume: bool = False,
    progress: bool = False,
) -> TrainResult:
    """Train as a configuration says.

    Args:
        config: YAML file, mapping, or settings.
        overrides: ``KEY=VALUE`` strings over the configuration.
        output: Run folder; made if need be.
        resume: Go on with the run that is in ``output``.
        progress: Draw a progress bar.

    Returns:
        The run folder with its bundle and final numbers.

    Raises:
        RsmetaError: Anything a user can mend: settings, scenes, labels, output, NaN.
    """
    settings = config if isinstance(config, Settings) else load_settings(config, overrides)
    output = Path(output)
    _check_output(output, settings, resume=resume)
    seed_everything(settings.seed, workers=True, verbose=False)
    started = time.monotonic()
    data = SceneDataModule(settings.data, seed=settings.seed)
    mean, std = data.statistics
    network = build_network(
        settings.model, settings.tuner, bands=data.bands, classes=len(settings.data.classes),
        mean=mean, std=std,
    )  # fmt: skip
    _tell_parameters(network)
    classes = [spec.name for spec in settings.data.classes]
    module = SegmentationModule(
        network,
        build_loss(settings.loss, data.class_counts),
        SegmentationMetrics(classes),
        settings,
    )
    with _begun(output, settings):
        result = fit(module, data, output=output, resume=resume, progress=progress)
    metrics = _final_metrics(module, data, result, seconds=time.monotonic() - started)
    plot_run(output / "plots", module, data, result.history)
    bundle = save_bundle(
        output / "bundle", describe(settings, data, network, metrics), network,
        quicklook=output / "plots" / "chips.png",
    )  # fmt: skip
    _write(output / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
    return TrainResult(output, bundle, metrics)


def describe(
    settings: Settings, data: SceneDataModule, network: Network, metrics: dict[str, Any]
) -> BundleRecord:
    """Return the record that makes a trained network usable on its own."""
    mean, std = data.statistics
    origins = network.backbone.stem_report.origins
    bands = tuple(
        BandRecord(
            name=band.name, common_name=band.common_name, wavelength_nm=band.wavelength_nm,
            gsd_m=band.gsd_m, mean=float(m), std=float(s), filter_from=origin,
        )
        for band, m, s, origin in zip(data.bands, mean, std, origins, strict=True)
    )  # fmt: skip
    return BundleRecord(
        rsmeta=rsmeta.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        bands=bands,
        classes=settings.data.classes,
        read=ReadRecord(
            **{key: getattr(settings.data, key) for key in ReadRecord.model_fields},
        ),
        tile_px=settings.predict.tile_px or settings.data.chip_px,
        gsd_m=data.gsd_range_m,
        backbone=_identity(settings, network),
        model=settings.model,
        tuner=settings.tuner,
        meta=settings.meta,
        predict=settings.predict,
        training={"seed": settings.seed, **metrics},
        weights_sha256="",
    )


def _identity(settings: Settings, network: Network) -> BackboneIdentity:
    record = network.backbone.record
    checkpoint = settings.model.checkpoint
    return BackboneIdentity(
        name=record.name,
        licence=record.licence,
        checkpoint=Path(checkpoint).name if checkpoint else None,
        sha256=file_sha256(Path(checkpoint)) if checkpoint else None,
    )


def _check_output(output: Path, settings: Settings, *, resume: bool) -> None:
    """Check that the run can be written; nothing is written yet.

    Raises:
        OutputError: The folder holds a run and ``resume`` is not asked for, holds the run of
            another configuration, or cannot be written.
    """
    file = output / CONFIG_FILE
    if file.exists() and not resume:
        raise OutputError(f"{output} holds a run already; resume it with --resume, or name another")
    if file.exists():
        changed = _changed(read_yaml(file), settings.model_dump(mode="json"))
        if changed:
            raise OutputError(
                f"{output} holds a run with another {changed[0]}; resume it with its own "
                f"configuration, or name another folder"
            )
    elif resume:
        logger.info("nothing to resume in %s; starting from the beginning", output)
    there = next(place for place in (output, *output.absolute().parents) if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        kind = "cannot be written" if there.is_dir() else "is a file"
        raise OutputError(f"cannot make a run in {output}: {there} {kind}; name another folder")


@contextlib.contextmanager
def _begun(output: Path, settings: Settings) -> Iterator[None]:
    """Make the run folder with its resolved configuration, as long as there is a run to hold.

    A run that fails before its first checkpoint leaves no configuration, so that it can be
    mended and started again under the same name.

    Raises:
        OutputError: The folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {output} ({one_line(error)})") from error
    _write(output / CONFIG_FILE, dump_settings(settings))
    try:
        yield
    except RsmetaError:
        if not (output / "checkpoints").exists():
            (output / CONFIG_FILE).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something else lies in it: it stays
                output.rmdir()
        raise


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys that a resumed run may not change, and that differ."""
    changed = []
    for section, value in now.items():
        free = _MAY_CHANGE.get(section, set())
        if free is None:
            continue
        if not isinstance(value, dict):
            changed += [section] * (before.get(section) != value)
            continue
        old = before.get(section) or {}
        keys = sorted(value.keys() | old.keys())
        changed += [f"{section}.{k}" for k in keys if k not in free and old.get(k) != value.get(k)]
    return changed


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({one_line(error)})") from error


def _tell_parameters(network: Network) -> None:
    total = sum(p.numel() for p in network.parameters())
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    if not trained:
        raise TrainingError("nothing to train: head, stem and tuner are all frozen")
    logger.info("training %s of %s parameters (%.1f %%)", f"{trained:,}", f"{total:,}",
                100 * trained / total)  # fmt: skip


def _final_metrics(
    module: SegmentationModule, data: SceneDataModule, result: FitResult, *, seconds: float
) -> dict[str, Any]:
    """Evaluate the kept weights; return what metrics.json holds."""
    metrics: dict[str, Any] = {
        "epochs": result.epochs,
        "steps": result.steps,
        "best_epoch": result.best_epoch,
        "train_loss": result.history[-1]["train_loss"] if result.history else None,
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "trained_parameters": sum(
            p.numel() for p in module.network.parameters() if p.requires_grad
        ),
        "bands": [band.name for band in data.bands],
        "class_counts": {
            spec.name: int(count)
            for spec, count in zip(data.settings.classes, data.class_counts, strict=True)
        },
    }
    for part in ("test", "validation"):  # validation last: its confusion matrix is plotted
        if data.parts[part]:
            metrics[part] = evaluate_part(module, data, part=part).as_dict()
    metrics["seconds"] = round(seconds, 1)
    metrics["versions"] = {
        "rsmeta": rsmeta.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    return metrics
