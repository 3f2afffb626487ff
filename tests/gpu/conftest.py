"""What tests of a GPU share: the device, small networks of random weights, results as rows."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from rsmeta.bundle import BundleRecord, ModelBundle, save_bundle
from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.sensors import load_sensor
from rsmeta.models.build import build_network

if TYPE_CHECKING:
    from tests.conftest import MakeScene

SENSOR = load_sensor("sentinel2_l1c")
BANDS = SENSOR.select(("B02", "B03", "B04", "B08")).bands
CLASSES = 5
TILE_PX = 64


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU; in a rehearsal the CPU, so that no test is run on a GPU for the first time."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def gpu(device: torch.device) -> torch.device:
    """The GPU; a rehearsal skips the test."""
    if device.type != "cuda":
        pytest.skip("is about the memory of a GPU")
    return device


def make_bundle(
    folder: Path, backbone: str = "vit_tiny_patch16_224", tuner: str = "lora", **options: Any
) -> ModelBundle:
    """Save and return a bundle of random weights, its adapters moved as training moves them."""
    torch.manual_seed(0)
    spec = ModelSpec.model_validate(
        {"backbone": backbone, "options": {"img_size": TILE_PX, **options}}
    )
    network = build_network(
        spec, TunerSpec(method=tuner), bands=BANDS, classes=CLASSES, mean=[0.2] * 4, std=[0.1] * 4
    )
    with torch.no_grad():
        for parameter in network.trainable_parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    record = BundleRecord.model_validate(
        {
            "rsmeta": "test", "created": "2026-01-01T00:00:00Z",
            "bands": [
                {"name": b.name, "common_name": b.common_name, "mean": 0.2, "std": 0.1}
                for b in BANDS
            ],
            "classes": [
                {"name": f"c{i}", "value": i + 1, "colour": "#00ff00"} for i in range(CLASSES)
            ],
            "stem": {"strategy": None, "notes": (), "form": network.prepare.form,
                     "normalisation": ""},
            "read": {}, "tile_px": TILE_PX, "gsd_m": None, "backbone": {"name": backbone},
            "model": spec, "tuner": TunerSpec(method=tuner), "meta": {}, "training": {},
            "predict": {"block_px": 128}, "weights_sha256": "0" * 64,
        }
    )  # fmt: skip
    return save_bundle(folder, record, network)


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene) -> Path:
    """A scene of 600 x 500 pixels with a hole and ragged edges of what is valid."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(500, 4000, (4, 30, 25))
    image = np.kron(coarse, np.ones((20, 20))) + rng.integers(0, 300, (4, 600, 500))
    image[:, 100:260, 30:200] = 0
    image[:, rng.random((600, 500)) > 0.97] = 0
    names = [band.name for band in BANDS]
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    return make_scene(path, image.astype(np.uint16), descriptions=names, nodata=0)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write how each test ended, at once, if somebody collects results."""
    path = os.environ.get("RSMETA_RESULTS")
    if path is None or (report.when != "call" and report.passed):
        return
    entry = {
        "part": "tests", "what": report.nodeid.rpartition("::")[2], "value": report.duration,
        "unit": "s", "ended": report.outcome,
        "error": report.longreprtext[-400:] if report.failed else "",
    }  # fmt: skip
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
