"""What an exported model owes to the bundle that it was made from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch

from rsmeta.bundle import load_bundle
from rsmeta.workflows.export import export

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.models.network import Network


def onnx_input(session: Any, raw: Any) -> Any:
    """Normalise display values (B, C, H, W) as the notes of an ONNX file say."""
    notes = session.get_modelmeta().custom_metadata_map
    mean, std = (
        np.array(json.loads(notes[f"standardization_{what}"]))[:, None, None]
        for what in ("mean", "std")
    )
    return ((raw / 255 - mean) / std).astype(np.float32)


def merged_and_onnx_follow(bundle: Path, saved: Path, folder: Path) -> Network:
    """Assert that merged bundle and ONNX file of a model of four bands do as its bundle does.

    Returns:
        The merged network.
    """
    raw = np.random.default_rng(0).uniform(0, 1, (2, 4, 32, 32)).astype(np.float32)
    valid = torch.ones(2, 32, 32, dtype=torch.bool)
    merged = load_bundle(export(saved, folder / "merged", form="merged")).network
    session = onnxruntime.InferenceSession(export(saved, folder / "m.onnx", form="onnx"))
    with torch.no_grad():
        wanted = load_bundle(bundle).network(torch.tensor(raw), valid)
        torch.testing.assert_close(merged(torch.tensor(raw), valid), wanted, atol=1e-5, rtol=1e-4)
    (found,) = session.run(None, {"image": onnx_input(session, raw)})
    assert np.abs(found - torch.softmax(wanted, dim=1).numpy()).max() < 1e-4
    return merged
