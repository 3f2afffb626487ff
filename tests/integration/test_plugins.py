"""Another package adds a loss, a tuner, a backbone, a sensor and a data set by entry points."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rsmeta.errors import PluginError, UnknownNameError
from rsmeta.losses import Loss
from rsmeta.registry import Registry
from tests.plugins.install import install, write_metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

#: Trains two steps with everything that the package adds, and maps a scene; one process for all.
_USE = """
import json, sys
from pathlib import Path
import rsmeta
from rsmeta.workflows.listing import listing

config, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
result = rsmeta.train(config, output=folder / "run")
made = rsmeta.predict(folder / "scene.tif", folder / "run" / "bundle", output=folder / "map.tif")
bundle = rsmeta.load_bundle(folder / "run" / "bundle")
wrong = {}
for section, changed in (("tuner", {"limt": 1}), ("loss", {"shar": 1})):
    try:
        rsmeta.train({**config, section: {**config[section], **changed}}, output=folder / "no")
    except rsmeta.errors.RsmetaError as error:
        wrong[section] = str(error)
images = {
    "data": {"kind": "array_file", "root": str(folder), "file": "images.npz", "chip_px": 16,
             "resize": "none", "batch_size": 4},
    "model": config["model"] | {"head": "linear"}, "tuner": config["tuner"],
    "trainer": config["trainer"],
}
of_images = rsmeta.train(images, output=folder / "images_run")
print(json.dumps({
    "images": of_images.metrics["validation"]["accuracy"],
    "steps": result.metrics["steps"],
    "sites": sorted(bundle.record.scales),
    "limit": bundle.record.tuner.options,
    "bands": [band.name for band in bundle.record.bands],
    "lists": {kind: dict(listing(kind))
              for kind in ("tuners", "losses", "backbones", "sensors", "datasets")},
    "wrong": wrong,
}))
"""


def test_a_package_adds_by_entry_points_and_trains_and_maps(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    rng = np.random.default_rng(0)
    make_scene(tmp_path / "scene.tif", rng.integers(1, 9000, (4, 64, 64)).astype(np.uint16))
    make_scene(tmp_path / "labels.tif", rng.integers(0, 2, (64, 64)).astype(np.uint8))
    np.savez(
        tmp_path / "images.npz", images=rng.integers(1, 9000, (16, 4, 16, 16)).astype(np.uint16),
        labels=np.arange(16) % 2,
    )  # fmt: skip
    config = {
        "data": {"scenes": [str(tmp_path / "scene.tif")], "labels": str(tmp_path / "labels.tif"),
                 "classes": ["low", "high"], "sensor": "example_camera", "chip_px": 16,
                 "batch_size": 2, "chips_per_epoch": 4},
        "model": {"backbone": "mlp_tiny", "pretrained": False, "options": {"dim": 16},
                  "head": "linear"},
        "tuner": {"method": "gain", "limit": 0.5, "sites": {"1.mlp2": {"limit": 0.25}}},
        "loss": {"name": "robust", "share": 0.25},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }  # fmt: skip
    found = _use(install(tmp_path / "site"), config, tmp_path)
    assert found["steps"] == 2
    assert found["sites"] == ["0.mlp1", "0.mlp2", "1.mlp1", "1.mlp2"]
    assert found["limit"] == {"limit": 0.5}
    assert found["bands"] == ["X1", "X2", "X3", "X4"]
    assert "gain" in found["lists"]["tuners"]
    assert found["lists"]["losses"]["robust"].endswith("(share: 0.5)")
    assert "mlp_tiny" in found["lists"]["backbones"]
    assert "example_camera" in found["lists"]["sensors"]
    assert "array_file" in found["lists"]["datasets"]
    assert 0 <= found["images"] <= 1
    assert "unknown key 'limt'; did you mean 'limit'" in found["wrong"]["tuner"]
    assert "unknown key 'shar'; did you mean 'share'" in found["wrong"]["loss"]
    assert (tmp_path / "map.tif").exists()


def _use(site: Path, config: dict[str, Any], folder: Path) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-c", _USE, json.dumps(config), str(folder)],
        capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(site)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("source", "value", "reason"),
    [
        ("import nowhere_to_be_found", "broken_plugin:Thing", "ModuleNotFoundError: No module"),
        ("def Thing(:", "broken_plugin:Thing", "SyntaxError"),
        ("Thing = 3", "broken_plugin:Other", "AttributeError"),
        ("Thing = 3", "broken_plugin:Thing", "broken_plugin:Thing is not a Loss"),
        ("raise SystemExit(3)", "broken_plugin:Thing", "SystemExit: 3"),
    ],
)
def test_a_broken_plugin_is_one_line_and_costs_nothing_else(
    source: str, value: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (tmp_path / "broken_plugin.py").write_text(source + "\n")
    write_metadata(tmp_path, "some-package", "1.0", {"rsmeta.losses": {"broken": value}})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_plugin", raising=False)
    registry: Registry[Any] = Registry("loss", Loss)
    registry.add("own", Loss)
    assert registry.get("own") is Loss
    assert not caplog.records  # a shipped name imports no other package
    assert registry.names() == ["own"]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "'broken' of the package some-package" in record.getMessage()
    assert reason in record.getMessage()
    assert "\n" not in record.getMessage()
    with pytest.raises(PluginError, match="update or uninstall some-package"):
        registry.get("broken")
    with pytest.raises(UnknownNameError):
        registry.get("ow")


def test_a_decorator_and_an_entry_point_of_the_same_object_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registry: Registry[object] = Registry("loss")
    monkeypatch.setattr("tests.plugins.shared", registry, raising=False)
    (tmp_path / "decorated.py").write_text(
        "import tests.plugins\n\n@tests.plugins.shared.register('twice')\nclass Twice: ...\n"
    )
    write_metadata(
        tmp_path, "some-package", "1.0",
        {"rsmeta.losses": {"twice": "decorated:Twice", "taken": "decorated:Twice",
                           "all": "decorated"}},
    )  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    registry.add("taken", object())
    assert registry.names() == ["taken", "twice"]
    (record,) = caplog.records
    assert "the loss 'taken' is registered already" in record.getMessage()


@pytest.mark.parametrize(
    ("kind", "group"),
    [("loss", "rsmeta.losses"), ("tuner", "rsmeta.tuners"),
     ("multilabel loss", "rsmeta.multilabel_losses"), ("strategy", "rsmeta.strategies")],
)  # fmt: skip
def test_every_registry_has_a_group_that_a_package_can_name(kind: str, group: str) -> None:
    assert Registry(kind).group == group
