"""Describe a path: a scene, a map, labels, a bundle, a run, a checkpoint or a configuration."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsmeta.errors import CheckpointError, RsmetaError
from rsmeta.workflows.inspect_page import PAGE_SUFFIXES, inspect_page

if TYPE_CHECKING:
    from rsmeta.config import Settings
    from rsmeta.config.model import ModelSpec

#: Suffixes of files that hold network weights.
WEIGHTS_SUFFIXES = frozenset({".safetensors", ".pt", ".pth", ".ckpt", ".bin"})


def inspect(path: str | Path) -> dict[str, Any]:
    """Describe a file or folder.

    Args:
        path: A raster, a vector file, a bundle or run folder, a weights file or a YAML
            configuration.

    Returns:
        A JSON-safe mapping; ``kind`` is scene, map, labels, raster, vector, folder, bundle, run,
        sweep, checkpoint, weights of a bundle, report or configuration.

    Raises:
        RsmetaError: The path does not exist or cannot be read.
    """
    place = Path(path)
    if str(path).startswith("hf:") and not place.exists():
        from rsmeta.bundle.find import bundle_folder

        return {**_bundle(bundle_folder(path)), "path": str(path)}
    if place.is_dir() and (place / "bundle.yaml").exists():
        return _bundle(place)
    if place.is_dir() and (place / "bundle" / "bundle.yaml").exists():
        return {**_bundle(place / "bundle"), "kind": "run", **_run(place)}
    if place.suffix.lower() in (".yaml", ".yml"):
        return _configuration(place)
    if place.suffix.lower() in PAGE_SUFFIXES:
        return inspect_page(place)
    if place.suffix.lower() in WEIGHTS_SUFFIXES:
        if not place.exists():
            raise CheckpointError(f"no file at {place}; check the path")
        return _checkpoint(place)
    if place.is_dir() and (found := _unfinished(place)) is not None:
        return found
    from rsmeta.geo.sources import is_raster_folder
    from rsmeta.workflows.inspect_data import inspect_raster
    from rsmeta.workflows.inspect_vector import inspect_folder, inspect_vector, is_vector

    if place.is_dir() and not is_raster_folder(place):
        return inspect_folder(place)
    return inspect_vector(path) if is_vector(path) else inspect_raster(str(path))


def _run(folder: Path) -> dict[str, Any]:
    """Return what the folder of a run holds besides its bundle."""
    finished = (folder / "metrics.json").exists()
    resumable = (folder / "checkpoints" / "last.ckpt").exists()
    status = "finished" if finished else "without scores; continue with --resume"
    files = [one for one in folder.rglob("*") if one.is_file()]
    return {
        "path": str(folder),
        "status": status + (", with checkpoints to train it longer" * (finished and resumable)),
        "size_mb": round(sum(one.stat().st_size for one in files) / 1e6, 2),
        "report": str(folder / "report.html") if (folder / "report.html").exists() else None,
        "pictures": sorted(one.name for one in (folder / "plots").glob("*.png")),
    }


def _unfinished(folder: Path) -> dict[str, Any] | None:
    """Describe the folder of a sweep, of pretraining, or of a run without a bundle."""
    if (folder / "runs.csv").exists():
        with (folder / "runs.csv").open(newline="", encoding="utf-8") as file:
            runs = [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
        return {"kind": "sweep", "path": str(folder), "runs": runs}
    if (folder / "backbone.safetensors").exists():
        return {**_checkpoint(folder / "backbone.safetensors"), "kind": "pretraining run"}
    if not (folder / "config.yaml").exists():
        return None
    history = folder / "history.csv"
    lines = history.read_text(encoding="utf-8").splitlines() if history.exists() else []
    return {
        "kind": "run",
        "path": str(folder),
        "status": f"unfinished after {max(len(lines) - 1, 0)} epochs; continue with --resume",
    }


def _bundle(folder: Path) -> dict[str, Any]:
    from rsmeta.bundle.bundle import read_record
    from rsmeta.bundle.find import WEIGHTS_FILE

    record = read_record(folder)
    weights = folder / WEIGHTS_FILE
    return {
        "kind": "bundle",
        "path": str(folder),
        "size_mb": round(weights.stat().st_size / 1e6, 2) if weights.exists() else None,
        **record.model_dump(mode="json"),
        "model": _model(record.model),
    }


def _model(model: ModelSpec) -> dict[str, Any]:
    """Describe a model; the members of an average by what sets them apart."""
    found = model.model_dump(mode="json")
    if model.average:
        found["average"] = [
            {
                "head": one.head.name,
                "of": one.backbone,
                "options": _shown(one.options),
                "head_options": _shown(one.head.options),
                "zoom": one.zoom,
                "checkpoint": one.checkpoint,
            }
            for one in model.average
        ]
    return found


def _shown(options: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items())


def _configuration(path: Path) -> dict[str, Any]:
    from rsmeta.config import load_settings

    settings = load_settings(path)
    return {
        "kind": "configuration",
        "path": str(path),
        **settings.model_dump(mode="json"),
        "learns": _trainable(settings),
    }


def _trainable(settings: Settings) -> list[dict[str, Any]] | str:
    """Return the trainable sites, or why they cannot be determined."""
    from rsmeta.workflows.dry_run import dry_run

    try:
        found = dry_run(settings)
    except RsmetaError as error:
        return f"unknown: {error}"
    if found.candidates:
        return f"the best of {len(found.candidates)} models by cross-validation"
    return found.rows


def _checkpoint(path: Path) -> dict[str, Any]:
    from rsmeta.bundle.as_backbone import bundle_of_weights
    from rsmeta.models.describe import describe_checkpoint

    if (folder := bundle_of_weights(path)) is not None:
        use = f"model.checkpoint={folder}"
        return {**_bundle(folder), "kind": "weights of a bundle", "path": str(path), "use": use}
    return {"kind": "checkpoint", "path": str(path), **describe_checkpoint(path)}
