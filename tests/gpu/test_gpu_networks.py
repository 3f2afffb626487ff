"""Large and other networks on a GPU, against the same on the CPU; and what ONNX makes of one."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from rsmeta.inference.optimize import optimised
from rsmeta.workflows.export import export
from tests.gpu.conftest import TILE_PX, make_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.models.network import Network

pytestmark = pytest.mark.gpu


def tiles(side_px: int, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    image = 0.4 * torch.rand(count, 4, side_px, side_px, generator=random)
    valid = torch.rand(count, side_px, side_px, generator=random) > 0.05
    return image, valid


def softmax(scores: torch.Tensor) -> torch.Tensor:
    return torch.softmax(scores, dim=1, dtype=torch.float32)


@torch.inference_mode()
def check_network(network: Network, side_px: int, device: torch.device) -> None:
    """Compare float32 and bfloat16 on the device with float32 on the CPU."""
    image, valid = tiles(side_px)
    expected = optimised(network.eval(), softmax, torch.device("cpu"))(image, valid)
    there = copy.deepcopy(network).to(device)
    for reduced, within in ((False, 2e-4), (True, 3e-2)):
        model = optimised(there, softmax, device, reduced=reduced)
        found = model(image.to(device), valid.to(device))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=within)


def test_satmae_large(tmp_path: Path, device: torch.device) -> None:
    network = make_bundle(tmp_path / "model", "satmae_vit_l16_group").network
    assert sum(p.numel() for p in network.parameters()) > 3e8
    check_network(network, TILE_PX, device)


@pytest.mark.parametrize("backbone", ["swin_tiny_patch4_window7_224"])
def test_swin(backbone: str, tmp_path: Path, device: torch.device) -> None:
    check_network(make_bundle(tmp_path / "model", backbone, img_size=224).network, 224, device)


def test_vit_base(tmp_path: Path, device: torch.device) -> None:
    network = make_bundle(tmp_path / "model", "vit_base_patch16_224").network
    check_network(network, TILE_PX, device)


def test_onnx_gives_what_the_device_gives(tmp_path: Path, device: torch.device) -> None:
    """Exported from a network that lies on the device."""
    import onnxruntime

    bundle = make_bundle(tmp_path / "model", depth=2)
    bundle.network.to(device)
    path = export(bundle, tmp_path / "m.onnx", form="onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    image, _ = tiles(TILE_PX)
    (found,) = session.run(None, {"image": ((image - 0.2) / 0.1).numpy()})
    valid = torch.ones(2, TILE_PX, TILE_PX, dtype=torch.bool)
    with torch.inference_mode():
        network = bundle.network.eval()
        assert next(network.parameters()).device.type == device.type, "export moved the network"
        expected = torch.softmax(network(image.to(device), valid.to(device)), dim=1)
    assert np.abs(found - expected.cpu().numpy()).max() < 2e-4
