"""Many bands are made fewer before the stem: by groups, principal components, or learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from rsmeta.config.model import ModelSpec, StemSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import ConfigError
from rsmeta.geo.bands import Band
from rsmeta.models import build_network
from rsmeta.models.reduction import principal_components, reduction_of

OPTIONS = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
BANDS = [Band(f"b{i}", None, nm) for i, nm in enumerate([450, 900, 460, 470, 910, 480, 1650])]


def network(tuner: str = "full", bands: Any = BANDS, **stem: Any) -> Any:
    spec = ModelSpec.model_validate({"options": OPTIONS, "head": "linear", "stem": stem})
    torch.manual_seed(0)
    zeros = [0.0] * len(bands)
    return build_network(
        spec, TunerSpec(method=tuner), bands=bands, classes=3, mean=zeros, std=[1.0] * len(bands)
    )


def test_groups_are_neighbours_in_the_spectrum_wherever_they_stand() -> None:
    reduction = reduction_of(StemSpec(reduce="groups", reduce_to=3), BANDS)
    groups = [set(row.nonzero()[:, 0].tolist()) for row in reduction.weight]
    assert groups == [{0, 2, 3}, {5, 1}, {4, 6}]
    assert reduction.weight.sum(dim=1).tolist() == pytest.approx([1, 1, 1])
    assert [b.wavelength_nm for b in reduction.bands] == [460, 690, 1280]
    assert reduction.bands[0].width_nm == 20


def test_groups_of_bands_without_wavelengths_follow_the_file() -> None:
    bands = [Band("x"), Band("y", None, 400.0), Band("z"), Band("w")]
    reduction = reduction_of(StemSpec(reduce="learned", reduce_to=2), bands)
    assert [set(row.nonzero()[:, 0].tolist()) for row in reduction.weight] == [{0, 1}, {2, 3}]
    assert all(band.wavelength_nm is None for band in reduction.bands)


@pytest.mark.parametrize("count", [1, 3, 6])
def test_components_equal_scikit_learn_s(count: int) -> None:
    rng = np.random.default_rng(2)
    pixels = (rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3).astype(np.float32)
    parts = torch.from_numpy(pixels).split(120)
    ours = pixels @ principal_components(parts, count).numpy().T
    theirs = PCA(count, whiten=True).fit_transform(pixels.astype(np.float64))
    ours = ours - ours.mean(axis=0)
    signs = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours * signs, theirs, atol=5e-3, rtol=5e-3)


def test_constant_and_equal_bands_have_components() -> None:
    pixels = torch.randn(100, 1) * torch.tensor([1.0, 1.0, 0.0])
    found = principal_components([pixels], 3)
    assert found.isfinite().all()
    assert (pixels @ found.T).std(dim=0)[0] == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(
    ("kind", "trained"), [("pca", False), ("groups", False), ("learned", True)]
)
@pytest.mark.parametrize("tuner", ["full", "lora", "head"])
def test_only_what_is_learned_is_trained(kind: str, trained: bool, tuner: str) -> None:
    built = network(tuner, reduce=kind, reduce_to=3)
    assert built.backbone.projection.weight.requires_grad is trained
    assert built.backbone.patch_embed.proj.weight.shape[1] == 3
    assert all(p.requires_grad for p in built.backbone.patch_embed.parameters())
    scores = built(torch.randn(2, 7, 20, 16), torch.ones(2, 20, 16, dtype=torch.bool))
    assert scores.shape == (2, 3, 20, 16)
    assert len(built.backbone.stem_report.filters) == len(BANDS)
    assert f"7 bands reduced to 3 ({kind})" in built.backbone.stem_report.summary()


@pytest.mark.parametrize("kind", ["pca", "groups", "learned"])
def test_saving_and_loading_change_nothing(kind: str) -> None:
    first, second = (network("head", reduce=kind, reduce_to=3) for _ in range(2))
    with torch.no_grad():
        for parameter in first.backbone.projection.parameters():
            parameter.normal_()
    state = first.trained_state()
    assert "backbone.projection.weight" in state
    second.load_trained_state(state)
    image, valid = torch.randn(1, 7, 16, 16), torch.ones(1, 16, 16, dtype=torch.bool)
    with torch.inference_mode():
        assert torch.equal(first.eval()(image, valid), second.eval()(image, valid))


def test_a_group_meets_the_filter_of_its_wavelength(tmp_path: Any) -> None:
    """The mean of blue bands goes through the weights' filter for blue."""
    from safetensors.torch import save_file

    bare = network(bands=[Band("red", "red", 655.0)])
    net = dict(bare.backbone.vit.state_dict())
    net["patch_embed.proj.weight"] = torch.randn(16, 3, 8, 8)
    save_file({k: v.contiguous() for k, v in net.items()}, tmp_path / "w.safetensors")
    spec = ModelSpec.model_validate({
        "options": OPTIONS, "checkpoint": str(tmp_path / "w.safetensors"),
        "stem": {"reduce": "groups", "reduce_to": 2, "bands": ["red", "green", "blue"]},
    })  # fmt: skip
    bands = [Band("a", None, 480.0), Band("b", None, 650.0), Band("c", None, 500.0),
             Band("d", None, 660.0)]  # fmt: skip
    built = build_network(spec, TunerSpec(method="head"), bands=bands, classes=2, mean=[0.0] * 4,
                          std=[1.0] * 4)  # fmt: skip
    note = built.backbone.stem_report.notes[0]
    assert "group 1 <- blue" in note
    assert "group 2 <- red" in note


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stem": {"reduce": "pca", "reduce_to": 7}}, "not fewer than the 7 bands"),
        ({"stem": {"reduce": "pca", "reduce_to": 3}, "backbone": "pixels", "options": {}},
         "omit model.stem.reduce"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change: dict[str, Any], says: str) -> None:
    spec = ModelSpec.model_validate({"options": OPTIONS, **change})
    with pytest.raises(ConfigError, match=says):
        build_network(spec, TunerSpec(), bands=BANDS, classes=2, mean=[0.0] * 7, std=[1.0] * 7)


def test_two_projections_are_refused() -> None:
    with pytest.raises(ValueError, match="drop one"):
        StemSpec(reduce="pca", strategy="project")
