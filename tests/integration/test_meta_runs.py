"""Scales that were learned: what a run shows of them, and that they act alike wherever they act."""

from __future__ import annotations

import csv
import json
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rsmeta.bundle import load_bundle
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.errors import TrainingError
from rsmeta.peft import AdaptedModule, site_modulators
from rsmeta.training.fit import fit
from rsmeta.training.meta import MetaStep
from rsmeta.training.module import TaskModule
from tests.integration.conftest import CONFIG, TinyRun, write_data
from tests.integration.meta_runs import killed_and_resumed, make_module, settings_of

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.models.network import Network
    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta, RunToEnd

LEARNED = CONFIG.replace(
    "tuner: full",
    "tuner: {rank: 2, positions: [q, v, mlp1]}\n"
    "meta: {strategy: first_order, every_n_steps: 2, lr: 0.5, until: 1, granularity: site, "
    "prune: 0.8}",
).replace("max_epochs: 2", "max_epochs: 4, keep: last")


@pytest.fixture(scope="module")
def meta_run(
    tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene, run_to_end: RunToEnd
) -> TinyRun:
    """A run whose scales moved far, and of which some sites were dropped."""
    folder = tmp_path_factory.mktemp("meta")
    run = TinyRun(write_data(folder / "data", make_scene), folder / "config.yaml", folder / "run")
    run.config.write_text(LEARNED, encoding="utf-8")
    run_to_end("train", run.config, f"data.root={run.data}", "--output", run.folder)
    return run


