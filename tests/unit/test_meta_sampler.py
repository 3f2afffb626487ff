"""What meta steps read: fresh draws from a stream of their own, of the right data."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from rsmeta.config.data import DataSettings
from rsmeta.config.meta import MetaSettings
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.data.label_index import CELL_PX, LabelIndex
from rsmeta.data.meta_sampler import MetaBatches, MetaSampler
from rsmeta.data.sampler import CellSampling
from rsmeta.errors import SplitError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rsmeta.data.build_splits import IndexedScene
    from rsmeta.data.sampler import ChipKey
    from tests.conftest import MakeScene


def cells(side: int = 10, rare: int = 2) -> CellSampling:
    """Return a square of cells of class 0, of which a few hold class 1 instead."""
    places = np.array([(row, col) for row in range(side) for col in range(side)])
    counts = np.zeros((len(places), 2), dtype=np.int64)
    counts[:, 0] = 256
    counts[:rare] = [0, 256]
    shape = (side * CELL_PX, side * CELL_PX)
    return CellSampling([LabelIndex(places, counts)], [shape], chip_px=CELL_PX, sampling="instance")


def sampler(first_step: int = 0, seed: int = 0, **keys: Any) -> MetaSampler:
    take: dict[str, Any] = {
        "ahead": 0, "batches": 1, "ahead_size": 4, "batch_size": 4, "ratio": 0.2,
        "stratified": False, **keys,
    }  # fmt: skip
    return MetaSampler(cells(), cells(), take=MetaBatches(**take), seed=seed, first_step=first_step)


def some(draws: MetaSampler, count: int) -> list[list[ChipKey]]:
    return list(itertools.islice(draws, count))


def test_draws_follow_from_seed_and_step_alone() -> None:
    whole = some(sampler(), 6)
    torch.manual_seed(1)
    assert some(sampler(), 6) == whole
    assert some(sampler(first_step=2), 4) == whole[2:]
    assert some(sampler(seed=1), 6) != whole
    assert len({tuple(batch) for batch in whole}) == 6


def test_each_step_draws_a_sample_of_its_own() -> None:
    batches = some(sampler(batches=50, batch_size=8), 100)
    first, second = ({key[1:] for batch in part for key in batch} for part in
                     (batches[:50], batches[50:]))  # fmt: skip
    assert len(first) == len(second) == 20, "a fifth of 100 cells"
    assert first != second


def test_stratified_leaves_no_class_out() -> None:
    def with_the_rare_class(*, stratified: bool) -> int:
        draws = sampler(batches=20, batch_size=16, ratio=0.1, stratified=stratified)
        batches = some(draws, 20 * 10)
        found = 0
        for step in range(10):
            keys = [key for batch in batches[20 * step : 20 * step + 20] for key in batch]
            found += any(key.row == 0 and key.col < 2 * CELL_PX for key in keys)
        return found

    assert with_the_rare_class(stratified=True) == 10
    assert with_the_rare_class(stratified=False) < 8


def test_look_ahead_batches_come_first_and_processes_share_the_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = [len(batch) for batch in some(sampler(ahead=2, batches=1, batch_size=3), 6)]
    assert sizes == [4, 4, 3, 4, 4, 3]
    (whole,) = some(sampler(batch_size=8), 1)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr("rsmeta.data.meta_sampler.world", lambda rank=rank: (rank, 2))
        shares += some(sampler(batch_size=4), 1)
    assert sorted(shares[0] + shares[1]) == sorted(whole)


@pytest.fixture
def make_data(tmp_path: Path, make_scene: MakeScene) -> Callable[..., SceneDataModule]:
    """Return a function that makes a data module on scenes of one place, some of it unlabelled."""

    def make(meta: dict[str, Any], side: int = 192, **data: Any) -> SceneDataModule:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 3, (side, side)).astype(np.uint8)
        for i in range(2):
            image = rng.normal(0.3, 0.05, (2, side, side)).astype(np.float32)
            make_scene(tmp_path / f"s{i}.tif", image, descriptions=("red", "nir"))
            make_scene(tmp_path / f"s{i}_labels.tif", labels)
        settings = DataSettings.model_validate(
            {"root": tmp_path, "scenes": "s?.tif", "labels": "{stem}_labels.tif", "ignore": 0,
             "classes": {1: "low", 2: "high"}, "chip_px": 32, "batch_size": 4,
             "chips_per_epoch": 24, "split": {"validation": 0.2}, **data}
        )  # fmt: skip
        return SceneDataModule(settings, seed=0, meta=MetaSettings(strategy="first_order", **meta))

    return make


def labelled(parts: list[IndexedScene]) -> dict[str, np.ndarray]:
    """Return which pixels of each scene a part sees with a label."""
    found = {}
    for part in parts:
        grid = part.labelled.scene.grid
        mask = part.labelled.labels.read(grid.full_window) >= 0
        assert part.labelled.region is not None
        found[part.labelled.scene.name] = mask & part.labelled.region.contains(grid)
    return found


def test_held_out_ground_is_seen_by_the_scales_alone(
    make_data: Callable[..., SceneDataModule],
) -> None:
    before = make_data({})
    data = make_data({"source": "held_out", "held_out": 0.25})
    train, held = labelled(data.parts["train"]), labelled(data._held_out)
    validation = labelled(data.parts["validation"])
    for source, mask in labelled(before.parts["train"]).items():
        assert not (train[source] & held[source]).any()
        assert not (held[source] & validation[source]).any()
        assert not ((train[source] | held[source]) & ~mask).any()
        assert 0.1 < held[source].sum() / mask.sum() < 0.4
    one, other = (held[source] for source in held)
    assert np.array_equal(one, other), "dates of one place share the division"
    batch = next(iter(data.meta_dataloader(MetaSettings(), steps_ahead=0)))
    assert (batch["mask"] >= 0).any()
    assert int(data.class_counts.sum()) < int(before.class_counts.sum())


def test_meta_batches_of_both_kinds(make_data: Callable[..., SceneDataModule]) -> None:
    data = make_data({"source": "held_out"})
    loader = data.meta_dataloader(MetaSettings(batch_size=3, batches=2), steps_ahead=1)
    sizes = [len(batch["image"]) for batch in itertools.islice(loader, 6)]
    assert sizes == [4, 3, 3, 4, 3, 3]


def test_drawing_touches_no_global_random_number(make_data: Callable[..., SceneDataModule]) -> None:
    data = make_data({})
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = next(iter(data.meta_dataloader(MetaSettings())))
    assert torch.equal(torch.get_rng_state(), before)
    list(itertools.islice(data.train_dataloader(), 2))
    again = next(iter(data.meta_dataloader(MetaSettings())))
    assert torch.equal(first["image"], again["image"])


def test_too_little_ground_to_hold_out(make_data: Callable[..., SceneDataModule]) -> None:
    with pytest.raises(
        SplitError, match=r"too few for meta.source=held_out; use meta.source=train"
    ):
        make_data({"source": "held_out"}, side=16, split={"validation": 0})
