"""A linear head that starts from a solution is that solution, and training goes on from there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import rsmeta
from rsmeta.config import load_settings
from rsmeta.errors import ConfigError
from rsmeta.heads.logistic import logistic_weights
from rsmeta.models.build import build_network
from rsmeta.tasks import task_of
from rsmeta.training.head_start import start_head
from rsmeta.training.solve import labelled_pixels
from tests.integration.image_data import FOLDER, write_images

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.config import Settings
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData
    from tests.conftest import MakeScene
    from tests.integration.conftest import TinyRun


def built(config: Any, *words: str) -> tuple[Network, TrainingData, Settings]:
    settings = load_settings(config, [*words, "model.pretrained=false"])
    task = task_of(settings)
    data = task.data(settings)
    mean, std = data.statistics
    torch.manual_seed(0)
    network = build_network(
        settings.model, settings.tuner, bands=data.bands, classes=task.outputs(data), mean=mean,
        std=std, per_pixel=task.per_pixel,
    )  # fmt: skip
    start_head(network, data, settings)
    return network.eval(), data, settings


def softmax(features: np.ndarray, weight: torch.Tensor, bias: torch.Tensor) -> np.ndarray:
    return (torch.from_numpy(features) @ weight.T + bias).softmax(dim=1).numpy()


@pytest.mark.parametrize("zoom", [1, 2])
@pytest.mark.parametrize("tuner", ["head", "lora", "{method: vpt_deep, length: 2}", "full"])
def test_a_pixel_head_starts_as_the_solved_classifier(
    tiny_run: TinyRun, tuner: str, zoom: int
) -> None:
    network, data, settings = built(
        tiny_run.config, f"data.root={tiny_run.data}", f"tuner={tuner}", f"model.zoom={zoom}",
        "model.head={name: linear, init: solved}",
    )  # fmt: skip
    pixels = labelled_pixels(network, data, "train", seed=settings.seed)
    expected = softmax(pixels.features, *logistic_weights(*pixels, classes=2))
    assert (expected.argmax(axis=1) == pixels.labels).mean() > 0.8
    image, valid = torch.rand(2, 3, 40, 56) * 3000, torch.ones(2, 40, 56, dtype=torch.bool)
    valid[:, :9, :9] = False
    with torch.inference_mode():
        said = network(image, valid).softmax(dim=1)
        features = network.pixel_features(image, valid)
    flat = features.movedim(1, -1).reshape(-1, features.shape[1]).numpy()
    solved = softmax(flat, *logistic_weights(*pixels, classes=2)).reshape(2, 40, 56, 2)
    np.testing.assert_allclose(said.movedim(1, -1).numpy(), solved, atol=2e-4)


def test_an_image_head_starts_as_the_solved_classifier(
    make_scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    write_images(tmp_path / "data", make_scene)
    (tmp_path / "config.yaml").write_text(FOLDER, encoding="utf-8")
    network, data, _ = built(tmp_path / "config.yaml", f"data.root={tmp_path / 'data'}",
                             "tuner=lora", "model.head={name: linear, init: solved}")  # fmt: skip
    with torch.inference_mode():
        batches = list(data.ordered_dataloader("train"))
        features = torch.cat([network.features(b["image"], b["valid"]) for b in batches])
        said = torch.cat([network(b["image"], b["valid"]) for b in batches]).softmax(dim=1)
    labels = torch.cat([b["label"] for b in batches]).numpy()
    weights = logistic_weights(features.numpy(), labels, np.arange(len(labels)), classes=3)
    np.testing.assert_allclose(said.numpy(), softmax(features.numpy(), *weights), atol=2e-4)
    assert (said.argmax(dim=1).numpy() == labels).mean() > 0.9


def test_training_goes_on_from_the_solution(
    tiny_run: TinyRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = [f"data.root={tiny_run.data}", "tuner=meta_lora", "trainer.max_epochs=1",
             "trainer.baseline=false", "trainer.optimizer.lr=1.0e-6", "meta.every_n_steps=2",
             "model.head={name: linear, init: solved}"]  # fmt: skip
    with caplog.at_level(logging.INFO, "rsmeta"):
        solved = rsmeta.train(tiny_run.config, words, output=tmp_path / "solved").metrics
    assert "the head starts from a logistic regression on the features" in caplog.text
    chance = rsmeta.train(
        tiny_run.config, [*words, "model.head.init=random"], output=tmp_path / "random"
    ).metrics
    assert solved["train_loss"] < chance["train_loss"]


@pytest.mark.parametrize("head", ["fpn", "logistic", "forest"])
def test_heads_with_layers_of_their_own_do_not_start_so(tiny_run: TinyRun, head: str) -> None:
    with pytest.raises(ConfigError, match=rf"{head} is not; use model\.head={{name: linear"):
        built(tiny_run.config, f"data.root={tiny_run.data}", "tuner=lora",
              f"model.head={{name: {head}, init: solved}}")  # fmt: skip


def test_the_former_name_means_the_same(tiny_run: TinyRun) -> None:
    words = [f"data.root={tiny_run.data}", "model.head={name: linear, init: linear_probe}"]
    assert load_settings(tiny_run.config, words).model.head.init == "solved"
