"""Export to ONNX: the same probabilities under onnxruntime, and what Deepness reads."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from rsmeta.bundle.record import FormulaRecord
from rsmeta.config.radar import SpeckleSettings
from rsmeta.errors import OutputError
from rsmeta.workflows import export_onnx
from rsmeta.workflows.export import export
from tests.unit.test_export import OPTIONS, _bundle

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.bundle import ModelBundle


RATIO = FormulaRecord.model_validate(
    {"kind": "ratio", "first": {"name": "VV"}, "second": {"name": "VH"}}
)


def _record_with(bundle: ModelBundle, **changes: Any) -> ModelBundle:
    return replace(bundle, record=bundle.record.model_copy(update=changes))


def test_onnx_gives_the_probabilities_of_the_network(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path / "bundle", {"method": "lora", "rank": 2}, {"options": OPTIONS})
    read = bundle.record.read.model_copy(update={"scale": 0.0001, "offset": -0.1})
    path = export(
        _record_with(bundle, read=read, gsd_m=(10.0, 10.0)), tmp_path / "m.onnx", form="onnx"
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    told = {
        key: json.loads(text)
        for key, text in session.get_modelmeta().custom_metadata_map.items()
        if key != "pkg.torch.export"
    }
    assert told["model_type"] == "Segmentor"
    assert told["class_names"] == {"0": "c0", "1": "c1", "2": "c2"}
    assert (told["tile_size"], told["tiles_overlap"], told["resolution"]) == (32, 25, 1000.0)
    assert session.get_inputs()[0].shape == ["batch", 4, 32, 32]
    for count in (1, 3):
        raw = np.random.default_rng(count).uniform(1, 9000, (count, 4, 32, 32)).astype(np.uint16)
        # as Deepness prepares raw numbers
        mean, std = (np.array(told[f"standardization_{k}"])[:, None, None] for k in ("mean", "std"))
        image = ((raw / 255 - mean) / std).astype(np.float32)
        (found,) = session.run(None, {"image": image})
        physical = torch.tensor(raw.astype(np.float32) * 0.0001 - 0.1)
        valid = torch.ones(count, 32, 32, dtype=torch.bool)
        with torch.no_grad():
            expected = torch.softmax(bundle.network.eval()(physical, valid), dim=1)
        assert np.abs(found - expected.numpy()).max() < 1e-4


@pytest.mark.parametrize("left", ["speckle", "ratio", "nothing"])
def test_what_the_file_leaves_to_its_user_is_said(
    left: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filtered speckle and computed bands are made while reading, which no graph does."""
    monkeypatch.setattr(export_onnx, "onnx_graph", lambda *_, **__: onnx.ModelProto())
    bundle = _bundle(tmp_path / "bundle", {"method": "head"}, {"options": {**OPTIONS, "depth": 1}})
    record = bundle.record
    read = record.read.model_copy(update={"scale": 1.0, "offset": 0.0})
    if left == "speckle":
        read = read.model_copy(update={"speckle": SpeckleSettings()})
    bands = record.bands
    if left == "ratio":
        bands = (bands[0].model_copy(update={"formula": RATIO}), *bands[1:])
    export(_record_with(bundle, read=read, bands=bands), tmp_path / "m.onnx", form="onnx")
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    if left == "nothing":
        assert not said
    else:
        (line,) = said
        assert "filter speckle and compute ratios and indices beforehand" in line


def test_onnx_is_one_file_with_its_ending(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path / "bundle", {"method": "lora", "rank": 2}, {"options": OPTIONS})
    with pytest.raises(OutputError, match=r"ends in \.onnx"):
        export(bundle, tmp_path / "model", form="onnx")
