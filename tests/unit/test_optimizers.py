"""Optimizer groups: who learns how fast, and on what weight decay acts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rsmeta.config.model import HeadSpec, ModelSpec
from rsmeta.config.trainer import OptimizerSettings
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.bands import generic_band
from rsmeta.models.build import build_network
from rsmeta.training.optimizers import build_optimizer, learning_table, parameter_groups

if TYPE_CHECKING:
    from rsmeta.models import Network

RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
OPTIONS = {"embed_dim": 32, "depth": 4, "num_heads": 2, "patch_size": 8, "img_size": 32}
SETTINGS = OptimizerSettings(lr=0.1, weight_decay=0.3, head_lr_scale=2.0, stem_lr_scale=0.5)


def _network(*specs: dict[str, Any], trainable: bool = True) -> Network:
    model = ModelSpec(options=OPTIONS, head=HeadSpec(name="linear"), stem={"trainable": trainable})
    tuner = [TunerSpec(**spec) for spec in specs]
    return build_network(model, tuner, bands=RGB, classes=200, mean=[0.0] * 3, std=[1.0] * 3)


def _steps(network: Network) -> dict[str, tuple[float, float]]:
    """Return (rate, decay) by the name of each parameter that is stepped."""
    names = {id(p): name for name, p in network.named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in parameter_groups(network, SETTINGS)
        for p in group["params"]
    }


def test_each_site_head_and_stem_has_its_rate() -> None:
    sites = {"*.q": {"rank": 16}, "0-1.v": {"lr_scale": 0.1}, "1.*": {"lr_scale": 3}}
    network = _network({"rank": 4, "lr_scale": 0.5, "sites": sites}, {"method": "ln"})
    steps = _steps(network)
    learning = {n for n, p in network.named_parameters() if p.requires_grad}
    assert steps.keys() == learning

    def rate(path: str) -> float:
        return steps[f"backbone.vit.blocks.{path}"][0] / 0.1

    assert rate("0.attn.qkv.adapters.q.down") == pytest.approx(0.5)
    assert rate("0.attn.qkv.adapters.v.up") == pytest.approx(0.1)
    assert rate("1.attn.qkv.adapters.v.up") == pytest.approx(3)  # the later pattern wins
    assert rate("3.norm2.adapters.norm2.gain") == pytest.approx(1)
    assert steps["backbone.vit.patch_embed.proj.weight"] == (0.05, 0.3)
    assert {v[0] for n, v in steps.items() if n.startswith("head.")} == {0.2}
    rows = {row["site"]: row for row in learning_table(network, SETTINGS) if row["method"] != "ln"}
    assert rows["2.q"] == {
        "site": "2.q", "method": "lora", "rank": 16, "parameters": 2 * 16 * 32,
        "rate": pytest.approx(0.05),
    }  # fmt: skip
    assert (rows["2.v"]["rank"], rows["1.v"]["rate"]) == (4, pytest.approx(0.3))
    assert (rows["stem"]["rate"], rows["head"]["rate"]) == (0.05, 0.2)


@pytest.mark.parametrize("method", ["full", "partial", "vpt_deep", "adapter", "ssf", "lora"])
def test_decay_acts_on_matrices_only(method: str) -> None:
    network = _network({"method": method})
    parameters = dict(network.named_parameters())
    for name, (_, decay) in _steps(network).items():
        token = name.endswith(("prompt", "cls_token", "pos_embed"))
        assert decay == (0.3 if parameters[name].ndim > 1 and not token else 0.0), name


def test_rows_add_up_to_what_learns() -> None:
    for method in ("full", "partial", "head", "lora"):
        network = _network({"method": method})
        learning = sum(p.numel() for p in network.trainable_parameters())
        assert sum(row["parameters"] for row in learning_table(network, SETTINGS)) == learning


def test_rates_of_a_method_in_place_and_schedule() -> None:
    network = _network({"method": "partial", "blocks": [1, "3"], "lr_scale": 0.1}, trainable=False)
    steps = _steps(network)
    assert {n.split(".")[3] for n in steps if n.startswith("backbone")} == {"1", "3"}
    assert steps["backbone.vit.blocks.3.mlp.fc1.weight"] == (pytest.approx(0.01), 0.3)
    built = build_optimizer(parameter_groups(network, SETTINGS), SETTINGS, 100)
    warm = [group["lr"] / group["initial_lr"] for group in built["optimizer"].param_groups]
    assert warm == [pytest.approx(1 / 6)] * len(warm)


def test_automatic_rank_goes_by_classes_and_depth() -> None:
    network = _network({"rank": "auto", "alpha": "rank"})
    assert {place.rank for place in network.tuned.places} == {16}  # 200 / (2 · 4) = 25


def test_the_rate_grows_with_the_square_root_of_the_chips_in_a_step() -> None:
    settings = OptimizerSettings(lr=0.01, lr_batch=128)
    assert settings.for_batch(128).lr == pytest.approx(0.01)
    assert settings.for_batch(32).lr == pytest.approx(0.005)
    assert OptimizerSettings(lr=0.01).for_batch(32).lr == 0.01
