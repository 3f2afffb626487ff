"""Where the weights of an image head start: features that are kept, and words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from rsmeta.config import load_settings
from rsmeta.models.build import build_network
from rsmeta.tasks import task_of
from rsmeta.training.features import network_key
from rsmeta.training.head_start import start_head
from tests.integration.image_data import COUNTS, FOLDER, write_images

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rsmeta.config import Settings
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData
    from tests.conftest import MakeScene


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene) -> Path:
    folder = tmp_path_factory.mktemp("start")
    write_images(folder / "data", make_scene)
    (folder / "config.yaml").write_text(FOLDER, encoding="utf-8")
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub/rsmeta/features"


@pytest.fixture
def made(images: Path) -> Callable[..., tuple[Network, TrainingData, Settings]]:
    def make(*overrides: str) -> tuple[Network, TrainingData, Settings]:
        settings = load_settings(
            images / "config.yaml", [f"data.root={images / 'data'}", *overrides]
        )
        task = task_of(settings)
        data = task.data(settings)
        mean, std = data.statistics
        torch.manual_seed(3)
        network = build_network(
            settings.model, settings.tuner, bands=data.bands, classes=len(data.classes),
            mean=mean, std=std, per_pixel=False,
        )  # fmt: skip
        return network, data, settings

    return make


def accuracy(network: Network, data: TrainingData) -> float:
    network.eval()
    with torch.inference_mode():
        hits = [
            network(batch["image"], batch["valid"]).argmax(dim=1) == batch["label"]
            for batch in data.ordered_dataloader("test")
        ]
    return float(torch.cat(hits).float().mean())


@pytest.mark.parametrize("init", ["class_mean", "few_shot_mean", "linear_probe"])
def test_a_head_that_starts_from_features_knows_the_classes(
    made: Callable[..., Any], hub: Path, init: str
) -> None:
    network, data, settings = made(f"model.head={{name: l2_normalised, init: {init}}}")
    start_head(network, data, settings)
    assert accuracy(network, data) > 0.9
    assert len(list(hub.glob("*.safetensors"))) == 1


def test_features_are_computed_once_whatever_the_adapters(
    made: Callable[..., Any], hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("model.head={name: cosine, init: class_mean}", "tuner=lora")
    network, data, settings = made(*words)
    start_head(network, data, settings)
    first = network.head.weight.clone()
    (file,) = hub.glob("*.safetensors")

    def never(*_: Any) -> None:
        raise AssertionError("features are computed again")

    monkeypatch.setattr("rsmeta.models.network.ImageNetwork.features", never)
    again, data, settings = made(*words, "tuner.rank=2", "data.batch_size=3")
    start_head(again, data, settings)
    assert again.head.weight.shape == first.shape
    network, data, settings = made(*words, "tuner=adapter")
    start_head(network, data, settings)
    torch.testing.assert_close(network.head.weight, first)
    file.write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="again"):
        start_head(network, data, settings)


def test_all_that_features_depend_on_is_in_their_key(made: Callable[..., Any], hub: Path) -> None:
    network, _, settings = made()
    key = network_key(network, settings.model, "cpu")
    assert network_key(network, settings.model, "cpu") == key
    others = [made("model.head.pool=mean")[0], made("model.stem.strategy=mean")[0],
              made("model.options.depth=3")[0]]  # fmt: skip
    with torch.no_grad():
        changed = made()[0]
        changed.prepare.std[0] += 1e-3
    keys = {network_key(one, settings.model, "cpu") for one in (*others[::2], changed)}
    assert len(keys | {key}) == 4


def test_a_class_without_image_cannot_start(made: Callable[..., Any], hub: Path) -> None:
    network, data, settings = made("model.head.init=class_mean")
    data._train.labels[data._train.labels == 2] = 1
    with pytest.raises(Exception, match="no image of class 2"):
        start_head(network, data, settings)


def test_counts_are_those_of_the_images(made: Callable[..., Any]) -> None:
    _, data, _ = made()
    assert data.class_counts.tolist() == [counts[0] for counts in COUNTS.values()]
