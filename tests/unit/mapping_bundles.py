"""Bundles around any network, and scenes to map with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.bundle import BundleRecord, ModelBundle

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene


def bundle_of(network: Any, *, classes: int, **predict_settings: Any) -> ModelBundle:
    """Return a bundle around any network, for scenes with bands red and nir or ``bands``.

    With ``per="image"`` it scores images as a whole, and maps cells.
    """
    per = predict_settings.pop("per", "pixel")
    tile_px = predict_settings.pop("tile_px", 16)
    bands = predict_settings.pop("bands", ("red", "nir"))
    predict_settings.setdefault("check_range", False)
    record = BundleRecord.model_validate(
        {
            "rsmeta": "test",
            "created": "2026-01-01T00:00:00+00:00",
            "bands": [
                {"name": name, "common_name": name, "mean": 0.0, "std": 1.0} for name in bands
            ],
            "classes": [
                {"name": f"class {i}", "value": 10 * i, "colour": "#00ff00"} for i in range(classes)
            ],
            "stem": {"strategy": None, "notes": (), "form": "standard", "normalisation": "none"},
            "read": {},
            "task": "segmentation" if per == "pixel" else "classification",
            "per": per,
            "tile_px": tile_px,
            "gsd_m": None,
            "backbone": {"name": "none"},
            "model": {},
            "tuner": {},
            "meta": {},
            "predict": predict_settings,
            "training": {},
            "weights_sha256": "0" * 64,
        }
    )
    return ModelBundle(record, network)


def random_scene(
    make_scene: MakeScene,
    path: Path,
    shape: tuple[int, int],
    seed: int,
    *,
    holes: bool,
    dtype: str = "float32",
    nodata: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Write a scene of any type; its number without data is NaN, -9999, or 0 where unsigned."""
    rng = np.random.default_rng(seed)
    data = rng.uniform(0.05, 0.95, (2, *shape))
    valid = np.ones(shape, dtype=bool)
    if holes:
        valid = rng.random(shape) > 0.3
        valid[: shape[0] // 2, : shape[1] // 3] = False
    if not dtype.startswith("float"):
        data = 1 + data * min(1000, np.iinfo(dtype).max - 2)
    data = data.astype(dtype)
    if nodata is None:
        nodata = 0 if dtype.startswith("uint") else -9999 if dtype != "int8" else -128
    data[:, ~valid] = nodata
    make_scene(path, data, descriptions=("red", "nir"), nodata=nodata)
    return data, valid
