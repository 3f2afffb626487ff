"""Pretrain a masked autoencoder on unlabelled scenes, and leave its encoder as a backbone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from rsmeta.config.load import read_settings
from rsmeta.config.pretrain import PretrainSettings
from rsmeta.data.unlabelled_datamodule import UnlabelledDataModule
from rsmeta.errors import OutputError, one_line
from rsmeta.files import file_sha256, write_atomically
from rsmeta.geo.sensors import load_sensor, sensor_names
from rsmeta.models.prepare import Prepare
from rsmeta.models.satmae.encoder import backbone_state
from rsmeta.models.satmae.pretrain import backbone_record, build_autoencoder
from rsmeta.shown import Shown, View, pictures_in
from rsmeta.training.pretrain import PretrainModule
from rsmeta.workflows.training_run import TrainingRun, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.figure import Figure

    from rsmeta.config.load import Overrides
    from rsmeta.models.records import InputUnit
    from rsmeta.training.fit import FitResult

logger = logging.getLogger(__name__)

BACKBONE_FILE = "backbone.safetensors"


@dataclass(frozen=True, repr=False)
class PretrainResult(Shown):
    """What a finished run produced.

    Attributes:
        output: The run folder.
        backbone: The encoder's weights, a file that ``model.checkpoint`` takes.
        metrics: What ``metrics.json`` holds.
    """

    output: Path
    backbone: Path
    metrics: dict[str, Any]

    def view(self) -> View:
        """Return length and loss, with reconstructions."""
        facts = {"backbone": self.backbone, "steps": self.metrics["steps"],
                 "train_loss": self.metrics["train_loss"]}  # fmt: skip
        return View(facts, pictures=pictures_in(self.output / "plots", "reconstructions.png"))


def pretrain(
    config: str | Path | Mapping[str, Any] | PretrainSettings,
    overrides: Overrides = (),
    *,
    output: str | Path,
    resume: bool = False,
    progress: bool = False,
) -> PretrainResult:
    """Pretrain as a configuration says.

    Args:
        config: YAML file, mapping, or settings.
        overrides: ``KEY=VALUE`` strings, or a mapping, over the configuration.
        output: Run folder; created if needed.
        resume: Continue the run in ``output``.
        progress: Draw a progress bar.

    Returns:
        The run folder with its backbone and final numbers.

    Raises:
        RsmetaError: Anything a user can correct: settings, scenes, bands, output, NaN.
    """
    settings = (
        config
        if isinstance(config, PretrainSettings)
        else read_settings(PretrainSettings, config, overrides)
    )
    run = TrainingRun(output, settings, resume=resume)
    output = run.output
    if (known := run.finished) is not None:
        return PretrainResult(output, output / BACKBONE_FILE, known)
    data = UnlabelledDataModule(settings.data, seed=settings.seed)
    autoencoder, kept = build_autoencoder(settings, data.bands)
    module = PretrainModule(autoencoder, Prepare(*(kept or data.statistics)), settings)
    _report_parameters(module)
    result = run.fit(module, data, progress=progress)
    # First of all the weights: pictures may fail.
    backbone = _save_backbone(output / BACKBONE_FILE, module, data)
    run.draw(lambda: _pictures(module, data, result))
    numbers = _metrics(module, data, result, seconds=run.seconds())
    numbers["backbone_sha256"] = file_sha256(backbone)
    run.finish(numbers)
    return PretrainResult(output, backbone, numbers)


def _pictures(
    module: PretrainModule, data: UnlabelledDataModule, result: FitResult
) -> dict[str, Callable[[], Figure]]:
    # here, so that a broken matplotlib costs the pictures alone
    from rsmeta.training.pretrain_plots import pretraining_pictures

    return pretraining_pictures(module, data, result.history)


def _save_backbone(path: Path, module: PretrainModule, data: UnlabelledDataModule) -> Path:
    """Write the encoder under its published names, with what it expects of its bands."""
    encoder = module.autoencoder.encoder
    record = backbone_record(
        encoder, module.prepare.mean, module.prepare.std,
        unit=_unit(data), licence=module.settings.licence,
    )  # fmt: skip
    state = backbone_state(encoder, getattr(torch, module.settings.store))
    try:
        with write_atomically(path) as hidden:
            hidden.write_bytes(save(state, metadata=record.metadata()))
    except OSError as error:
        raise OutputError(f"cannot write {path} ({one_line(error)})") from error
    return path


def _unit(data: UnlabelledDataModule) -> InputUnit | None:
    """Return what the scenes' values are in, as far as their sensor says."""
    named = data.settings.sensor
    own = data.scenes[0].sensor
    if named is None and own not in sensor_names():
        return None
    unit = load_sensor(named if named is not None else str(own)).unit
    return "reflectance" if unit == "reflectance" else None


def _report_parameters(module: PretrainModule) -> None:
    encoder = sum(p.numel() for p in module.autoencoder.encoder.parameters())
    total = sum(p.numel() for p in module.autoencoder.parameters())
    logger.info("pretraining %s parameters, %s of them the encoder's", f"{total:,}", f"{encoder:,}")


def _metrics(
    module: PretrainModule, data: UnlabelledDataModule, result: FitResult, *, seconds: float
) -> dict[str, Any]:
    """Return what metrics.json holds."""
    encoder = module.autoencoder.encoder
    return {
        "epochs": result.epochs,
        "steps": result.steps,
        "train_loss": result.train_loss,
        "parameters": sum(p.numel() for p in module.autoencoder.parameters()),
        "encoder_parameters": sum(p.numel() for p in encoder.parameters()),
        "scenes": len(data.scenes),
        "bands": [band.name for band in data.bands],
        "mean": [float(value) for value in module.prepare.mean],
        "std": [float(value) for value in module.prepare.std],
        "seconds": seconds,
        "versions": versions(),
    }
