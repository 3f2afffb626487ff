"""ScaleMAE: features as TorchGeo's at any pixel size, and where the pixel size comes from."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import torch

from rsmeta.config.model import ModelSpec
from rsmeta.errors import CheckpointError, ConfigError
from rsmeta.geo.bands import generic_band
from rsmeta.geo.sensors import load_sensor
from rsmeta.models import build_backbone
from rsmeta.models.scalemae import at_pixel_size

if TYPE_CHECKING:
    from pathlib import Path

RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32, "patch_size": 8}


def _theirs(gsd_m: float, side: int = 32) -> Any:
    """Return TorchGeo's own ScaleMAE, tiny, with the same random weights for any image size."""
    from torchgeo.models.scale_mae import ScaleMAE

    torch.manual_seed(0)
    net = ScaleMAE(gsd_m, side, 8, num_classes=0, embed_dim=32, depth=2, num_heads=2).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name != "pos_embed":
                shift = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(shift * 0.1 + (1.0 if "norm" in name else 0.0))
    return net


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the published format."""
    file = tmp_path_factory.mktemp("scalemae") / "scalemae.pth"
    torch.save(_theirs(1.0).state_dict(), file)
    return file


def _spec(official: Path, **keys: Any) -> ModelSpec:
    options = {**TINY, **keys.pop("options", {})}
    given = {"backbone": "scalemae_vit_l16", "checkpoint": str(official), "options": options}
    return ModelSpec(**{**given, **keys})


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("gsd_m", [0.3, 1.0, 10.0])
def test_features_are_those_of_torchgeo(official: Path, gsd_m: float, side: int) -> None:
    ours = build_backbone(_spec(official, options={"gsd_m": gsd_m}), RGB).eval()
    theirs = _theirs(gsd_m, side)
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        wanted, found = theirs.forward_features(x), ours(x)
        torch.testing.assert_close(found.cls, wanted[:, 0], atol=2e-5, rtol=2e-5)
        tokens = found.map.flatten(2).transpose(1, 2)
        torch.testing.assert_close(tokens, wanted[:, 1:], atol=2e-5, rtol=2e-5)
    assert ours.load_report.missing == ()
    assert ours.load_report.unexpected == ()
    assert ours.record.licence == "CC-BY-NC-4.0"


def test_the_pixel_size_comes_from_scenes_bands_or_options(
    official: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def size(bands: Any = RGB, **keys: Any) -> float:
        return build_backbone(_spec(official, **keys), bands).vit.gsd_m

    sentinel = load_sensor("sentinel2_l2a").select(["B04", "B03", "B11"]).bands
    with caplog.at_level(logging.WARNING):
        assert size(sentinel) == 10
        assert size(sentinel, zoom=4) == 2.5
        assert size(options={"gsd_m": 3}) == 3
        assert not caplog.records
        assert size() == 1
    assert "set model.options.gsd_m" in caplog.text
    spec = at_pixel_size(_spec(official), (2.0, 8.0))
    assert spec.options["gsd_m"] == 4
    assert at_pixel_size(spec, (1.0, 1.0)) is spec
    assert at_pixel_size(ModelSpec(backbone="pixels"), (2.0, 8.0)).options == {}
    backbone = build_backbone(_spec(official, zoom=2, options={"gsd_m": 3}), RGB)
    assert backbone.standalone_options["gsd_m"] == 3


def test_foreign_files_and_options_are_refused(official: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="is no ScaleMAE checkpoint"):
        build_backbone(_spec(tmp_path / "other.pth"), RGB)
    with pytest.raises(ConfigError, match="gsd_m"):
        build_backbone(_spec(official, options={"gsd_m": -1}), RGB)
