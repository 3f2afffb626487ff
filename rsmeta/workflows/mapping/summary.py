"""Summary of mapping scenes, for pipelines: one JSON file."""

from __future__ import annotations

import json
import resource
import sys
from typing import TYPE_CHECKING, Any

from rsmeta._version import __version__
from rsmeta.errors import OutputError, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rsmeta.bundle import BundleRecord
    from rsmeta.geo.grid import Grid
    from rsmeta.gis.outputs.map_statistics import Statistics
    from rsmeta.workflows.mapping.one_scene import PredictResult


def peak_memory_bytes() -> int:
    """Return the largest resident size that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def write_summary(
    path: Path,
    record: BundleRecord,
    device: str,
    results: Sequence[PredictResult],
    failed: Mapping[str, Exception],
) -> None:
    """Write the summary of each scene.

    Args:
        path: The file to write, or to replace.
        record: The model.
        device: What it ran on.
        results: Of scenes that were mapped, or had been.
        failed: Scene -> why it was not mapped.

    Raises:
        OutputError: The file cannot be written.
    """
    wrong = [
        {"scene": scene, "status": "failed", "error": one_line(error)}
        for scene, error in failed.items()
    ]
    tree = {
        "rsmeta": __version__,
        "model_sha256": record.weights_sha256,
        "device": device,
        "settings": record.predict.model_dump(mode="json"),
        "peak_memory_bytes": peak_memory_bytes(),
        "scenes": [*(_scene(result, record) for result in results), *wrong],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write the summary {path} ({one_line(error)})") from error


def _scene(result: PredictResult, record: BundleRecord) -> dict[str, Any]:
    summary = {"scene": result.scene, "status": result.status, "outputs": result.outputs}
    summary |= {"grid": _grid(result.grid)}
    if result.status == "kept":
        return summary
    classes = [
        {
            "name": spec.name,
            "value": spec.value,
            "pixels": result.class_pixels[spec.name],
            "area_m2": result.class_areas_m2.get(spec.name),
        }
        for spec in record.classes
    ]
    if result.statistics is not None:
        summary["quantity"] = _quantity(result.statistics, record)
    seconds = {"total": result.seconds, **result.stages}
    return summary | {
        "classes": classes,
        "tiles": {"computed": result.tiles, "skipped": result.skipped},
        "block_px": result.block_px,
        "batch_size": result.batch_size,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
    }


def _quantity(statistics: Statistics, record: BundleRecord) -> dict[str, Any]:
    known = {
        "minimum": statistics.low, "maximum": statistics.high, "mean": statistics.mean,
        "stddev": statistics.deviation,
    }  # fmt: skip
    return {
        "name": record.output.name,
        "unit": record.output.unit,
        "pixels": statistics.count,
        **(known if statistics.count else dict.fromkeys(known)),
    }


def _grid(grid: Grid) -> dict[str, Any]:
    return {
        "crs": None if grid.crs is None else grid.crs.to_string(),
        "transform": list(grid.transform)[:6],
        "height_px": grid.height_px,
        "width_px": grid.width_px,
    }
