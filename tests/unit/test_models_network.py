"""The network: prepares, crops, trains what it should, saves and loads exactly that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from rsmeta.config import load_settings
from rsmeta.config.load import preset_names
from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import BundleError, ConfigError, UnknownNameError
from rsmeta.geo.bands import generic_band
from rsmeta.models import Network, Prepare, build_network, build_timm
from rsmeta.peft import merge, unmerge

RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
BANDS = tuple(generic_band(n) for n in ("blue", "green", "red", "nir"))
TINY = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 32}
SMALL_HEAD = {"name": "fpn", "width": 8, "skip_width": 8}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(build_timm(ModelSpec(options=TINY), RGB).vit.state_dict(), path)
    return str(path)


def _network(tuner: str = "full", *, bands: Any = BANDS, **model: Any) -> Network:
    spec = ModelSpec(**{"options": TINY, "head": SMALL_HEAD, **model})
    count = len(bands)
    mean, std = np.linspace(0.1, 0.4, count), np.linspace(0.05, 0.2, count)
    tuned = TunerSpec(method=tuner, rank=2)
    return build_network(spec, tuned, bands=bands, classes=3, mean=mean, std=std)


def _batch(height: int = 32, width: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(2, 4, height, width), torch.ones(2, height, width, dtype=torch.bool)


@pytest.mark.parametrize("size", [(32, 32), (1, 1), (7, 50)])
@pytest.mark.parametrize("head", [SMALL_HEAD, "linear"])
def test_logits_have_the_size_of_the_input(size: tuple[int, int], head: Any) -> None:
    network = _network(head=head)
    image, valid = _batch(*size)
    logits = network(image, valid)
    assert logits.shape == (2, 3, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("zoom", [2, 3, 4])
@pytest.mark.parametrize("size", [(16, 16), (1, 1), (7, 19)])
@pytest.mark.parametrize("head", [SMALL_HEAD, "linear", {"name": "logistic"}])
def test_zoom_shows_the_backbone_more_and_scores_the_same_pixels(
    zoom: int, size: tuple[int, int], head: Any
) -> None:
    tuner = "full" if head != {"name": "logistic"} else "head"
    network = _network(tuner, head=head, zoom=zoom).eval()
    seen: list[tuple[int, ...]] = []
    network.backbone.stem.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[-2:]))
    image, valid = _batch(*size)
    logits = network(image, valid)
    assert logits.shape == (2, 3, *size)
    assert logits.isfinite().all()
    [(height, width)] = seen
    assert height % 8 == width % 8 == 0  # whole patches, less than one more than asked for
    assert 0 <= height - zoom * size[0] < 8 * zoom
    assert 0 <= width - zoom * size[1] < 8 * zoom


def test_zoom_lays_features_on_the_pixels_that_they_are_of() -> None:
    """A bright pixel changes the scores at its own place most; a patch is a pixel here."""
    torch.manual_seed(0)
    network = _network(head="linear", zoom=4, options={**TINY, "patch_size": 4}).eval()
    image, valid = _batch(8, 8)
    bright = image.clone()
    bright[:, :, 2, 5] += 3
    change = (network(bright, valid) - network(image, valid)).abs().sum(dim=(0, 1))
    row, col = divmod(int(change.argmax()), 8)
    assert max(abs(row - 2), abs(col - 5)) <= 1


@pytest.mark.parametrize("zoom", [1, 3])
def test_nan_never_passes(zoom: int) -> None:
    network = _network(zoom=zoom).eval()
    image, valid = _batch()
    valid[0, :4, :4] = False
    spoiled = image.clone()
    spoiled[0, :, :4, :4] = torch.nan
    assert torch.equal(network(spoiled, valid), network(image, valid))
    network(spoiled, valid).sum().backward()
    assert all(p.grad.isfinite().all() for p in network.trainable_parameters())


def test_prepare_normalises_and_zeroes() -> None:
    prepare = Prepare([1.0, 2.0], [2.0, 0.0])
    image = torch.tensor([3.0, 5.0]).view(1, 2, 1, 1).repeat(1, 1, 1, 3)
    image[0, 1, 0, 1] = torch.inf
    valid = torch.tensor([[[True, True, False]]])
    wanted = torch.tensor([[1.0, 1.0, 0.0], [3.0, 0.0, 0.0]]).view(1, 2, 1, 3)
    assert torch.equal(prepare(image, valid), wanted)
    with pytest.raises(ValueError, match=r"must be \(C,\)"):
        Prepare([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        Prepare([torch.nan], [1.0])


@pytest.mark.parametrize(
    ("bands", "trainable", "learns"),
    [(RGB, "auto", False), (BANDS, "auto", True), (BANDS, False, False), (RGB, True, True)],
)
def test_stem_learns_where_bands_were_not_matched(
    weights: str, bands: Any, trainable: Any, learns: bool
) -> None:
    network = _network("lora", bands=bands, checkpoint=weights, stem={"trainable": trainable})
    assert {p.requires_grad for p in network.backbone.stem.parameters()} == {learns}


@pytest.mark.parametrize("tuner", ["lora", "head", "full"])
def test_a_random_backbone_keeps_head_and_stem_trainable(tuner: str) -> None:
    network = _network(tuner)
    assert all(p.requires_grad for p in network.head.parameters())
    assert all(p.requires_grad for p in network.backbone.stem.parameters())


def test_only_what_was_trained_is_saved(weights: str) -> None:
    network = _network("lora", checkpoint=weights)
    state = network.trained_state()
    parts = {name.split(".")[0] for name in state}
    assert parts == {"prepare", "backbone", "head"}
    inside = {name for name in state if name.startswith("backbone.")}
    stem = {"backbone.vit.patch_embed.proj.weight", "backbone.vit.patch_embed.proj.bias"}
    assert stem < inside
    assert all(".adapters." in n or ".modulators." in n for n in inside - stem)
    assert sum("rho" in name for name in inside) == 4
    # what learns is saved, and later freezing changes nothing about it
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert learning < state.keys()
    network.requires_grad_(False)
    assert network.trained_state().keys() == state.keys()


@pytest.mark.parametrize("merged", [False, True])
def test_compiles_for_training_and_prediction(merged: bool) -> None:
    """In one graph, with the same scores and the same gradients."""
    torch.compiler.reset()
    network = _network("lora")
    if merged:
        merge(network.eval())
    compiled = torch.compile(network.forward, backend="aot_eager", fullgraph=True)
    image, valid = _batch(32, 40)
    valid[0, :5] = False
    found = []
    for run in (network, compiled):
        network.zero_grad()
        logits = run(image, valid)
        if not merged:
            logits.square().mean().backward()
        found.append([logits, *(p.grad for p in network.trainable_parameters() if not merged)])
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-4)


def test_without_checkpoint_everything_is_saved() -> None:
    network = _network("head")
    assert network.trained_state().keys() == network.state_dict().keys()


@pytest.mark.parametrize("tuner", ["lora", "head", "full"])
@pytest.mark.parametrize("given", [True, False])
def test_saved_and_loaded_predicts_the_same(tuner: str, given: bool, weights: str) -> None:
    model = {"checkpoint": weights} if given else {}
    torch.manual_seed(0)
    network = _network(tuner, **model)
    optimizer = torch.optim.SGD(network.trainable_parameters(), lr=0.5)
    image, valid = _batch()
    network(image, valid).square().mean().backward()
    optimizer.step()
    network.prepare.mean.add_(0.5)
    network.eval()
    other = _network(tuner, **model).eval()
    assert not torch.equal(other(image, valid), network(image, valid))
    other.load_trained_state(network.trained_state())
    assert torch.equal(other(image, valid), network(image, valid))


def test_loading_is_strict_and_all_or_nothing(weights: str) -> None:
    network = _network("lora", checkpoint=weights)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    good = {name: value + 1 for name, value in network.trained_state().items()}
    key = next(reversed(good))
    without = {name: value for name, value in good.items() if name != key}
    for state, sentence in (
        (without, "lack 1 tensors"),
        (good | {"extra": torch.zeros(1)}, r"hold unknown 1 tensors \(extra\)"),
        (good | {key: torch.zeros(99)}, r"has shape \(99,\)"),
    ):
        with pytest.raises(BundleError, match=sentence):
            network.load_trained_state(state)
    assert all(torch.equal(before[n], value) for n, value in network.state_dict().items())


def test_merged_is_neither_saved_nor_loaded() -> None:
    network = _network("lora").eval()
    state = network.trained_state()
    merge(network)
    with pytest.raises(BundleError, match="unmerge it before saving"):
        network.trained_state()
    with pytest.raises(BundleError, match="unmerge it before loading"):
        network.load_trained_state(state)
    unmerge(network)
    network.load_trained_state(state)


def test_the_head_is_named_by_string_or_mapping() -> None:
    assert ModelSpec(head="linear").head.name == "linear"
    with pytest.raises(UnknownNameError, match="did you mean 'fpn'"):
        _network(head="fpm")
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        _network(head={"name": "fpn", "widht": 8})
    with pytest.raises(ValidationError, match="exclude each other"):
        ModelSpec(checkpoint="a.pth", pretrained=True)


def _pairs_of_presets() -> list[Any]:
    """Return all of them; those of large models, but for one tuner each, take their time."""
    quick = {"satmae_nano", "vit_nano", "vit_small_in21k"}

    def is_quick(model: str, tuner: str) -> bool:
        return model in quick or (tuner == "lora" and "600m" not in model)

    return [
        pytest.param(model, tuner, marks=[] if is_quick(model, tuner) else pytest.mark.slow)
        for model in preset_names("model")
        if model != "auto"  # chosen with labels at hand
        for tuner in preset_names("tuner")
    ]


@pytest.mark.parametrize(("model", "tuner"), _pairs_of_presets())
def test_every_preset_builds(model: str, tuner: str) -> None:
    """As it is shipped, but for weights from the hub, which tests do not fetch."""
    spec = {"preset": model, "pretrained": False}
    data = {"scenes": "s.tif", "labels": "l.tif", "classes": ["a", "b", "c"]}
    chosen = load_settings({"data": data, "model": spec, "tuner": tuner})
    network = build_network(
        chosen.model, chosen.tuner, bands=BANDS, classes=3,
        mean=np.zeros(len(BANDS)), std=np.ones(len(BANDS)),
    )  # fmt: skip
    image = torch.randn(1, len(BANDS), 64, 64)
    assert network(image, torch.ones(1, 64, 64, dtype=torch.bool)).shape == (1, 3, 64, 64)
