"""The backbone of a trained model is what its network computed: any family, bands and task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from rsmeta.bundle import BundleRecord, load_bundle, rebuild, save_bundle
from rsmeta.bundle.as_backbone import build_from
from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import CheckpointError, ConfigError
from rsmeta.geo.bands import Band, generic_band
from rsmeta.peft import TUNERS
from tests.unit.backbone_kinds import KINDS, RADAR

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.models.network import Network

BANDS = (*(generic_band(name) for name in ("nir", "red", "blue")), Band("x", None, 1240.0))
TARGET = {"name": "height", "mean": 3.0, "std": 2.0}


def _run(folder: Path, model: dict[str, Any], tuner: Any = "lora", **keys: Any) -> Path:
    """Save a bundle for ``BANDS`` in which everything that was trained has moved."""
    torch.manual_seed(0)
    record = BundleRecord.model_validate(
        {
            "rsmeta": "test", "created": "2026-01-01T00:00:00+00:00",
            "bands": [
                {"name": b.name, "common_name": b.common_name, "wavelength_nm": b.wavelength_nm,
                 "mean": 0.1 + i / 10, "std": 0.5}
                for i, b in enumerate(BANDS)
            ],
            "classes": [{"name": f"c{i}", "value": i, "colour": "#00ff00"} for i in range(3)],
            "stem": {"strategy": None, "notes": [], "form": "standard", "normalisation": ""},
            "read": {}, "tile_px": 32, "gsd_m": None, "tuner": {"method": tuner}, "meta": {},
            "backbone": {"name": model["backbone"], "licence": "a licence"},
            "model": {"head": "linear", **model}, "predict": {}, "training": {},
            "weights_sha256": "0" * 64, **keys,
        }
    )  # fmt: skip
    network = rebuild(record)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return save_bundle(folder / "bundle", record, network).path or folder


def _start(folder: Path, bands: Any = BANDS, **model: Any) -> Network:
    mean = [0.1 + BANDS.index(b) / 10 if b in BANDS else 0.7 for b in bands]
    return build_from(
        ModelSpec(checkpoint=str(folder), **{"head": "linear", **model}), TunerSpec(method="head"),
        bands=bands, classes=5, mean=mean, std=[0.4] * len(bands),
    )  # fmt: skip


@pytest.mark.parametrize("tuner", ["lora", "ssf", "full"])
@pytest.mark.parametrize(
    "kind",
    [
        "vit",
        "dinov2",
        "eva02",
        "swinv2",
        "dofa",
        "panopticon",
        "copernicus",
        "prithvi",
        "scalemae",
        "satmae group",
    ],
)
def test_it_computes_what_the_trained_network_did(kind: str, tuner: str, tmp_path: Path) -> None:
    spec = KINDS[kind].model_dump(include={"backbone", "options"})
    if (kind, tuner) in {("eva02", "ssf"), ("swinv2", "ssf")}:
        folder = _run(tmp_path, spec, tuner)
        with pytest.raises(CheckpointError, match=r"biases that .* lacks"):
            _start(folder)
        return
    folder = _run(tmp_path, spec, tuner)
    network = _start(tmp_path, BANDS[::-1]).eval()
    old = load_bundle(folder).network.backbone
    x = torch.randn(1, 4, 32, 32)
    with torch.no_grad():
        wanted, found = old(x), network.backbone(x.flip(1))
    torch.testing.assert_close(found.map, wanted.map, atol=2e-5, rtol=1e-4)
    assert network.backbone.stem_report.all_matched
    assert network.normalisation.mean == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert network.normalisation.std == pytest.approx([0.5] * 4)
    assert network.backbone.record.licence == "a licence"
    assert network.trained_state().keys() == network.state_dict().keys()


SHIPPED = {"backbone": "satmae_vit_nano_group", "pretrained": True}


@pytest.mark.parametrize(
    ("kind", "tuner"),
    [
        *((kind, "lora") for kind in ("swin", "dinov3", "satmae group", "dofa", "prithvi")),
        *(("vit", tuner) for tuner in TUNERS.names()),
        ("shipped", "lora"),
        ("shipped", "full"),
    ],
)
def test_what_is_loaded_to_be_applied_is_the_same(kind: str, tuner: str, tmp_path: Path) -> None:
    """All that chance filled came from a file."""
    spec = SHIPPED if kind == "shipped" else KINDS[kind].model_dump(include={"backbone", "options"})
    folder = _run(tmp_path, spec, tuner)
    wanted = load_bundle(folder).network
    before = torch.get_rng_state()
    found = load_bundle(folder, to_apply=True).network
    assert torch.equal(torch.get_rng_state(), before)
    for name in ("named_parameters", "named_buffers"):
        tensors = dict(getattr(found, name)())
        for key, tensor in getattr(wanted, name)():
            assert torch.equal(tensors.pop(key), tensor), key
        assert not tensors
    x, valid = torch.randn(1, 4, 32, 32), torch.ones(1, 32, 32, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(found(x, valid), wanted(x, valid))


def test_projected_bands_become_part_of_the_patch_embedding(tmp_path: Path) -> None:
    spec = KINDS["vit"].model_dump(include={"backbone", "options"})
    folder = _run(tmp_path, {**spec, "stem": {"strategy": "project", "bands": ["red", "green"]}})
    old = load_bundle(folder).network.backbone
    x = torch.randn(1, 4, 40, 32)
    with torch.no_grad():
        torch.testing.assert_close(_start(folder).eval().backbone(x).map, old(x).map)
    grouped = KINDS["satmae group"].model_dump(include={"backbone", "options"})
    folder = _run(tmp_path / "groups", {**grouped, "stem": {"strategy": "project"}})
    with pytest.raises(ConfigError, match="projects its bands onto channel groups"):
        _start(folder)


@pytest.mark.parametrize("bands", [RADAR, RADAR[:1], (generic_band("swir16"),)])
def test_other_bands_go_through_the_stem(bands: Any, tmp_path: Path) -> None:
    """Also of wavelengths that no name says: 1650 nm lies between the unnamed 1240 and none."""
    spec = KINDS["vit"].model_dump(include={"backbone", "options"})
    folder = _run(tmp_path, {**spec, "zoom": 2}, target=TARGET, task="regression", classes=())
    network = _start(folder, bands)
    assert network.zoom == 2
    report = network.backbone.stem_report
    assert not report.all_matched
    assert report.origins == (("mean of all",) * 2)[: len(bands)] or "x" in report.origins[0]
    assert any(p.requires_grad for p in network.backbone.stem.parameters())
    assert {band.whose for band in network.normalisation.bands} == {"data"}


@pytest.mark.parametrize("tuner", ["adaptformer", "deflect", "vpt_deep"])
def test_what_no_weights_can_hold_is_refused(tuner: str, tmp_path: Path) -> None:
    spec = KINDS["vit"].model_dump(include={"backbone", "options"})
    with pytest.raises(CheckpointError, match=f"was trained with {tuner}"):
        _start(_run(tmp_path, spec, tuner))


def test_a_model_of_pixels_has_no_backbone(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    folder = _run(tmp_path / "one", KINDS["vit"].model_dump(include={"backbone", "options"}))
    text = (folder / "bundle.yaml").read_text(encoding="utf-8")
    own = KINDS["vit"].backbone
    text = text.replace(f"  backbone: {own}\n", "  backbone: pixels\n")
    (folder / "bundle.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"single pixels \(model.backbone=pixels\)"):
        _start(folder)
