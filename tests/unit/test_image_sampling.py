"""Which images are used for training, and how often each class is read."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from rsmeta.config.images import ImbalanceSettings
from rsmeta.data.images.files import FileImages, ImageReader
from rsmeta.data.images.sampler import EveryImageSampler, ImageSampling, RandomImageSampler
from rsmeta.data.images.subsets import divide, few, thinned
from rsmeta.data.label_index import CELL_PX, LabelIndex
from rsmeta.data.sampler import CellSampling, RandomChipSampler
from rsmeta.geo.rules import ReadRules

#: 90 images of class 0, 9 of class 1, 1 of class 2.
LABELS = np.repeat([0, 1, 2], [90, 9, 1])


def images(labels: np.ndarray, origins: np.ndarray | None = None) -> FileImages:
    found = FileImages([""] * len(labels), labels, ImageReader(ReadRules(), ()))
    found.origins = origins
    return found


def epoch(sampling: str, number: int = 0, *, epochs: int = 1, length: int | None = None,
          labels: np.ndarray = LABELS) -> list[int]:  # fmt: skip
    draw = ImageSampling(labels, 3, sampling=sampling)  # type: ignore[arg-type]
    sampler = RandomImageSampler(draw, length=length, seed=7, epochs=epochs)
    sampler.set_epoch(number)
    keys = list(sampler)
    assert len(keys) == len(sampler)
    return [key.image for key in keys]


def shares(drawn: list[int]) -> list[float]:
    counts = Counter(LABELS[drawn].tolist())
    return [counts[k] / len(drawn) for k in range(3)]


def test_instance_reads_every_image_once() -> None:
    assert sorted(epoch("instance")) == list(range(100))
    assert epoch("instance") != epoch("instance", 1)
    twice = Counter(epoch("instance", length=250))
    assert set(twice.values()) == {2, 3}


def test_class_reads_classes_equally_and_sqrt_in_between() -> None:
    assert shares(epoch("class", length=6000)) == pytest.approx([1 / 3] * 3, abs=0.03)
    roots = np.sqrt([90, 9, 1])
    assert shares(epoch("sqrt", length=6000)) == pytest.approx(roots / roots.sum(), abs=0.03)


def test_progressive_goes_from_instance_to_class() -> None:
    first, middle, last = (
        shares(epoch("progressive", n, epochs=5, length=6000)) for n in (0, 2, 4)
    )
    assert first == pytest.approx([0.9, 0.09, 0.01], abs=0.02)
    assert last == pytest.approx([1 / 3] * 3, abs=0.03)
    assert middle == pytest.approx(
        [(a + b) / 2 for a, b in zip(first, last, strict=True)], abs=0.03
    )


def test_down_reads_as_many_of_each_class_as_the_rarest_has() -> None:
    labels = np.repeat([0, 1, 2], [90, 9, 4])
    drawn = epoch("down", labels=labels)
    assert Counter(labels[drawn].tolist()) == {0: 4, 1: 4, 2: 4}
    assert len(set(drawn)) == 12
    assert set(drawn) != set(epoch("down", 1, labels=labels)), "others in the next epoch"


def test_draws_follow_from_seed_and_epoch_alone() -> None:
    draw = ImageSampling(LABELS, 3, sampling="class")
    whole = RandomImageSampler(draw, seed=3)
    whole.set_epoch(4)
    resumed = RandomImageSampler(draw, seed=3)
    resumed.set_epoch(4)
    np.random.seed(0)  # noqa: NPY002 the global generator must not matter
    assert list(whole) == list(resumed)
    assert len({key.crop for key in whole}) == 100


@pytest.mark.parametrize("sampling", ["instance", "class", "down"])
def test_processes_share_the_images_out(monkeypatch: pytest.MonkeyPatch, sampling: str) -> None:
    labels = np.repeat([0, 1, 2], [80, 9, 4])
    whole = epoch(sampling, labels=labels)
    found = []
    for rank in range(3):
        monkeypatch.setattr("rsmeta.data.class_sampling.world", lambda rank=rank: (rank, 3))
        found.append(epoch(sampling, labels=labels))
        assert list(EveryImageSampler(10)) == [(i, None) for i in range(rank, 10, 3)]
    assert len({len(part) for part in found}) == 1, "all take as many steps"
    assert [part[0] for part in found] == whole[:3]


def test_an_image_of_several_classes_is_drawn_for_each() -> None:
    hot = np.zeros((100, 3), np.float32)
    hot[:, 0] = 1
    hot[:10, 1] = 1
    hot[0, 2] = 1
    drawn = epoch("class", labels=hot, length=6000)
    assert Counter(drawn)[0] / 6000 == pytest.approx((1 + 1 / 10 + 1 / 100) / 3, abs=0.03)
    assert 0 in epoch("down", labels=hot)


def test_chips_of_scenes_are_drawn_by_the_same_names() -> None:
    cells = np.array([(row, col) for row in range(10) for col in range(10)])
    counts = np.zeros((100, 2), np.int64)
    counts[:, 0] = 256
    counts[:5] = [0, 256]

    def rare(sampling: str, number: int = 0) -> float:
        draw = CellSampling(
            [LabelIndex(cells, counts)],
            [(10 * CELL_PX, 10 * CELL_PX)],
            chip_px=CELL_PX,
            sampling=sampling,  # type: ignore[arg-type]
        )
        sampler = RandomChipSampler(draw, length=2000, epochs=3)
        sampler.set_epoch(number)
        return float(np.mean([key.row == 0 and key.col < 5 * CELL_PX for key in sampler]))

    assert rare("instance") == rare("progressive") == pytest.approx(0.05, abs=0.02)
    assert rare("progressive", 2) == rare("class", 2) == pytest.approx(0.5, abs=0.05)
    assert rare("down") == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("factor", "images_left"), [(0.01, 10847), (0.02, 12608), (0.1, 19573)])
def test_long_tails_have_the_published_size(factor: float, images_left: int) -> None:
    labels = np.repeat(np.arange(100), 500)
    kept = thinned(labels, ImbalanceSettings(factor=factor), 100, np.random.default_rng(0))
    assert len(kept) == images_left
    counts = np.bincount(labels[kept])
    assert counts[0] == 500
    assert counts[99] == 500 * factor


def test_steps_thin_the_second_half_of_the_classes() -> None:
    labels = np.repeat(np.arange(4), 50)
    kept = thinned(labels, ImbalanceSettings(factor=0.1, type="step"), 4, np.random.default_rng(0))
    assert np.bincount(labels[kept]).tolist() == [50, 50, 5, 5]
    again = thinned(labels, ImbalanceSettings(factor=0.1, type="step"), 4, np.random.default_rng(0))
    assert kept.tolist() == again.tolist()


def test_shots_keep_that_many_per_class() -> None:
    kept = few(LABELS, 4, 3, np.random.default_rng(0))
    assert np.bincount(LABELS[kept]).tolist() == [4, 4, 1]


def test_shares_leave_every_class_for_training() -> None:
    parts = divide(images(LABELS), {"validation": 0.2, "test": 0.1}, 3, np.random.default_rng(0))
    counts = {
        part: np.bincount(LABELS[found], minlength=3).tolist() for part, found in parts.items()
    }
    assert counts == {"train": [63, 6, 1], "validation": [18, 2, 0], "test": [9, 1, 0]}
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(100))


def test_images_of_one_origin_stay_together() -> None:
    labels = np.tile([0, 1], 30)
    origins = np.repeat(np.arange(12), 5)
    parts = divide(images(labels, origins), {"validation": 0.25}, 2, np.random.default_rng(0))
    groups = [set(origins[found].tolist()) for found in parts.values()]
    assert groups[0].isdisjoint(groups[1])
    assert len(parts["validation"]) == 15
