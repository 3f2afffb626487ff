"""Images with one label each: trained, evaluated, recorded through the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
import yaml

from rsmeta.bundle import load_bundle
from rsmeta.heads import CLASSIFIERS
from rsmeta.losses import LOSSES
from tests.integration.image_data import COUNTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Ended, Rsmeta

#: Two steps.
SHORT = ("trainer.max_epochs=1", "trainer.max_steps=2", "trainer.keep=last")


@pytest.fixture
def run(image_run: Path) -> Path:
    """The folder with ``data``, ``config.yaml`` and ``run``."""
    return image_run


def train(rsmeta: Rsmeta, run: Path, output: Path, *words: str) -> Ended:
    return rsmeta("--quiet", "train", run / "config.yaml", f"data.root={run / 'data'}", *words,
                  "--output", output)  # fmt: skip


def evaluate(rsmeta: Rsmeta, run: Path, *words: str) -> Ended:
    return rsmeta("--quiet", "evaluate", "--model", run / "run/bundle", run / "config.yaml",
                  f"data.root={run / 'data'}", *words)  # fmt: skip


def test_a_run_says_what_counts_where_classes_are_rare(run: Path) -> None:
    metrics = json.loads((run / "run/metrics.json").read_text())
    assert metrics["class_counts"] == {name: counts[0] for name, counts in COUNTS.items()}
    test = metrics["test"]
    assert test["images"] == 24
    assert test["accuracy"] > 0.6
    assert test["groups"]["many"] is None
    assert test["groups"]["medium"] == test["classes"]["crop"]["accuracy"]
    assert 0 <= test["calibration_error"] <= 1
    assert test["harmonic_mean"] <= test["geometric_mean"] <= test["mean_class_accuracy"] + 1e-9
    assert sum(map(sum, test["confusion"])) == 24
    header = (run / "run/history.csv").read_text().split("\n", 1)[0]
    assert "validation_mean_class_accuracy" in header
    for name in ("curves", "confusion", "chips"):
        assert (run / f"run/plots/{name}.png").exists()


def test_the_bundle_stands_alone(run: Path, rsmeta: Rsmeta) -> None:
    record = yaml.safe_load((run / "run/bundle/bundle.yaml").read_text())
    assert (record["task"], record["per"]) == ("classification", "image")
    assert [spec["name"] for spec in record["classes"]] == list(COUNTS)
    again = load_bundle(run / "run/bundle").network
    image, valid = torch.rand(2, 3, 32, 32) * 900, torch.ones(2, 32, 32, dtype=torch.bool)
    assert again(image, valid).shape == (2, 3)
    metrics = json.loads((run / "run/metrics.json").read_text())
    for part in ("validation", "test"):
        ended = evaluate(rsmeta, run, "--split", part, "--json")
        assert ended.status == 0, ended.err
        assert json.loads(ended.out)["confusion"] == metrics[part]["confusion"]
    on_training = json.loads(evaluate(rsmeta, run, "--split", "train", "--json").out)
    assert on_training["images"] == sum(counts[0] for counts in COUNTS.values())


def test_scores_are_shown_by_class_and_group(run: Path, rsmeta: Rsmeta) -> None:
    out = evaluate(rsmeta, run).out
    assert "mean class accuracy" in out
    assert "many n/a  medium" in out
    assert "worst class" in out
    assert "calibration error" in out
    assert {line.split()[0] for line in out.splitlines()} >= set(COUNTS)


@pytest.mark.parametrize("strategy", ["first_order", "joint"])
@pytest.mark.parametrize("source", ["train", "held_out"])
def test_scales_are_learned(
    run: Path, rsmeta: Rsmeta, tmp_path: Path, strategy: str, source: str
) -> None:
    if (strategy, source) == ("joint", "held_out"):
        pytest.skip("joint takes no meta steps")
    ended = train(rsmeta, run, tmp_path / "run", "tuner=lora", f"meta.strategy={strategy}",
                  f"meta.source={source}", "meta.every_n_steps=2", "meta.lr=0.1",
                  "trainer.max_epochs=1")  # fmt: skip
    assert ended.status == 0, ended.err
    rows = (tmp_path / "run/gamma_history.csv").read_text().splitlines()
    assert rows[1].split(",")[1:] != rows[-1].split(",")[1:]
    counts = json.loads((tmp_path / "run/metrics.json").read_text())["class_counts"]
    assert (sum(counts.values()) < 40) == (source == "held_out")


def test_a_run_is_resumed_and_pruned(run: Path, rsmeta: Rsmeta, tmp_path: Path) -> None:
    words = ("tuner=lora", "meta.strategy=first_order", "meta.every_n_steps=2", "meta.prune=0.01",
             "trainer.keep_checkpoints=true")  # fmt: skip
    for epochs in ("1", "2"):
        ended = train(rsmeta, run, tmp_path / "run", *words, f"trainer.max_epochs={epochs}",
                      *(["--resume"] if epochs == "2" else []))  # fmt: skip
        assert ended.status == 0, ended.err
    assert json.loads((tmp_path / "run/metrics.json").read_text())["epochs"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES.names())
def test_every_loss_trains(run: Path, rsmeta: Rsmeta, tmp_path: Path, name: str) -> None:
    ended = train(rsmeta, run, tmp_path / "run", f"loss.name={name}", *SHORT)
    assert ended.status == 0, ended.err


@pytest.mark.parametrize(
    ("name", "pool"), [(name, "token") for name in CLASSIFIERS.names()] + [("cosine", "mean")]
)
def test_every_head_trains(run: Path, rsmeta: Rsmeta, tmp_path: Path, name: str, pool: str) -> None:
    head = f"model.head={{name: {name}, pool: {pool}}}"
    ended = train(rsmeta, run, tmp_path / "run", head, *SHORT)
    assert ended.status == 0, ended.err
    assert load_bundle(tmp_path / "run/bundle").record.model.head.pool == pool


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("task=segmentation",), "task=segmentation needs a class for every pixel"),
        (("model.head=fpn",), "unknown classifier 'fpn'"),
        (("model.head.init=text",), "unknown CLIP image tower 'vit_tiny_patch16_224'"),
        (("model.head={init: class_mean, shots: 3}",), "shots goes with init=few_shot_mean"),
        (("loss=mse",), "unknown loss 'mse'"),
        (("data.test=nowhere",), "nowhere"),
        (("data.classes=[crop, forest]",), "wadi"),
    ],
)
def test_settings_that_do_not_fit(
    run: Path, rsmeta: Rsmeta, tmp_path: Path, overrides: tuple[str, ...], says: str
) -> None:
    ended = train(rsmeta, run, tmp_path / "run", *overrides)
    assert ended.status == 1
    assert says in ended.complaint


def test_a_bundle_meets_labels_of_another_meaning(run: Path, rsmeta: Rsmeta) -> None:
    ended = evaluate(rsmeta, run, "data.classes=[wadi, crop, forest]")
    assert ended.status == 1
    assert "the bundle's classes are" in ended.complaint
    ended = evaluate(rsmeta, run, "task=multilabel")
    assert ended.status == 1
    assert "the bundle was trained for classification per image" in ended.complaint
