"""Where the weights of an image head start: features that are kept, and words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from rsmeta.config import load_settings
from rsmeta.models.build import build_network
from rsmeta.models.clip import load_clip
from rsmeta.tasks import task_of
from rsmeta.training.features import network_key
from rsmeta.training.head_start import start_head
from tests.integration.image_data import COUNTS, FOLDER, write_images
from tests.unit.tiny_clip import reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rsmeta.config import Settings
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData
    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta, TinyRun


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


@pytest.mark.parametrize("init", ["class_mean", "few_shot_mean", "solved", "linear_probe"])
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


@pytest.fixture(scope="module")
def clip_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Overrides that make a small CLIP the backbone."""
    file = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    save_file({k: v.contiguous() for k, v in reference(quick_gelu=False).state_dict().items()},
              file)  # fmt: skip
    return (
        "model.backbone=vit_base_patch16_clip_224",
        "model.options={embed_dim: 64, depth: 2, num_heads: 1, patch_size: 16, img_size: 32}",
        f"model.checkpoint={file}",
        "data.use_bands=[red, green, nir]",
    )


def test_a_head_that_starts_from_words_ranks_as_clip_does(
    made: Callable[..., Any], clip_model: tuple[str, ...]
) -> None:
    network, data, settings = made(
        *clip_model, "tuner=head", "model.head={name: l2_normalised, init: text, prompts: overhead}"
    )
    start_head(network, data, settings)
    clip = load_clip(settings.model.backbone, checkpoint=settings.model.checkpoint)
    texts = clip.text.class_features(list(COUNTS), "overhead")
    batch = next(iter(data.ordered_dataloader("test")))
    with torch.inference_mode():
        features = network.eval().features(batch["image"], batch["valid"])
        started = network.head(features)
        # up to a factor per class: the length of its text in the space of the image tower
        lengths = (texts @ clip.projection.weight).norm(dim=1)
        projected = functional.linear(features, clip.projection.weight)
        torch.testing.assert_close(started * lengths, projected @ texts.T, atol=1e-4, rtol=1e-4)


def test_clip_tells_classes_by_their_names_alone(
    images: Path, clip_model: tuple[str, ...], rsmeta: Rsmeta, made: Callable[..., Any]
) -> None:
    words = ("--zero-shot", images / "config.yaml", f"data.root={images / 'data'}", *clip_model,
             "tuner=head", "--json")  # fmt: skip
    ended = rsmeta("--quiet", "evaluate", *words)
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    network, data, settings = made(*clip_model, "tuner=head")
    clip = load_clip(settings.model.backbone, checkpoint=settings.model.checkpoint)
    texts = clip.text.class_features(list(COUNTS), "photo")
    hits = 0
    with torch.inference_mode():
        for batch in data.ordered_dataloader("test"):
            cls = network.eval().features(batch["image"], batch["valid"])
            hits += int((clip.scores(cls, texts).argmax(dim=1) == batch["label"]).sum())
    assert found["accuracy"] == pytest.approx(hits / found["images"])
    other = rsmeta("--quiet", "evaluate", *words, "task=multilabel")
    assert other.status == 1
    assert "--zero-shot needs task=classification" in other.complaint


@pytest.mark.parametrize("augment", ["flips", "all", "five_crop", "ten_crop", "random"])
def test_views_are_averaged_in_evaluation(image_run: Path, rsmeta: Rsmeta, augment: str) -> None:
    words = ("--model", image_run / "run/bundle", image_run / "config.yaml",
             f"data.root={image_run / 'data'}", "--augment", augment, "--json")  # fmt: skip
    ended = rsmeta("--quiet", "evaluate", *words)
    assert ended.status == 0, ended.err
    assert json.loads(ended.out)["accuracy"] > 0.5


def test_parts_of_an_image_are_no_views_of_pixels(tiny_run: TinyRun, rsmeta: Rsmeta) -> None:
    words = ("evaluate", "--model", tiny_run.bundle, tiny_run.config, f"data.root={tiny_run.data}")
    assert rsmeta("--quiet", *words, "--augment", "flips").status == 0
    ended = rsmeta(*words, "--augment", "five_crop")
    assert ended.status == 1
    assert "use flips or all" in ended.complaint
