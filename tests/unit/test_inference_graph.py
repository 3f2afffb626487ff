"""Other engines than torch: the same map, and what they cannot do is said before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import torch
from torch import nn

import rsmeta
from rsmeta.errors import ExportError, MissingExtraError, RsmetaError
from rsmeta.inference import graph, sizing
from tests.unit.mapping_bundles import bundle_of, random_scene

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene


class Net(nn.Module):
    """A little network that sees what is valid."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        seen = torch.cat([image, valid[:, None].to(image.dtype)], dim=1)
        scores: torch.Tensor = self.last(nn.functional.gelu(self.norm(self.first(seen))))
        return 5 * scores


@pytest.fixture
def scene(tmp_path: Path, make_scene: MakeScene) -> Path:
    random_scene(make_scene, tmp_path / "s.tif", (60, 70), 3, holes=True)
    return tmp_path / "s.tif"


def shares(scene: Path, folder: Path, engine: str, **settings: Any) -> np.ndarray:
    bundle = bundle_of(Net(), classes=3, tile_px=16)
    products = rsmeta.Products(folder / "m.tif", probabilities=folder / "p.tif")
    rsmeta.predict(
        scene, bundle, output=products, if_exists="overwrite", execution="cpu",
        settings={"engine": engine, "batch_size": 4, **settings},
    )  # fmt: skip
    with rasterio.open(folder / "p.tif") as file:
        found: np.ndarray = file.read()
    return found


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_another_engine_gives_the_same_map(
    tmp_path: Path, scene: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With batches that are not full, views that are mirrored, and several threads at once."""
    pytest.importorskip({"onnx": "onnxruntime", "openvino": "openvino"}[engine])
    monkeypatch.setattr(sizing, "choose_lanes", lambda device: 2)
    expected = shares(scene, tmp_path, "torch", augment="all")
    found = shares(scene, tmp_path, engine, augment="all")
    assert np.nanmax(np.abs(found - expected)) < 1e-5
    assert np.array_equal(np.isnan(found), np.isnan(expected))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimize": 1}, "engine=onnx computes in float32; omit it, or optimize and precision"),
        ({"precision": "bfloat16"}, "engine=onnx computes in float32"),
    ],
)
def test_an_engine_does_not_compute_in_bfloat16(
    tmp_path: Path, scene: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(RsmetaError, match=message):
        shares(scene, tmp_path, "onnx", **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["s.tif"]


def test_an_engine_is_none_for_a_gpu() -> None:
    with pytest.raises(RsmetaError, match="engine=openvino computes on the CPU"):
        graph.check_engine("openvino", torch.device("cuda"), reduced=False)
    graph.check_engine("torch", torch.device("cuda"), reduced=True)


def test_what_an_engine_lacks_is_said(
    tmp_path: Path, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "_MOST_BYTES", 100)
    with pytest.raises(ExportError, match="GB of weights, and an ONNX graph holds 2; omit engine"):
        shares(scene, tmp_path, "onnx")
    monkeypatch.setitem(graph._PACKAGES, "onnx", "no_such_package")
    with pytest.raises(MissingExtraError, match=r"pip install 'rsmeta\[engines\]'"):
        shares(scene, tmp_path, "onnx")
