"""Export: a bundle that stands alone, and LoRA files that HF peft loads."""

from __future__ import annotations

import copy
import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from rsmeta.bundle import BundleRecord, load_bundle, save_bundle
from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import BundleError, CheckpointError, ExportError, OutputError
from rsmeta.files import file_sha256
from rsmeta.geo.bands import generic_band
from rsmeta.models import build_backbone
from rsmeta.models.build import build_network
from rsmeta.peft import AdaptedModule, merge
from rsmeta.workflows.export import export
from tests.unit.backbone_kinds import KINDS
from tests.unit.tiny_satmae import TEN

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.bundle import ModelBundle

OPTIONS = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 32}
BANDS = tuple(generic_band(name) for name in ("red", "green", "blue", "nir"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small timm network that takes red, green and blue."""
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, **OPTIONS)
    file = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(vit.state_dict(), file)
    return file


def _bundle(folder: Path, tuner: Any, model: dict[str, Any], bands: Any = BANDS) -> ModelBundle:
    """Save a bundle whose adapters, head and stem were moved as training moves them."""
    checkpoint = model.get("checkpoint")
    form = "two_sigma" if "group" in model.get("backbone", "") else "standard"
    record = BundleRecord.model_validate(
        {
            "rsmeta": "test", "created": "2026-01-01T00:00:00+00:00",
            "bands": [
                {"name": band.name, "common_name": band.common_name, "mean": 0.1, "std": 0.5}
                for band in bands
            ],
            "classes": [{"name": f"c{i}", "value": i, "colour": "#00ff00"} for i in range(3)],
            "stem": {"strategy": None, "notes": [], "form": form, "normalisation": ""},
            "read": {}, "tile_px": 32, "gsd_m": None,
            "backbone": {"name": "vit_tiny_patch16_224",
                         "sha256": checkpoint and file_sha256(checkpoint)},
            "model": {"head": "linear", **model}, "tuner": tuner, "meta": {}, "predict": {},
            "training": {}, "weights_sha256": "",
        }
    )  # fmt: skip
    torch.manual_seed(1)
    network = build_network(
        record.model, record.tuner, bands=bands, classes=3, mean=[0.1] * len(bands),
        std=[0.5] * len(bands),
    ).eval()  # fmt: skip
    for parameter in network.trainable_parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    for module in network.modules():
        if isinstance(module, AdaptedModule):
            for modulator in module.modulators.values():
                modulator.set(1.5)
    return save_bundle(folder, record, network)


def _logits(bundle: ModelBundle) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(2, len(bundle.record.bands), 40, 32, generator=generator)
    with torch.no_grad():
        return bundle.network(image, torch.ones(2, 40, 32, dtype=torch.bool))


@pytest.mark.parametrize(
    ("tuner", "stays"),
    [
        ([{"method": "lora", "positions": "attn"}, {"method": "ssf"}, {"method": "ln"}], None),
        ({"method": "dora"}, None),
        ([{"method": "partial"}, {"method": "mask"}, {"method": "bias"}], None),
        ([{"method": "lora"}, {"method": "adapter"}], "adapter"),
        ({"method": "vpt_deep"}, "vpt_deep"),
        ({"method": "full"}, None),
    ],
)
def test_merged_stands_alone(tuner: Any, stays: str | None, weights: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "vit.safetensors"
    checkpoint.write_bytes(weights.read_bytes())
    model = {"options": OPTIONS, "checkpoint": str(checkpoint)}
    bundle = _bundle(tmp_path / "bundle", tuner, model)
    assert export(tmp_path / "bundle", tmp_path / "merged", form="merged") == tmp_path / "merged"
    checkpoint.unlink()
    merged = load_bundle(tmp_path / "merged")
    assert merged.record.tuner == TunerSpec(method=stays or "head")
    assert merged.record.backbone == bundle.record.backbone
    adapted = [m for m in merged.network.modules() if isinstance(m, AdaptedModule)]
    assert bool(adapted) == (stays is not None)
    torch.testing.assert_close(_logits(merged), _logits(bundle), atol=1e-5, rtol=1e-5)


def test_merged_satmae_stands_alone(official: Path, tmp_path: Path) -> None:
    model = {
        "backbone": "satmae_vit_b16_group", "checkpoint": str(official),
        "options": {"embed_dim": 32, "depth": 2, "num_heads": 2},
    }  # fmt: skip
    bundle = _bundle(tmp_path / "bundle", {"method": "lora", "rank": 2}, model, TEN)
    export(bundle, tmp_path / "merged", form="merged")
    merged = load_bundle(tmp_path / "merged")
    assert merged.record.model.checkpoint is None
    torch.testing.assert_close(_logits(merged), _logits(bundle), atol=1e-5, rtol=1e-5)


# -- weights for other models ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "tuner"),
    [("satmae group", "full"), ("satmae group", "lora"), ("satmae group", "head"),
     ("vit", "lora"), ("dinov2", "full")],
)  # fmt: skip
def test_a_backbone_is_a_weights_file_for_other_bands_and_heads(
    kind: str, tuner: str, tmp_path: Path
) -> None:
    model = KINDS[kind].model_dump(include={"backbone", "options"})
    bundle = _bundle(tmp_path / "bundle", {"method": tuner}, model, TEN)
    before = _logits(bundle)
    file = export(bundle, tmp_path / "b.safetensors", form="backbone", licence="CC0-1.0")
    assert torch.equal(_logits(bundle), before), "the model itself is left alone"
    parameters = sum(p.numel() for p in bundle.network.backbone.parameters())
    assert file.stat().st_size < 2.2 * parameters + 40_000, "float16"
    options = bundle.network.backbone.standalone_options | model["options"]
    spec = ModelSpec(backbone=model["backbone"], checkpoint=str(file), options=options)
    backbone = build_backbone(spec, TEN).eval()
    record = backbone.record
    assert (record.licence, record.form) == ("CC0-1.0", bundle.record.stem.form)
    assert record.mean == pytest.approx([0.1] * len(TEN))
    assert backbone.load_report is not None
    assert not backbone.load_report.missing
    image = torch.rand(2, 10, 32, 32, generator=torch.Generator().manual_seed(0))
    merged = copy.deepcopy(bundle.network.backbone)
    merge(merged)
    with torch.no_grad():
        ours, theirs = backbone(image), merged(image)
    torch.testing.assert_close(ours.map, theirs.map, atol=0.01, rtol=0.01)
    torch.testing.assert_close(ours.cls, theirs.cls, atol=0.01, rtol=0.01)
    three = build_backbone(spec, [band for band in TEN if band.name in ("B02", "B03", "B08")])
    assert three.stem_report.all_matched


def test_a_backbone_that_no_file_can_hold(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path / "bundle", {"method": "adapter"}, {"options": OPTIONS}, BANDS)
    file = tmp_path / "b.safetensors"
    with pytest.raises(CheckpointError, match="was trained with adapter"):
        export(bundle, file, form="backbone")
    with pytest.raises(OutputError, match=r"ends in \.safetensors"):
        export(bundle, tmp_path / "b", form="backbone")
    with pytest.raises(ExportError, match="--licence=MIT applies to --format backbone"):
        export(bundle, tmp_path / "m", form="merged", licence="MIT")
    assert not file.exists()


#: Kinds of backbones some of whose projections have no bias.
BIAS_FREE = ("dinov3", "eva02", "eva fused", "swinv2")


@pytest.mark.parametrize("kind", BIAS_FREE)
@pytest.mark.parametrize("others", [[], [{"method": "adapter"}]], ids=["alone", "with adapter"])
def test_ssf_on_maps_without_bias_merges(kind: str, others: list[Any], tmp_path: Path) -> None:
    model = KINDS[kind].model_dump(include={"backbone", "options"})
    bundle = _bundle(tmp_path / "bundle", [{"method": "ssf"}, *others], model)
    export(bundle, tmp_path / "merged", form="merged")
    merged = load_bundle(tmp_path / "merged")
    assert bool(merged.record.added_biases) == (kind != "eva fused")
    torch.testing.assert_close(_logits(merged), _logits(bundle), atol=1e-5, rtol=1e-5)
    again = save_bundle(tmp_path / "again", merged.record, merged.network)
    torch.testing.assert_close(_logits(load_bundle(again.path)), _logits(merged))


@pytest.mark.parametrize(
    "tuner",
    [
        {"method": "lora"},
        {"method": "lora", "positions": ["attn", "mlp"], "alpha": 3, "sites": {"0.q": {"rank": 2}}},
        [{"method": "lora", "positions": "q", "rank": 2}, {"method": "lora", "positions": "v"}],
    ],
)
def test_peft_loads_lora_onto_the_same_timm_model(
    tuner: Any, weights: Path, tmp_path: Path
) -> None:
    import peft

    bundle = _bundle(tmp_path / "bundle", tuner, {"options": OPTIONS, "checkpoint": str(weights)})
    export(bundle, tmp_path / "lora", form="peft")
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, in_chans=4, **OPTIONS)
    known = {k: t for k, t in load_file(weights).items() if not k.startswith("patch_embed")}
    missing, left_over = vit.load_state_dict(known, strict=False)
    assert not left_over
    assert all(name.startswith("patch_embed.") for name in missing)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = peft.PeftModel.from_pretrained(vit, str(tmp_path / "lora")).eval()
    image = torch.randn(2, 4, 32, 32)
    wanted = bundle.network.backbone(image).cls
    torch.testing.assert_close(loaded(image), wanted, atol=1e-5, rtol=1e-5)
    merged = loaded.merge_and_unload()
    torch.testing.assert_close(merged(image), wanted, atol=1e-5, rtol=1e-5)
    assert (
        json.loads((tmp_path / "lora" / "adapter_config.json").read_text())["peft_type"] == "LORA"
    )
    assert "| nir | 0.1 | 0.5 |" in (tmp_path / "lora" / "README.md").read_text()


@pytest.mark.parametrize(
    ("tuner", "given", "sentence"),
    [
        ({"method": "dora"}, True, "tuned with dora; use --format merged"),
        ({"method": "lora"}, False, "are random and in no file"),
        ({"method": "lora", "positions": "out", "out_reads": "output"}, True, "changes a bias"),
    ],
)
def test_what_is_no_lora_of_peft_is_refused(
    tuner: Any, given: bool, sentence: str, weights: Path, tmp_path: Path
) -> None:
    model = {"options": OPTIONS, "checkpoint": str(weights) if given else None}
    bundle = _bundle(tmp_path / "bundle", tuner, model)
    with pytest.raises(ExportError, match=sentence):
        export(bundle, tmp_path / "lora", form="peft")
    assert not (tmp_path / "lora").exists()


def test_satmae_is_no_timm_model(tmp_path: Path) -> None:
    model = {
        "backbone": "satmae_vit_b16_group", "options": {**OPTIONS, "channel_embed": 8},
    }  # fmt: skip
    bundle = _bundle(tmp_path / "bundle", {"method": "lora"}, model, TEN)
    with pytest.raises(ExportError, match="needs a timm backbone"):
        export(bundle, tmp_path / "lora", form="peft")


def test_nothing_is_replaced_unless_asked(weights: Path, tmp_path: Path) -> None:
    model = {"options": OPTIONS, "checkpoint": str(weights)}
    bundle = _bundle(tmp_path / "bundle", {"method": "lora"}, model)
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputError, match="use --overwrite"):
        export(bundle, tmp_path / "there", form="peft")
    export(bundle, tmp_path / "there", form="peft", overwrite=True)
    assert (tmp_path / "there" / "adapter_model.safetensors").exists()
    with pytest.raises(ExportError, match="unknown export format 'zip'"):
        export(bundle, tmp_path / "other", form="zip")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        export(bundle, tmp_path / "file" / "below", form="peft")


@pytest.mark.parametrize(
    ("named", "place"),
    [("relative", "run/bundle/vit.safetensors"), ("relative", "run/vit.safetensors"),
     ("relative", "run/bundle/weights/vit.safetensors"), ("absolute", "run/vit.safetensors")],
)  # fmt: skip
def test_backbone_weights_are_found_beside_the_bundle(
    place: str, named: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "training/weights").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "training")
    file = tmp_path / "training/weights/vit.safetensors"
    file.write_bytes(weights.read_bytes())
    checkpoint = str(file) if named == "absolute" else "weights/vit.safetensors"
    bundle = _bundle(
        tmp_path / "run/bundle", {"method": "lora"}, {"options": OPTIONS, "checkpoint": checkpoint}
    )
    logits = _logits(bundle)
    monkeypatch.chdir(tmp_path)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    file.rename(tmp_path / place)
    torch.testing.assert_close(_logits(load_bundle(tmp_path / "run/bundle")), logits)
    other = load_file(tmp_path / place)
    save_file({name: tensor + 1 for name, tensor in other.items()}, tmp_path / place)
    with pytest.raises(BundleError, match="is not the file that"):
        load_bundle(tmp_path / "run/bundle")
    (tmp_path / place).unlink()
    with pytest.raises(BundleError, match=r"needs the backbone weights .*put the file there or"):
        load_bundle(tmp_path / "run/bundle")
