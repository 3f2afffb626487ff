"""Small networks of TorchGeo's whose filters a generator makes, and files as they are published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from rsmeta.geo.bands import Band
from rsmeta.geo.sensors import load_sensor
from tests.exported import merged_and_onnx_follow
from tests.unit.test_export import _bundle

if TYPE_CHECKING:
    from pathlib import Path

RADAR = load_sensor("sentinel1_grd").bands
MANY = tuple(Band(f"b{i}", None, 400.0 + 10 * i) for i in range(200))
TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32, "patch_size": 8}


def tiny_published(kind: type[Any], stem: str, **keys: Any) -> Any:
    """Return a network of TorchGeo's, tiny, with random weights everywhere.

    Args:
        kind: Its class.
        stem: Name of the part that holds the generator.
        keys: What else its class takes.
    """
    torch.manual_seed(0)
    net = kind(**TINY, **keys).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "fc_norm" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
        net.pos_embed.normal_(std=0.02)
        # Real filters are not so small that features hide a wrong one.
        net.get_submodule(stem).weight_generator.fc_weight.weight.mul_(20)
    return net


def write_published(net: Any, file: Path) -> Path:
    """Write a file in the published format: no ``fc_norm``, no ``head``."""
    torch.save({k: v for k, v in net.state_dict().items() if "fc_norm" not in k}, file)
    return file


def adapters_merge_and_onnx_follows(
    backbone: str, official: Path, options: dict[str, Any], folder: Path
) -> None:
    """Assert that exports of an adapted network do as its bundle does, without the file."""
    model = {"backbone": backbone, "options": options, "checkpoint": str(official)}
    saved = _bundle(folder / "bundle", {"method": "lora", "rank": 2}, model)
    merged_and_onnx_follow(folder / "bundle", saved, folder)
