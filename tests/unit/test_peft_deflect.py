"""Deflection: weights for red, green and blue meet other bands, and few numbers learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from safetensors.torch import save_file

from rsmeta.bundle import load_bundle
from rsmeta.config.meta import MetaSettings
from rsmeta.config.model import ModelSpec
from rsmeta.config.trainer import OptimizerSettings
from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import CheckpointError, ConfigError, TunerError
from rsmeta.geo.bands import Band
from rsmeta.models import build_network
from rsmeta.peft import site_modulators
from rsmeta.training.optimizers import learning_table, parameter_groups
from rsmeta.workflows.export import export
from tests.unit.backbone_kinds import RADAR, RGB, SIX
from tests.unit.test_export import OPTIONS, _bundle, _logits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.models import Network

DEFLECT = {"method": "deflect", "width": 4}
HEAD = {"method": "head"}


@pytest.fixture(scope="module")
def rgb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small timm network that takes red, green and blue."""
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, **OPTIONS)
    file = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(vit.state_dict(), file)
    return file


def _network(
    checkpoint: Path, bands: Sequence[Band] = SIX, tuner: Any = DEFLECT, **stem: Any
) -> Network:
    torch.manual_seed(0)
    spec = ModelSpec(checkpoint=str(checkpoint), options=OPTIONS, head="linear", stem=stem)
    return build_network(
        spec, TunerSpec.model_validate(tuner), bands=bands, classes=3,
        mean=[0.1] * len(bands), std=[0.3] * len(bands),
        meta=MetaSettings(strategy="fixed" if tuner is HEAD else "first_order"),
    ).eval()  # fmt: skip


def _move(network: Network) -> None:
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in network.trainable_parameters():
            parameter += 0.1 * torch.randn_like(parameter)