def rows(run: TinyRun) -> list[dict[str, str]]:
    with (run.folder / "gamma_history.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_scales_are_noted_in_file_tensorboard_and_picture(meta_run: TinyRun) -> None:
    noted = rows(meta_run)
    assert [*noted[0]] == ["step", "site", "scale"]
    steps = Counter(int(row["step"]) for row in noted)
    assert steps == dict.fromkeys(range(0, 17, 2), 6), "4 epochs of 4 steps, 6 sites"
    assert {float(row["scale"]) for row in noted if row["step"] == "0"} == {1.0}
    assert len({row["scale"] for row in noted}) > 40
    events = EventAccumulator(str(meta_run.folder / "tensorboard"), {"histograms": 0}).Reload()
    shown = events.Scalars("scale/0.q")
    assert [event.step for event in shown] == list(range(0, 17, 2))
    assert shown[-1].value == pytest.approx(
        next(float(row["scale"]) for row in noted if row["step"] == "16" and row["site"] == "0.q")
    )
    assert len(events.Histograms("scales")) == 9
    with Image.open(meta_run.folder / "plots" / "scales.png") as picture:
        assert picture.width > 700
        assert np.asarray(picture).std() > 10


def test_inspect_shows_block_by_position(rsmeta: Rsmeta, meta_run: TinyRun) -> None:
    found = json.loads(rsmeta("inspect", meta_run.bundle, "--json").out)
    final = {row["site"]: float(row["scale"]) for row in rows(meta_run) if row["step"] == "16"}
    kept = {site: scale for site, scale in final.items() if scale >= 0.8}
    assert 0 < len(kept) < len(final), "some sites were dropped, some were not"
    assert found["scales"] == pytest.approx(kept)
    lines = rsmeta("inspect", meta_run.bundle).out.splitlines()
    start = lines.index("scales:")
    head, first = lines[start + 1].split(), lines[start + 2].split()
    assert head[0] == "block"
    assert set(head[1:]) == {site.split(".")[1] for site in kept}
    for position, cell in zip(head[1:], first[1:], strict=True):
        scale = kept.get(f"{first[0]}.{position}")
        assert cell == ("-" if scale is None else f"{scale:.3f}")


def test_pruned_bundle_is_smaller_and_maps_as_with_those_sites_off(
    rsmeta: Rsmeta, meta_run: TinyRun, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    arguments = ("train", meta_run.config, f"data.root={meta_run.data}", "meta.prune=0")
    assert rsmeta(*arguments, "--output", whole).status == 0
    pruned, full = load_bundle(meta_run.bundle), load_bundle(whole / "bundle")
    assert pruned.record.scales is not None
    kept = [site for site, scale in (full.record.scales or {}).items() if scale >= 0.8]
    assert list(pruned.record.scales) == kept
    sizes = [
        (f / "weights.safetensors").stat().st_size for f in (meta_run.bundle, whole / "bundle")
    ]
    assert sizes[0] < sizes[1]
    for site, modulator in site_modulators(full.network.backbone).items():
        if site not in kept:
            modulator.set(0.0)
    x = torch.randn(2, 3, 32, 32) * 300 + 1000, torch.ones(2, 32, 32, dtype=torch.bool)
    with torch.inference_mode():
        torch.testing.assert_close(pruned.network(*x), full.network(*x), atol=1e-5, rtol=0)
    assert rsmeta("predict", meta_run.scene, "--model", meta_run.bundle, "--output",
                  tmp_path / "map.tif").status == 0  # fmt: skip


def used_scales(network: Network) -> list[dict[str, float]]:
    """Return a list that fills with the scales of every forward pass of the network."""
    passes: list[dict[str, float]] = []
    within: list[dict[str, float]] = []
    sites = {id(m): site for site, m in site_modulators(network.backbone).items()}

    def note(modulator: Any, _: Any, scale: torch.Tensor) -> None:
        for used in within:
            used[sites[id(modulator)]] = float(scale.detach())

    network.register_forward_pre_hook(lambda *_: within.append({}))
    network.register_forward_hook(lambda *_: passes.append(within.pop()))
    for modulator in site_modulators(network.backbone).values():
        modulator.register_forward_hook(note)
    return passes


@pytest.mark.parametrize("strategy", ["first_order", "joint"])
def test_invariant_9_scales_act_the_same_in_training_validation_bundle_and_prediction(
    strategy: str, meta_run: TinyRun, rsmeta: Rsmeta, tmp_path: Path
) -> None:
    # In training and validation: each pass uses the scales as they are then, and all of them move.
    settings = settings_of(meta_run.data, f"meta.strategy={strategy}", "meta.every_n_steps=6")
    module, data = make_module(settings)
    passes = used_scales(module.network)
    result = fit(module, data, output=tmp_path / "fit")
    assert result.scales is not None
    ends = dict(zip(result.scales.sites, result.scales.scales[-1], strict=True))
    assert passes[0].keys() == ends.keys()
    assert passes[0] == dict.fromkeys(ends, 1.0)
    assert passes[-1] == ends, "validation runs with what training ended in"
    if strategy == "first_order":
        assert all(used == passes[0] for used in passes[:6]), "fixed between meta steps"
    assert all(scale != 1.0 for scale in ends.values())
    # In the bundle: the same network, and its map the same as from scales written into adapters.
    bundle = load_bundle(meta_run.bundle)
    x = torch.randn(1, 3, 32, 32) * 300 + 1000, torch.ones(1, 32, 32, dtype=torch.bool)
    expected = bundle.network(*x)
    for adapted in bundle.network.modules():
        for position in adapted.adapters if isinstance(adapted, AdaptedModule) else ():
            adapter, modulator = adapted.adapters[position], adapted.modulators[position]
            assert bundle.record.scales is not None
            adapter.up.data *= bundle.record.scales[adapted.sites[position].name]
            modulator.set(1.0)
    torch.testing.assert_close(bundle.network(*x), expected, atol=1e-5, rtol=0)
    if strategy == "first_order":
        out = tmp_path / "map.tif"
        rsmeta("predict", meta_run.scene, "--model", meta_run.bundle, "--output", out)
        predicted = map_with(bundle.network, meta_run)
        with rasterio.open(out) as file:
            written = file.read(1)
        valid = written != 255
        assert (written[valid] == predicted[valid]).mean() > 0.99


def map_with(network: Network, run: TinyRun) -> np.ndarray:
    """Return the class values of a network at one go, without tiles."""
    with rasterio.open(run.scene) as file:
        image = torch.from_numpy(file.read().astype(np.float32))[None]
    with torch.inference_mode():
        logits = torch.cat(
            [
                torch.cat(
                    [network(image[..., r : r + 32, c : c + 32],
                             torch.ones(1, 32, 32, dtype=torch.bool)) for c in range(0, 96, 32)],
                    dim=-1,
                )
                for r in range(0, 96, 32)
            ],
            dim=-2,
        )  # fmt: skip
    return 1 + logits.argmax(dim=1)[0].numpy()


@pytest.mark.parametrize(
    ("granularity", "form", "count"),
    [("hierarchical", "exp", 4), ("block", "exp", 2), ("channel", "sigmoid", 4)],
)
def test_other_granularities_and_forms_train_and_load(
    granularity: str, form: str, count: int, rsmeta: Rsmeta, meta_run: TinyRun, tmp_path: Path
) -> None:
    ended = rsmeta(
        "train", meta_run.config, f"data.root={meta_run.data}", "trainer.max_epochs=1",
        "tuner.positions=[q, mlp1]", f"meta.granularity={granularity}",
        f"meta.parametrisation={form}", "meta.prune=0", "--output", tmp_path / "run",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    bundle = load_bundle(tmp_path / "run" / "bundle")
    found = {m.mean() for m in site_modulators(bundle.network.backbone).values()}
    assert len(found) == count
    assert 1.0 not in found


def test_a_network_that_is_split_up_is_refused(meta_run: TinyRun) -> None:
    module, data = make_module(settings_of(meta_run.data, "trainer.strategy=fsdp"))
    with pytest.raises(TrainingError, match=r"trainer.strategy=fsdp splits the network"):
        MetaStep(data).on_train_start(SimpleNamespace(strategy=object()), module)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("meta.strategy=first", "unknown strategy 'first'; did you mean 'first_order'?"),
        ("tuner=full", "has no scales to learn"),
        ("trainer.precision=bf16-true", "rounds away what meta.strategy=first_order learns"),
        ("meta.betas=[0.9, 1.0]", "must be at least 0 and below 1"),
        ("tuner.scale=0", "tuner.scale=0 gives meta.strategy=first_order no gradient"),
    ],
)
def test_mistakes_are_said_in_a_line(
    override: str, told: str, rsmeta: Rsmeta, meta_run: TinyRun, tmp_path: Path
) -> None:
    words = ("train", meta_run.config, f"data.root={meta_run.data}", override)
    ended = rsmeta(*words, "--output", tmp_path / "run")
    assert ended.status == 1
    assert told in ended.complaint
    assert not (tmp_path / "run").exists()


def test_the_test_part_of_a_run_with_held_out_ground(
    rsmeta: Rsmeta, meta_run: TinyRun, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    words = (meta_run.config, f"data.root={meta_run.data}", "meta.source=held_out")
    assert rsmeta("train", *words, "--output", output).status == 0
    again = rsmeta("evaluate", "--model", output / "bundle", *words)
    assert again.status == 0
    numbers = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    assert f"{numbers['test']['accuracy']:.4f}" in again.out
    settings = settings_of(meta_run.data, "meta.source=held_out")
    kept = SceneDataModule(settings.data, seed=0, meta=settings.meta).class_counts.sum()
    assert kept < SceneDataModule(settings.data, seed=0).class_counts.sum()


def test_retraining_starts_anew_with_the_scales_that_were_learned(
    rsmeta: Rsmeta, meta_run: TinyRun, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    words = (meta_run.config, f"data.root={meta_run.data}", "meta.retrain=true")
    assert rsmeta("train", *words, "trainer.max_epochs=1", "--output", output).status == 0
    first, final = load_bundle(output / "scales" / "bundle"), load_bundle(output / "bundle")
    assert first.record.scales is not None
    assert 1.0 not in first.record.scales.values()
    assert final.record.scales == pytest.approx(first.record.scales)
    assert final.record.meta.strategy == "fixed"
    assert not (output / "gamma_history.csv").exists()
    states = [bundle.network.trained_state() for bundle in (first, final)]
    down = next(name for name in states[0] if name.endswith("down"))
    assert not torch.equal(states[0][down], states[1][down])
    # The second training alone is taken up again where the first is complete.
    before = (output / "scales" / "metrics.json").stat().st_mtime_ns
    again = ("train", *words, "trainer.max_epochs=2", "--output", output, "--resume")
    assert rsmeta(*again).status == 0
    assert (output / "scales" / "metrics.json").stat().st_mtime_ns == before
    assert json.loads((output / "metrics.json").read_text(encoding="utf-8"))["epochs"] == 2


def test_held_out_data_are_seen_as_they_are(
    meta_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    changed = TaskModule.changed

    def watched(self: TaskModule, batch: Any, *, augment: bool = True) -> Any:
        asked.append(augment)
        return changed(self, batch, augment=augment)

    monkeypatch.setattr(TaskModule, "changed", watched)
    for source, plain in (("train", 0), ("held_out", 3)):
        asked.clear()
        settings = settings_of(meta_run.data, f"meta.source={source}", "data.split.validation=0")
        module, data = make_module(settings)
        fit(module, data, output=tmp_path / source)
        assert asked.count(False) == plain


def test_a_killed_run_resumes_with_the_gradients_that_were_gathered(
    meta_run: TinyRun, tmp_path: Path
) -> None:
    """An epoch of 4 steps ends between meta steps, which are due every 3."""
    settings = settings_of(
        meta_run.data, "meta.lr=null", "meta.gate=0.5", "meta.every_n_steps=3",
        "data.chips_per_epoch=16", "trainer.max_epochs=2",
    )  # fmt: skip
    whole, resumed = killed_and_resumed(settings, tmp_path, after=5)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert any(float(value) != 0 for name, value in whole.items() if name.endswith("rho"))


def test_warnings_of_scales_that_did_nothing(
    rsmeta: Rsmeta, meta_run: TinyRun, tmp_path: Path
) -> None:
    words = ("train", meta_run.config, f"data.root={meta_run.data}", "meta.prune=0",
             "trainer.max_epochs=1")  # fmt: skip
    sgd = "trainer.optimizer={name: sgd, lr: 0.001}"
    for given, said in (
        (("meta.strategy=joint", "meta.lr=1e-6", sgd), "meta.strategy=joint does what fixed does"),
        (("meta.every_n_steps=500",), "no scale will move: a run of 4 steps ends before its"),
    ):
        ended = rsmeta(*words, *given, "--output", tmp_path / said[:20])
        assert ended.status == 0
        assert said in ended.err
