"""A sweep's configuration becomes the settings of every run, or one sentence that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from rsmeta.config import Settings, dump_settings, load_settings
from rsmeta.config.load import preset_companion, preset_names
from rsmeta.config.sweep_runs import SweepRun, read_sweep
from rsmeta.errors import ConfigError
from rsmeta.workflows.listing import listing
from rsmeta.workflows.sweep.table import Outcome, scores_of, shown, summarise

DATA: dict[str, Any] = {"scenes": "a.tif", "labels": "b.tif", "classes": ["dry", "wet"]}


def runs_of(*overrides: str, **sweep: Any) -> list[SweepRun]:
    return read_sweep({"data": DATA, "sweep": sweep}, overrides)[1]


# -- the runs --------------------------------------------------------------------------------


def test_every_point_with_every_seed() -> None:
    runs = runs_of(seeds=[3, 5], grid={"tuner.scale": [0.1, 1], "meta": ["fixed", "first_order"]})
    assert len(runs) == 8
    assert [run.seed for run in runs[:2]] == [3, 5]
    assert {(run.settings.tuner.scale, run.settings.meta.strategy) for run in runs} == {
        (scale, strategy) for scale in (0.1, 1) for strategy in ("fixed", "first_order")
    }  # fmt: skip
    assert all(run.settings.seed == run.seed for run in runs)
    assert all(run.settings.sweep is None for run in runs)
    assert runs[0].label == "tuner.scale=0.1 meta=fixed seed=3"


def test_sections_are_set_before_their_keys_however_they_are_listed() -> None:
    runs = runs_of(seeds=[0], grid={"meta.lr": [0.5], "meta": ["unrolled", "first_order"]})
    assert [(run.settings.meta.strategy, run.settings.meta.lr) for run in runs] == [
        ("unrolled", 0.5), ("first_order", 0.5),
    ]  # fmt: skip


def test_overrides_lie_under_the_grid_and_may_set_the_sweep() -> None:
    runs = runs_of("tuner=ssf", "sweep.seeds=[7]", grid={"tuner.scale": [2]})
    (run,) = runs
    assert (run.settings.tuner.method, run.settings.tuner.scale, run.seed) == ("ssf", 2, 7)


def test_a_run_is_what_the_same_overrides_give() -> None:
    (run,) = runs_of(seeds=[4], grid={"tuner": [{"preset": "lora", "rank": 2}]})
    alone = load_settings({"data": DATA}, ["tuner={preset: lora, rank: 2}", "seed=4"])
    assert run.settings == alone
    assert load_settings({"data": DATA, **_tree(alone)}) == alone


def _tree(settings: Settings) -> dict[str, Any]:
    import yaml

    tree: dict[str, Any] = yaml.safe_load(dump_settings(settings))
    return tree


def test_points_are_listed_and_the_grid_applies_to_each() -> None:
    points = [{"tuner": "lora", "tuner.scale": 3}, {"tuner": "ssf"}]
    runs = runs_of(seeds=[0, 1], points=points)
    assert [(run.settings.tuner.method, run.settings.tuner.scale, run.seed) for run in runs] == [
        ("lora", 3, 0), ("lora", 3, 1), ("ssf", 1, 0), ("ssf", 1, 1),
    ]  # fmt: skip
    assert len({run.folder for run in runs}) == 4
    both = runs_of(seeds=[0], points=points, grid={"meta": ["fixed", "first_order"]})
    assert [run.label for run in both] == [
        "tuner=lora tuner.scale=3 meta=fixed seed=0",
        "tuner=lora tuner.scale=3 meta=first_order seed=0",
        "tuner=ssf meta=fixed seed=0", "tuner=ssf meta=first_order seed=0",
    ]  # fmt: skip
    outcomes = [Outcome(run, metrics(0.5, 0.5)) for run in runs]
    header, lines = shown(summarise(outcomes))
    assert header[:2] == ["tuner", "tuner.scale"]
    assert [line[:2] for line in lines] == [["lora", "3"], ["ssf", ""]]


def test_the_seed_stands_in_file_names() -> None:
    data = {**DATA, "scenes": ["{seed}/a.tif"], "labels": "{stem}_{seed}.tif"}
    alone = load_settings({"data": data, "seed": 4}, ["model.checkpoint={seed}/weights.pth"])
    assert alone.data.scenes == ("4/a.tif",)
    assert (alone.data.labels, alone.model.checkpoint) == ("{stem}_4.tif", "4/weights.pth")
    assert load_settings({"data": data}).data.scenes == ("0/a.tif",)
    sweep = {"seeds": [7, 8], "points": [{"model.checkpoint": "x-{seed}/w.pth"}]}
    _, runs = read_sweep({"data": data, "seed": 4, "sweep": sweep})
    assert [(run.settings.model.checkpoint, run.settings.data.scenes) for run in runs] == [
        ("x-7/w.pth", ("7/a.tif",)), ("x-8/w.pth", ("8/a.tif",)),
    ]  # fmt: skip
    assert len({run.folder for run in runs}) == 2


def test_folders_differ_stay_the_same_and_hold_no_odd_characters() -> None:
    grid = {"tuner": ["lora", {"preset": "lora", "rank": 2}, {"preset": "lora", "rank": 4}]}
    runs = runs_of(seeds=[0, 1], grid=grid)
    folders = [run.folder for run in runs]
    assert len(set(folders)) == 6
    assert folders[:2] == ["tuner-lora/seed-0", "tuner-lora/seed-1"]
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_./") for name in folders)
    more = runs_of(seeds=[1, 2], grid={"tuner": ["ssf", *grid["tuner"]]})
    assert set(folders) & {run.folder for run in more} == {f for f in folders if f.endswith("1")}
    assert runs_of(seeds=[0])[0].folder == "all/seed-0"


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"seeds": [1, 1]}, ["sweep.seeds", "different"]),
        ({"seeds": []}, ["sweep.seeds"]),
        ({"grid": {"seed": [1]}}, ["seed", "sweep.seeds"]),
        ({"grid": {"meta": []}}, ["meta", "no values"]),
        ({"grid": {"tuner.scale": [1, 1]}}, ["tuner.scale", "twice"]),
        ({"grid": {"tuner.scael": [1]}}, ["tuner.scael=1", "did you mean 'scale'"]),
        ({"grid": {"tuner.scale": [1, -1]}}, ["tuner.scale=-1"]),
        ({"grid": {"tuner": ["lora", "lroa"]}}, ["tuner=lroa", "did you mean 'lora'"]),
        ({"grid": {"trainer.devices": [2]}}, ["trainer.devices=2", "sweep.parallel"]),
        ({"points": [{"seed": 1}]}, ["seed", "sweep.seeds"]),
        ({"points": [{"tuner.scale": 1}, {"tuner.scale": 1}]}, ["point 2", "listed twice"]),
        ({"points": [{"meta": "fixed"}], "grid": {"meta": ["fixed"]}}, ["meta", "in the grid"]),
        ({"points": [{"tuner.scael": 1}]}, ["tuner.scael=1", "did you mean 'scale'"]),
        ({"seed": [1]}, ["sweep.seed", "did you mean 'seeds'"]),
        ({"parallel": 0}, ["sweep.parallel=0"]),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(
    sweep: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        runs_of(**sweep)
    assert all(word in str(caught.value) for word in words), caught.value


# -- the table -------------------------------------------------------------------------------


def metrics(first: float, second: float, seconds: float = 10) -> dict[str, Any]:
    classes = {"dry": {"f1": first}, "wet": {"f1": second}}
    return {
        "test": {"accuracy": (first + second) / 2, "pixels": 9, "classes": classes},
        "class_counts": {"dry": 100, "wet": 3}, "trained_parameters": 1234, "seconds": seconds,
    }  # fmt: skip


def test_scores_and_the_tail_of_a_run() -> None:
    assert scores_of(metrics(1.0, 0.5)) == {"test_accuracy": 0.75, "test_tail_f1": 0.5}
    found = metrics(1.0, 0.5)
    found["test"]["classes"]["wet"]["f1"] = None
    assert scores_of(found) == {"test_accuracy": 0.75}, "a class that does not occur counts not"


def test_mean_and_deviation_over_seeds_with_failed_runs_left_out() -> None:
    runs = runs_of(seeds=[0, 1, 2], grid={"tuner.scale": [1, 3]})
    outcomes = [
        Outcome(runs[0], metrics(1.0, 0.5, 10)), Outcome(runs[1], metrics(1.0, 0.7, 20)),
        Outcome(runs[2], error="the loss is nan"), Outcome(runs[3], metrics(0.5, 0.5)),
        Outcome(runs[4]), Outcome(runs[5]),
    ]  # fmt: skip
    rows = summarise(outcomes)
    assert [(row.point, row.finished, row.failed) for row in rows] == [
        ({"tuner.scale": "1"}, 2, 1), ({"tuner.scale": "3"}, 1, 0),
    ]  # fmt: skip
    tail = rows[0].scores["test_tail_f1"]
    assert tail.mean == pytest.approx(0.6)
    assert tail.deviation == pytest.approx(0.02**0.5)
    assert rows[0].seconds == 15
    header, lines = shown(rows)
    assert header == [
        "tuner.scale",
        "runs",
        "test accuracy",
        "test tail_f1",
        "parameters",
        "seconds",
    ]
    assert lines == [
        ["1", "2 of 3, 1 failed", "0.800 ± 0.071", "0.600 ± 0.141", "1,234", "15"],
        ["3", "1 of 3", "0.500", "0.500", "1,234", "10"],
    ]


def test_differences_are_of_pairs_of_seeds() -> None:
    runs = runs_of(seeds=[0, 1, 2, 3], grid={"tuner.scale": [1, 3]})
    first = [metrics(0.9, 0.1), metrics(0.5, 0.5), metrics(0.7, 0.3), None]
    second = [metrics(0.9, 0.3), metrics(0.5, 0.6), None, metrics(0.1, 0.1)]
    outcomes = [Outcome(run, found) for run, found in zip(runs, [*first, *second], strict=True)]
    one, other = summarise(outcomes)
    assert one.differences == {}
    found = other.differences["test_tail_f1"]
    assert (found.mean, found.error, found.pairs) == pytest.approx((0.15, 0.05, 2))
    cells = dict(zip(*(lambda table: (table[0], table[1][1]))(shown([one, other])), strict=True))
    assert cells["test tail_f1"] == "0.333 ± 0.252 (+0.150 ± 0.050)"


def test_the_accuracy_of_the_tail_is_that_of_its_classes() -> None:
    found = metrics(1.0, 0.5)
    found["test"]["classes"]["wet"]["accuracy"] = 0.25
    assert scores_of(found)["test_tail_accuracy"] == 0.25


# -- presets that learn scales ----------------------------------------------------------------

LEARNING = [name for name in preset_names("tuner") if name.startswith("meta_")]


def test_there_is_one_for_each_of_the_published_methods() -> None:
    assert {"meta_lora", "meta_adaptformer", "meta_ssf"} <= set(LEARNING)


@pytest.mark.parametrize("name", LEARNING)
def test_preset_brings_a_strategy(name: str) -> None:
    loaded = load_settings({"data": DATA, "tuner": name})
    assert loaded.meta.strategy == "first_order"
    assert loaded.tuner.method == name.removeprefix("meta_")
    assert preset_companion("tuner", name) == "first_order"
    (line,) = [text for shown, text in listing("presets") if shown == f"tuner: {name}"]
    assert line.endswith("sets meta: first_order unless meta is given")


def test_what_is_said_of_meta_wins_and_single_keys_go_onto_the_companion() -> None:
    def meta_of(*overrides: str) -> tuple[str, float | None]:
        meta = load_settings({"data": DATA, "tuner": "meta_lora"}, overrides).meta
        return meta.strategy, meta.options.get("lr")

    assert meta_of("meta=fixed") == ("fixed", None)
    assert meta_of("meta={preset: unrolled, lr: 0.1}") == ("unrolled", 0.1)
    assert meta_of("meta.strategy=joint") == ("joint", 0.02)
    assert meta_of("meta.lr=0.3") == ("first_order", 0.3)
    assert meta_of("tuner={preset: meta_lora, rank: 2}") == ("first_order", None)
    assert meta_of("tuner=[meta_lora, ln]") == ("first_order", None)
    assert meta_of("tuner=lora") == ("fixed", None)


def test_it_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="rsmeta"):
        load_settings({"data": DATA, "tuner": "meta_ssf"})
    assert [record.getMessage() for record in caplog.records] == [
        "meta=first_order comes with tuner=meta_ssf; choose another with meta=..."
    ]


def test_a_sweep_compares_presets() -> None:
    runs = runs_of(seeds=[0], grid={"tuner": ["lora", "meta_lora"]})
    assert [run.settings.meta.strategy for run in runs] == ["fixed", "first_order"]


def test_meta_is_no_key_of_the_tuner_section() -> None:
    with pytest.raises(ConfigError, match=r"tuner\.meta"):
        load_settings({"data": DATA, "tuner": {"preset": "lora", "meta": "first_order"}})