def _scores(network: Network, image: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(image, image.isfinite().all(dim=1))


def _image(bands: int = 6) -> torch.Tensor:
    return torch.rand(2, bands, 40, 32, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("bands", [SIX, (*RGB, *RADAR), RADAR], ids=len)
def test_it_begins_as_the_untouched_network_and_learns_few_numbers(
    rgb: Path,
    bands: Sequence[Band],
) -> None:
    plain, network = (_network(rgb, bands, one) for one in (HEAD, DEFLECT))
    image = _image(len(bands))
    assert torch.equal(_scores(network, image), _scores(plain, image))
    learned = {n: p.numel() for n, p in network.named_parameters() if p.requires_grad}
    inside = {n: size for n, size in learned.items() if ".adapters." in n}
    assert sum(inside.values()) == 2 * len(bands) * 4 + 4 + 4 * 32 + 32
    assert all(n in inside or n.startswith("head.") or n.endswith(".rho") for n in learned)
    assert list(site_modulators(network.backbone)) == ["0.stem"]
    _move(network)
    assert not torch.allclose(_scores(network, image), _scores(plain, image), atol=1e-3)


def test_the_length_of_a_token_stays(rgb: Path) -> None:
    network = _network(rgb)
    stem = network.backbone.get_submodule("vit.patch_embed.proj")
    image = _image()[..., :32, :]
    with torch.no_grad():
        before = stem(image)
        _move(network)
        after = stem(image)
    assert not torch.allclose(before, after, atol=1e-2)
    torch.testing.assert_close(after.norm(dim=1), before.norm(dim=1))


@pytest.mark.parametrize("trainable", [True, False, "auto"])
def test_the_stem_learns_only_if_that_is_said(rgb: Path, trainable: Any) -> None:
    network = _network(rgb, trainable=trainable)
    conv = network.backbone.get_submodule("vit.patch_embed.proj.base")
    assert {p.requires_grad for p in conv.parameters()} == {trainable is True}
    settings = OptimizerSettings(lr=0.1, stem_lr_scale=0.5)
    rows = {row["site"]: row for row in learning_table(network, settings)}
    assert (rows["0.stem"]["parameters"], rows["0.stem"]["rank"]) == (212, 4)
    assert rows["0.stem"]["rate"] == 0.1
    assert ("stem" in rows) == (trainable is True)
    groups = parameter_groups(network, settings)
    slow = sum(p.numel() for g in groups if g["lr"] == 0.05 for p in g["params"])
    assert slow == (6 * 64 * 32 + 32) * (trainable is True)


@pytest.mark.parametrize(
    ("bands", "tuner", "stem", "says"),
    [
        (RGB, DEFLECT, {}, "each of these 3 has a filter of its own; use method lora"),
        (RGB[::-1], DEFLECT, {}, "each of these 3 has a filter of its own"),
        (SIX, DEFLECT, {"strategy": "project"}, "needs a patch embedding that is one convolution"),
        (SIX, {**DEFLECT, "blocks": [0]}, {}, r"alone; omit tuner\.blocks"),
        (SIX, {**DEFLECT, "positions": ["q"]}, {}, r"alone; omit tuner\.positions"),
        (SIX, {**DEFLECT, "sites": {"*.q": {"lr_scale": 2}}}, {}, r"alone; omit tuner\.sites"),
    ],
)
def test_what_it_does_not_fit_is_refused_in_one_line(
    rgb: Path,
    bands: Any,
    tuner: Any,
    stem: Any,
    says: str,
) -> None:
    with pytest.raises((TunerError, ConfigError), match=says) as refused:
        _network(rgb, bands, tuner, **stem)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("given", ["constant", "invalid", "far off"])
def test_bands_that_say_nothing_leave_finite_numbers(rgb: Path, given: str) -> None:
    network = _network(rgb)
    _move(network)
    image = _image()
    if given == "constant":
        image[:, 3] = 0.25
    else:
        image[..., :24, :] = {"invalid": torch.nan, "far off": 1e6}[given]
    for kind in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", kind, enabled=kind == torch.bfloat16):
            scores = network(image, image.isfinite().all(dim=1))
        network.zero_grad()
        scores.float().square().mean().backward()
        learned = [p for p in network.parameters() if p.requires_grad]
        assert scores.isfinite().all()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in learned)


def test_many_bands_are_read_as_they_are_reduced(rgb: Path) -> None:
    network = _network(rgb, reduce="groups", reduce_to=2)
    (place,) = network.tuned.places
    assert place.parameters == 2 * 2 * 4 + 4 + 4 * 32 + 32
    assert _scores(network, _image()).isfinite().all()


def test_one_channel_group_of_all_bands_is_one_stem() -> None:
    bands = (*SIX, Band("x", None, 1240.0))
    spec = ModelSpec(backbone="satmae_vit_nano_group", pretrained=True, head="linear")
    network = build_network(
        spec, TunerSpec.model_validate(DEFLECT), bands=bands, classes=3, mean=[0.1] * 7,
        std=[0.3] * 7, meta=MetaSettings(strategy="first_order", granularity="channel"),
    )  # fmt: skip
    assert network.backbone.new_bands == ("x",)
    learned = sum(p.numel() for p in network.backbone.parameters() if p.requires_grad)
    assert learned == 2 * 7 * 4 + 4 + (4 + 1) * network.backbone.dim
    _move(network)
    assert _scores(network.eval(), _image(7)).isfinite().all()


def test_a_bundle_maps_as_its_network_did(rgb: Path, tmp_path: Path) -> None:
    model = {"checkpoint": str(rgb), "options": OPTIONS}
    bundle = _bundle(tmp_path / "bundle", DEFLECT, model, SIX)
    wanted = _logits(bundle)
    assert torch.equal(_logits(load_bundle(tmp_path / "bundle")), wanted)
    whole = export(bundle, tmp_path / "whole", form="merged")
    assert torch.equal(_logits(load_bundle(whole)), wanted)
    with pytest.raises(CheckpointError, match="was trained with deflect, which no weights can"):
        export(bundle, tmp_path / "b.safetensors", form="backbone")


def test_an_exported_graph_scores_as_the_network_does(
    rgb: Path,
    tmp_path: Path,
) -> None:
    model = {"checkpoint": str(rgb), "options": OPTIONS}
    bundle = _bundle(tmp_path / "bundle", DEFLECT, model, SIX)
    file = export(bundle, tmp_path / "m.onnx", form="onnx")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    standard = torch.randn(3, 6, 32, 32, generator=torch.Generator().manual_seed(4))
    (found,) = session.run(None, {"image": standard.numpy()})
    physical, valid = 0.1 + 0.5 * standard, torch.ones(3, 32, 32, dtype=torch.bool)
    with torch.no_grad():
        expected = torch.softmax(bundle.network.eval()(physical, valid), dim=1)
    assert np.abs(found - expected.numpy()).max() < 1e-4
