"""SatMAE backbones: features of any size, sites, bands in groups, training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import ConfigError
from rsmeta.geo.bands import Band, generic_band
from rsmeta.geo.sensors import load_sensor
from rsmeta.models import build_network
from rsmeta.models.satmae.backbone import SatmaeBackbone, TemporalSatmae
from rsmeta.models.stem import embedding_size
from rsmeta.peft import merge, unmerge
from tests.unit.tiny_satmae import BANDS, KINDS, RGB, S2, TEN, build, pretrained, spec_of, state_of

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.config.model import ModelSpec

# -- features ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 32), (30, 41), (5, 64)])
@pytest.mark.parametrize("kind", ["group", "rgb"])
def test_any_size(kind: str, size: tuple[int, int]) -> None:
    backbone = build(kind).eval()
    x = torch.randn(2, len(BANDS[kind]), *size)
    features = backbone(x)
    rows, cols = -(-size[0] // 8), -(-size[1] // 8)
    assert features.map.shape == (2, 32, rows, cols)
    assert features.cls.shape == (2, 32)
    maps = backbone.dense(x, (1, 0, 1))
    assert [m.shape for m in maps] == [features.map.shape] * 3
    torch.testing.assert_close(maps[0], features.map)
    assert torch.equal(maps[0], maps[2])
    assert not torch.equal(maps[0], maps[1])


def test_groups_side_by_side() -> None:
    torch.manual_seed(0)
    apart = build("group", merge="concat").eval()
    torch.manual_seed(0)
    mean = build("group").eval()
    x = torch.randn(1, 10, 24, 16)
    maps = apart.dense(x, (1,))[0]
    assert apart.dim == maps.shape[1] == 96
    wanted = mean.dense(x, (1,))[0]
    torch.testing.assert_close(maps.unflatten(1, (3, 32)).mean(dim=1), wanted)
    assert apart(x).cls.shape == (1, 32)


def test_a_map_keeps_its_place() -> None:
    """The feature of a patch moves with the patch: rows are rows and columns are columns."""
    backbone = build("rgb").eval()
    plain, marked = torch.zeros(1, 3, 32, 48), torch.zeros(1, 3, 32, 48)
    marked[..., 8:16, 32:40] = 5
    change = (backbone(marked).map - backbone(plain).map).abs().sum(dim=1)[0]
    assert change.argmax() == 1 * 6 + 4


def test_temporal_features() -> None:
    backbone = build("temporal").eval()
    assert isinstance(backbone, TemporalSatmae)
    x = torch.randn(2, 3, 3, 20, 32)
    when = torch.tensor([[[15, 6, 12], [16, 0, 3], [10, 11, 23]]] * 2)
    features = backbone(x, when)
    assert features.map.shape == (2, 400, 3, 4)
    torch.testing.assert_close(backbone.dense(x, (1,), when)[0], features.map)
    assert not torch.allclose(features.cls, backbone(x, when + 1).cls)
    with pytest.raises(ValueError, match=r"must be \(B, 3, C, H, W\) with timestamps"):
        backbone(x)
    with pytest.raises(ValueError, match="year, month and hour"):
        backbone(x, when[..., :2])


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("kind", ["group", "rgb"])
def test_backward_reaches_every_parameter(kind: str, pool: bool) -> None:
    backbone = build(kind, global_pool=pool)
    features = backbone(torch.randn(1, len(BANDS[kind]), 24, 24))
    (features.map.square().sum() + features.cls.square().sum()).backward()
    assert not [n for n, p in backbone.named_parameters() if p.grad is None]


def test_checkpointed_gradients_are_the_same() -> None:
    x = torch.randn(1, 10, 16, 16)
    grads = []
    for again in (False, True):
        torch.manual_seed(0)
        backbone = build("group", grad_checkpointing=again).train()
        backbone.dense(x, (0, 1))[1].square().sum().backward()
        grads.append([p.grad for p in backbone.parameters() if p.grad is not None])
    torch.testing.assert_close(*grads)


def test_compiles_whole() -> None:
    backbone = build("group").eval()
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    for size in (32, 40):
        x = torch.randn(1, 10, size, 32)
        torch.testing.assert_close(compiled(x).map, backbone(x).map)


@pytest.mark.parametrize("kind", KINDS)
def test_sites_point_at_their_modules(kind: str) -> None:
    backbone = build(kind)
    assert isinstance(backbone, SatmaeBackbone)
    sites = backbone.sites()
    positions = ("norm1", "q", "k", "v", "out", "norm2", "mlp1", "mlp2", "block")
    assert [site.name for site in sites] == [f"{i}.{p}" for i in (0, 1) for p in positions]
    for site in sites:
        module = backbone.get_submodule(site.module)
        if isinstance(module, torch.nn.Linear):
            assert module.in_features == site.in_features
            rows = site.rows or (0, module.out_features)
            assert rows[1] - rows[0] == site.out_features


# -- bands and groups ----------------------------------------------------------------------------


def test_the_order_of_the_input_does_not_matter(official: Path) -> None:
    x = torch.randn(1, 10, 32, 32)
    one = build("group", official).eval()
    other = build("group", official, bands=TEN[::-1]).eval()
    torch.testing.assert_close(one(x).map, other(x.flip(1)).map)


def test_missing_bands_leave_their_groups(official: Path) -> None:
    landsat = load_sensor("landsat_tm").select(("blue", "green", "red", "nir", "swir16")).bands
    backbone = build("group", official, bands=landsat).eval()
    assert backbone.vit.parts == 2
    assert backbone.stem_report.origins == ("B02", "B03", "B04", "B08", "B11")
    assert backbone.stem_report.all_matched
    assert backbone.stem_report.notes == (
        "B12 left the group B11+B12",
        "no band of the group B05+B06+B07+B8A: it leaves the sequence",
    )
    assert "leaves the sequence" in backbone.stem_report.summary()
    assert backbone(torch.randn(1, 5, 16, 16)).map.shape == (1, 32, 2, 2)
    state = pretrained("group")
    own = backbone.vit.state_dict()
    key = "patch_embed.2.proj.weight"
    factor = backbone.stem_report.filters[4].factor
    assert 1 < factor < 2
    torch.testing.assert_close(own[key], state[key][:, :1] * factor)
    assert embedding_size(own[key]) == pytest.approx(embedding_size(state[key]))
    assert "patch_embed.1.proj.weight" in backbone.load_report.unexpected


def test_equal_names_of_other_bands_are_not_taken(official: Path) -> None:
    """B4 of Landsat 5 is near infrared; B04 of the weights is red."""
    bands = load_sensor("landsat_tm").select(("nir",)).bands
    assert bands[0].name.endswith("4")
    backbone = build("group", official, bands=bands)
    assert backbone.stem_report.origins == ("B08",)


def test_bands_that_no_group_knows_join_the_nearest(official: Path) -> None:
    backbone = build("group", official, bands=tuple(S2.values())).eval()
    assert backbone.vit.parts == 3
    assert backbone.stem_report.notes == (
        "B01 joined the group B02+B03+B04+B08",
        "B09 joined the group B05+B06+B07+B8A",
        "B10 joined the group B11+B12",
    )
    origins = dict(zip(S2, backbone.stem_report.origins, strict=True))
    assert origins["B01"] == "0.70 B02 + 0.30 B03"
    assert origins["B10"].startswith("0.78 B11")
    assert origins["B04"] == "B04"
    assert not backbone.stem_report.all_matched
    x = torch.randn(1, 13, 16, 16)
    assert backbone(x).map.shape == (1, 32, 2, 2)


@pytest.mark.parametrize("pretrained", [True, False])
def test_radar_forms_a_group_of_its_own(official: Path, pretrained: bool) -> None:
    radar = load_sensor("sentinel1_grd").bands
    bands = (*radar, S2["B04"])
    backbone = build("group", official if pretrained else None, bands=bands).eval()
    assert [group.label for group in backbone.vit.groups] == ["B02+B03+B04+B08", "VV+VH"]
    assert "VV, VH form a group of their own" in backbone.stem_report.notes
    filters = backbone.stem_report.filters
    if pretrained:
        assert [f.origin for f in filters] == ["mean", "mean", "copied"]
        assert backbone.vit.channel_embed.shape[1] == 4
        sizes = [embedding_size(backbone.vit.patch_embed[i].proj.weight) for i in ("0", "3")]
        assert 0.2 < sizes[1] / sizes[0] < 5
    x = torch.randn(1, 3, 16, 16)
    assert backbone(x).map.shape == (1, 32, 2, 2)
    alone = build("group", official if pretrained else None, bands=radar).eval()
    assert alone.vit.parts == 1
    assert alone(x[:, :2]).map.shape == (1, 32, 2, 2)


def test_extra_bands_may_form_a_new_group_or_be_refused() -> None:
    bands = tuple(S2.values())
    backbone = build("group", bands=bands, extra_bands="new")
    assert backbone.vit.groups[-1].label == "B01+B09+B10"
    with pytest.raises(ConfigError) as caught:
        build("group", bands=bands, extra_bands="refuse")
    sentence = str(caught.value)
    assert "no channel group for the bands B01 (coastal), B09 (nir09), B10 (cirrus)" in sentence
    assert "data.use_bands=[B02, B03, B04, B05, B06, B07, B08, B8A, B11, B12]" in sentence
    twice = (S2["B04"], generic_band("red"))
    with pytest.raises(ConfigError, match="both mean B04"):
        build("group", bands=twice)


def test_own_groups() -> None:
    bands = (Band("VV"), Band("VH"), S2["B08"])
    backbone = build("group", bands=bands, groups=[["VV", "VH"], ["nir"]])
    assert backbone.vit.parts == 2
    assert backbone(torch.randn(1, 3, 16, 16)).map.shape == (1, 32, 2, 2)
    with pytest.raises(ConfigError, match="must name each band once"):
        build("group", bands=bands, groups=[["VV", "VH"], ["VV"]])


def test_rgb_stem_takes_other_bands(tmp_path: Path) -> None:
    save_file(state_of("rgb"), tmp_path / "rgb.safetensors")
    backbone = build("rgb", tmp_path / "rgb.safetensors", bands=(*RGB[::-1], S2["B08"]))
    assert backbone.stem_report.origins == ("blue", "green", "red", "0.61 red + 0.39 green")
    assert not backbone.stem_report.all_matched


# -- networks ------------------------------------------------------------------------------------


def _network(spec: ModelSpec, method: str = "lora") -> Any:
    tuner = TunerSpec(method=method, rank=2)
    head = {"name": "fpn", "width": 8, "skip_width": 8}
    spec = spec.model_copy(update={"head": type(spec.head)(**head)})
    return build_network(
        spec, tuner, bands=TEN, classes=3, mean=[0.2] * len(TEN), std=[0.1] * len(TEN)
    )


def test_lora_trains_and_is_saved(official: Path) -> None:
    torch.manual_seed(0)
    network = _network(spec_of("group", official))
    image, valid = torch.rand(2, 10, 30, 41), torch.ones(2, 30, 41, dtype=torch.bool)
    optimizer = torch.optim.AdamW(network.trainable_parameters(), lr=1e-2)
    losses = []
    target = torch.randint(3, (2, 30, 41))
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(network(image, valid), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    qkv = network.backbone.vit.blocks[0].attn.qkv
    assert set(qkv.adapters) == {"q", "v"}
    assert qkv.adapters["q"].up.abs().sum() > 0
    assert qkv.base.weight.grad is None
    with torch.no_grad():
        plain = network.eval()(image, valid)
        assert len(merge(network).merged) == 4
        torch.testing.assert_close(network(image, valid), plain, atol=1e-5, rtol=0)
        unmerge(network)
    state = {key: value.clone() for key, value in network.trained_state().items()}
    assert not any("mlp" in key or "pos_embed" in key for key in state)
    torch.manual_seed(7)
    again = _network(spec_of("group", official))
    again.load_trained_state(state)
    with torch.no_grad():
        assert torch.equal(again.eval()(image, valid), network.eval()(image, valid))


def test_random_weights_are_saved_whole() -> None:
    torch.manual_seed(0)
    network = _network(spec_of("group"), "full")
    state = {key: value.clone() for key, value in network.trained_state().items()}
    assert "backbone.vit.pos_embed" in state
    torch.manual_seed(7)
    again = _network(spec_of("group"), "full")
    again.load_trained_state(state)
    image, valid = torch.rand(1, 10, 16, 16), torch.ones(1, 16, 16, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(again.eval()(image, valid), network.eval()(image, valid))


def test_temporal_is_refused_for_scenes_of_one_date() -> None:
    with pytest.raises(ConfigError, match=r"takes 3 images of one place .* choose a satmae_vit_"):
        build_network(
            spec_of("temporal"), TunerSpec(), bands=RGB, classes=2, mean=[0.0] * 3, std=[1.0] * 3
        )
