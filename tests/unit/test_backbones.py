"""One behavioural suite over every kind of backbone: adding one to ``KINDS`` adds its tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import Position, TunerSpec
from rsmeta.models import backbone_names, build_backbone, list_backbones
from rsmeta.models.build import build_network
from rsmeta.models.names import TIMM_CLASSES, timm_line, timm_names
from rsmeta.models.timm.swin import TimmSwin
from tests.unit.backbone_kinds import KINDS, RADAR, RGB, SIX, with_options
from tests.unit.test_models_copernicus import TWELVE
from tests.unit.test_models_dofa import NINE
from tests.unit.test_models_prithvi import HLS
from tests.unit.tiny_satmae import TEN

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.models import Backbone

every_kind = pytest.mark.parametrize("kind", KINDS)


def _build(kind: str, bands: Any = SIX, **keys: Any) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(with_options(kind, **keys), bands)


def _published(kind: str) -> tuple[Any, ...]:
    """Return bands that weights of the kind could expect."""
    known = {"prithvi": HLS, "dofa": NINE, "panopticon": TWELVE, "copernicus": TWELVE}
    return TEN if "group" in kind else known.get(kind, RGB)


def _saved(kind: str, folder: Path) -> str:
    path = folder / "weights.safetensors"
    net = next(iter(_build(kind, _published(kind)).children()))
    state = {key: value.clone().contiguous() for key, value in net.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    for value in state.values():  # nothing stays 0, as some initial values are
        if value.is_floating_point() and not value.any():
            value.normal_(std=0.02, generator=generator)
    save_file(state, path)
    return str(path)


def test_every_kind_is_listed() -> None:
    names = {name for name, _ in list_backbones()}
    assert {spec.backbone for spec in KINDS.values()} <= names


@every_kind
@pytest.mark.parametrize("size", [(64, 64), (50, 71), (1, 1)])
def test_features_lie_exactly_on_the_image(kind: str, size: tuple[int, int]) -> None:
    backbone = _build(kind).eval()
    x = torch.randn(2, 6, *size)
    with torch.no_grad():
        features = backbone(x)
        maps = backbone.dense(x, range(backbone.depth))
    for i, found in enumerate(maps):
        stride, multiple = backbone.strides_px[i], backbone.multiple_px
        sides = [-(-side // multiple) * multiple // stride for side in size]
        assert found.shape == (2, backbone.dims[i], *sides)
    assert features.map.shape == maps[-1].shape
    torch.testing.assert_close(features.map, maps[-1], atol=1e-5, rtol=1e-4)
    assert features.cls.shape == (2, features.cls.shape[1])
    assert features.map.isfinite().all()


@every_kind
def test_depths_come_in_any_order(kind: str) -> None:
    backbone = _build(kind).eval()
    x = torch.randn(1, 6, 32, 48)
    last = backbone.depth - 1
    with torch.no_grad():
        first, again, end = backbone.dense(x, (0, 0, last))
        assert torch.equal(first, again)
        torch.testing.assert_close(end, backbone.dense(x, (last,))[0])
        torch.testing.assert_close(first, backbone.dense(x, (0,))[0])
    assert len(backbone.levels) == 4
    assert backbone.levels[-1] == last


@every_kind
def test_backward_reaches_every_parameter(kind: str) -> None:
    backbone = _build(kind)
    features = backbone(torch.randn(1, 6, 32, 32))
    (features.map.square().sum() + features.cls.square().sum()).backward()
    unused = [n for n, p in backbone.named_parameters() if p.grad is None]
    assert not unused


@every_kind
def test_checkpointed_gradients_are_the_same(kind: str) -> None:
    x = torch.randn(1, 6, 32, 32)
    found = []
    for again in (False, True):
        backbone = _build(kind, options={"grad_checkpointing": again}).train()
        backbone.dense(x, backbone.levels)[-1].square().sum().backward()
        found.append({n: p.grad for n, p in backbone.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, grad in found[0].items():
        torch.testing.assert_close(found[1][name], grad, atol=1e-5, rtol=1e-4)


@every_kind
def test_sites_point_at_their_modules(kind: str) -> None:
    backbone = _build(kind)
    sites = backbone.sites()
    for block in range(backbone.depth):
        inside = [site for site in sites if site.block == block]
        assert [site.position for site in inside] == list(Position.__args__)
        assert inside[-1].in_features == backbone.dims[block]
    assert len({site.name for site in sites}) == len(sites) == 9 * backbone.depth
    for site in sites[:-1]:
        module = backbone.get_submodule(site.module)
        if isinstance(module, torch.nn.Linear):
            assert module.in_features == site.in_features
            rows = site.rows or (0, module.out_features)
            assert rows[1] - rows[0] == site.out_features


@every_kind
def test_sites_are_where_data_pass(kind: str) -> None:
    """Every linear site is called as a module: what an adapter puts there acts."""
    backbone = _build(kind).eval()
    called: set[str] = set()
    for site in backbone.sites():
        module = backbone.get_submodule(site.module)
        module.register_forward_hook(lambda *_, name=site.name: called.add(name))
    with torch.no_grad():
        backbone(torch.randn(1, 6, 32, 32))
    assert called == {site.name for site in backbone.sites()}


@every_kind
def test_state_goes_round(kind: str, tmp_path: Path) -> None:
    """Weights saved by themselves load strictly, for the same and for other bands."""
    source = _saved(kind, tmp_path)
    published = _published(kind)
    torch.manual_seed(5)
    backbone = build_backbone(with_options(kind, checkpoint=source), published).eval()
    assert backbone.has_weights
    assert backbone.load_report.missing == ()
    assert backbone.stem_report.all_matched
    own, stored = next(iter(backbone.children())).state_dict(), load_file(source)
    assert all(torch.equal(own[key], value) for key, value in stored.items() if key in own)
    turned = build_backbone(with_options(kind, checkpoint=source), published[::-1]).eval()
    x = torch.randn(1, len(published), 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(turned(x.flip(1)).map, backbone(x).map, atol=1e-5, rtol=1e-4)


@every_kind
@pytest.mark.parametrize("strategy", ["match", "mean", "repeat", "random", "project"])
@pytest.mark.parametrize("bands", [SIX, SIX[3:4], RADAR], ids=["six", "nir", "radar"])
def test_every_stem_strategy_takes_any_bands(
    kind: str, strategy: str, bands: Any, tmp_path: Path
) -> None:
    source = _saved(kind, tmp_path)
    spec = with_options(kind, checkpoint=source, stem={"strategy": strategy}, head="linear")
    mean = std = [0.1] * len(bands)
    network = build_network(spec, TunerSpec(rank=2), bands=bands, classes=2, mean=mean, std=std)
    backbone = network.backbone
    assert len(backbone.stem_report.filters) == len(bands)
    assert backbone.stem_report.strategy == strategy
    x = torch.rand(1, len(bands), 32, 32)
    network(x, torch.ones(1, 32, 32, dtype=torch.bool)).square().sum().backward()
    learns = {n for n, p in backbone.stem.named_parameters() if p.requires_grad}
    assert bool(learns) == (not backbone.stem_report.all_matched)
    if strategy == "project":
        assert not any(p.requires_grad for p in backbone.patch_embed.parameters())
    stem = {f"backbone.{name}" for name in _names_of(backbone, backbone.stem)}
    assert stem <= network.trained_state().keys()


def _names_of(backbone: Backbone, module: torch.nn.Module) -> set[str]:
    inside = {id(p) for p in module.parameters()}
    return {name for name, p in backbone.named_parameters() if id(p) in inside}


@every_kind
def test_compiles_whole(kind: str) -> None:
    """One graph, without breaks, that another image size does not spoil."""
    torch.compiler.reset()
    backbone = _build(kind).eval()
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    for size in (32, 64):
        x = torch.randn(1, 6, size, 32)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x).map, backbone(x).map)


def test_swin_counts_blocks_through_its_stages() -> None:
    backbone = _build("swin")
    assert isinstance(backbone, TimmSwin)
    assert backbone.dims == (16, 32, 64, 64, 128)
    assert backbone.strides_px == (4, 8, 16, 16, 32)
    assert backbone.levels == (0, 1, 3, 4)
    with pytest.raises(IndexError, match="blocks"):
        backbone.dense(torch.randn(1, 6, 32, 32), (5,))


@pytest.mark.parametrize("kind", ["swin", "swinv2", "eva02", "eva fused", "dinov3"])
def test_features_are_those_of_timm(kind: str) -> None:
    """Though it takes any size, and passes fused projections as modules."""
    import timm

    backbone = _build(kind, RGB).eval()
    spec = KINDS[kind]
    net = timm.create_model(spec.backbone, num_classes=0, **spec.options).eval()
    net.load_state_dict(next(iter(backbone.children())).state_dict())
    side = spec.options["img_size"]
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        wanted, found = net.forward_features(x), backbone(x)
        torch.testing.assert_close(found.cls, net.forward_head(wanted, pre_logits=True))
    if "swin" in kind:
        torch.testing.assert_close(found.map, wanted.permute(0, 3, 1, 2))


@pytest.mark.slow  # two minutes: three hundred networks, some of them wide
@pytest.mark.parametrize("name", [n for n in backbone_names() if "sapiens2" not in n])
def test_every_name_of_timm_builds(name: str) -> None:
    """With one block each; sapiens2 has a setting per block, so none of its depths is small."""
    options = {"depths": [1, 1, 1, 1]} if name.startswith("swin") else {"depth": 1}
    backbone = build_backbone(ModelSpec(backbone=name, options=options), RGB).eval()
    with torch.no_grad():
        found = backbone(torch.randn(1, 3, 40, 70)).map
    assert found.shape[1] == backbone.dim
    assert found.isfinite().all()


def test_names_and_tags_read_from_timm_s_source_are_those_that_timm_registers() -> None:
    registered = {
        name: [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
        for module in TIMM_CLASSES
        for name in timm.list_models(module=module)
    }
    assert timm_names() == tuple(sorted(registered))
    for name, tags in registered.items():
        assert timm_line(name).partition("; published weights: ")[2] == ", ".join(tags), name
