"""Describe a path: a scene, a bundle, a run, a checkpoint or a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsmeta.errors import CheckpointError, RsmetaError

if TYPE_CHECKING:
    from rsmeta.config import Settings

#: Suffixes of files that hold network weights.
WEIGHTS_SUFFIXES = frozenset({".safetensors", ".pt", ".pth", ".ckpt", ".bin"})


def inspect(path: str | Path) -> dict[str, Any]:
    """Describe a file or folder.

    Args:
        path: A raster, a bundle folder, a weights file or a YAML configuration.

    Returns:
        A JSON-safe mapping; ``kind`` is scene, bundle, run, checkpoint or configuration.

    Raises:
        RsmetaError: The path does not exist or cannot be read.
    """
    place = Path(path)
    if place.is_dir() and (place / "bundle.yaml").exists():
        return _bundle(place)
    if place.is_dir() and (place / "bundle" / "bundle.yaml").exists():
        return {**_bundle(place / "bundle"), "kind": "run"}
    if place.suffix.lower() in (".yaml", ".yml"):
        return _configuration(place)
    if place.suffix.lower() in WEIGHTS_SUFFIXES:
        if not place.exists():
            raise CheckpointError(f"no file at {place}; check the path")
        return _checkpoint(place)
    return _scene(str(path))


def _bundle(folder: Path) -> dict[str, Any]:
    from rsmeta.bundle.bundle import WEIGHTS_FILE, read_record

    record = read_record(folder)
    weights = folder / WEIGHTS_FILE
    return {
        "kind": "bundle",
        "path": str(folder),
        "size_mb": round(weights.stat().st_size / 1e6, 2) if weights.exists() else None,
        **record.model_dump(mode="json"),
    }


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
        return dry_run(settings).rows
    except RsmetaError as error:
        return f"unknown: {error}"


def _checkpoint(path: Path) -> dict[str, Any]:
    from rsmeta.models.describe import describe_checkpoint

    return {"kind": "checkpoint", "path": str(path), **describe_checkpoint(path)}


def _scene(source: str) -> dict[str, Any]:
    from rsmeta.geo.scene import open_scene

    scene = open_scene(source)
    grid = scene.grid
    return {
        "kind": "scene",
        "path": source,
        "sensor": scene.sensor,
        "bands": [
            {
                "name": band.name,
                "common_name": band.common_name,
                "wavelength_nm": band.wavelength_nm,
                "scale": scale,
                "offset": offset,
                "nodata": nodata,
            }
            for band, scale, offset, nodata in zip(
                scene.bands, scene.scale, scene.offset, scene.nodata, strict=True
            )
        ],
        "dtype": scene.dtype,
        "width_px": grid.width_px,
        "height_px": grid.height_px,
        "crs": None if grid.crs is None else grid.crs.to_string(),
        "pixel_size": list(grid.pixel_size),
        "gsd_m": grid.gsd_m,
        "bounds": list(grid.bounds),
        "bounds_lonlat": None if grid.crs is None else list(grid.bounds_lonlat() or ()),
        "acquired": scene.acquired.isoformat() if scene.acquired else None,
    }
