"""Images with one label each: what a batch holds, which images a part has, what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from rsmeta.config.load import load_settings
from rsmeta.config.meta import MetaSettings
from rsmeta.config.resources import config_dir
from rsmeta.data.images import ImageDataModule
from rsmeta.data.splits import PARTS
from rsmeta.errors import ConfigError, ImagesError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

#: Classes of the folders that the tests write, with their images.
COUNTS = {"field": 12, "forest": 6, "water": 3}


def settings(root: Path, kind: str = "folder", **keys: Any) -> Any:
    small = {"kind": kind, "root": str(root), "chip_px": 32, "batch_size": 4}
    return load_settings({"data": small | keys}).data


def opened(
    root: Path, *, task: Any = "classification", to_train: bool = True, **keys: Any
) -> ImageDataModule:
    return ImageDataModule(settings(root, **keys), seed=0, task=task, to_train=to_train)


def write_picture(path: Path, colour: int, size: tuple[int, int] = (40, 50)) -> None:
    """Write a noisy picture around one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(colour).normal(colour, 5, (*size, 3))
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(path)


def write_folders(root: Path, counts: dict[str, int] | None = None) -> Path:
    for i, (name, count) in enumerate((counts or COUNTS).items()):
        for j in range(count):
            write_picture(root / name / f"{j:03}.{'png' if j % 2 else 'jpg'}", 60 + 60 * i)
    return root


def test_folders_give_batches_of_every_part(tmp_path: Path) -> None:
    data = opened(write_folders(tmp_path), test=0.2)
    assert [spec.name for spec in data.classes] == list(COUNTS)
    assert [band.name for band in data.bands] == ["red", "green", "blue"]
    assert data.class_counts.tolist() == [8, 4, 1]
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 32, 32)
    assert batch["image"].dtype == torch.float32
    assert batch["valid"].shape == (4, 32, 32)
    assert batch["valid"].all()
    assert batch["label"].dtype == torch.int64
    for loader in (data.val_dataloader(), data.test_dataloader()):
        for some in loader:
            grey = some["image"].mean(dim=(1, 2, 3))
            assert torch.equal(((grey - 60) / 60).round().long(), some["label"])
    mean, _ = data.statistics
    assert mean.shape == (3,)


def test_held_out_images_count_in_no_class(tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    meta = MetaSettings(strategy="first_order", source="held_out", held_out=0.25)
    plain = ImageDataModule(settings(root), seed=0)
    data = ImageDataModule(settings(root), seed=0, meta=meta)
    assert (data.class_counts <= plain.class_counts).all()
    assert data.class_counts.sum() < plain.class_counts.sum()
    trained = len(data.train_dataloader().dataset)
    batches = iter(data.meta_dataloader(meta, steps_ahead=1))
    assert next(batches)["image"].shape == next(batches)["image"].shape
    keys = iter(data.meta_dataloader(meta, steps_ahead=1).batch_sampler)
    for _ in range(5):
        assert all(key.image < trained for key in next(keys))
        assert all(key.image >= trained for key in next(keys))


@pytest.mark.parametrize("colour", ["as_is", "rgb"])
def test_an_index_lists_images_with_labels(tmp_path: Path, colour: str) -> None:
    write_folders(tmp_path / "pictures")
    lines = [f"{name}/{j:03}.jpg {i}" for i, name in enumerate(COUNTS) for j in (0, 2)]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "val.txt").write_text("field/001.png field\nwater/001.png water\n")
    (tmp_path / "names.txt").write_text("field\nforest\nwater\n")
    data = opened(
        tmp_path, kind="index", train="train.txt", validation="val.txt", images="pictures",
        class_names="names.txt", colour=colour,
    )  # fmt: skip
    assert data.class_counts.tolist() == [2, 2, 2]
    (batch,) = data.val_dataloader()
    assert batch["label"].tolist() == [0, 2]


# -- TorchGeo ------------------------------------------------------------------------------------


def write_eurosat(root: Path, make_scene: MakeScene) -> Path:
    """Write EuroSAT-100's layout with two images per class and part."""
    names = ("AnnualCrop", "Forest", "River")
    listed: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number, name in enumerate(names):
        for i, part in enumerate(["train", "train", "val", "test"]):
            array = np.full((13, 64, 64), 1000 * (number + 1), np.uint16)
            array[7] = 4321  # B08
            array[:, :3] = 0
            folder = root / "ds/images/remote_sensing/otherDatasets/sentinel_2/tif" / name
            make_scene(folder / f"{name}_{i}.tif", array)
            listed[part].append(f"{name}_{i}.jpg")
    for part, files in listed.items():
        (root / f"eurosat-100-{part}.txt").write_text("\n".join(files))
    return root


def test_a_torchgeo_dataset_brings_bands_classes_and_parts(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    root = write_eurosat(tmp_path, make_scene)
    data = opened(
        root, kind="torchgeo", dataset="eurosat100", use_bands=["nir", "B02"], resize="squash"
    )
    assert [band.name for band in data.bands] == ["B08", "B02"]
    assert [spec.name for spec in data.classes] == ["AnnualCrop", "Forest", "River"]
    assert [len(data.parts[part] or ()) for part in PARTS] == [6, 3, 3]
    (batch,) = data.val_dataloader()
    assert batch["label"].tolist() == [0, 1, 2]
    assert not batch["valid"][:, 0].any(), "0 is no data in Sentinel-2"
    inside = batch["image"][:, :, 16, 16]
    expected = torch.tensor([[0.4321, 0.1], [0.4321, 0.2], [0.4321, 0.3]])
    torch.testing.assert_close(inside, expected)


def test_big_earth_net_has_several_labels_per_image(tmp_path: Path, make_scene: MakeScene) -> None:
    labels = {"a": ["Pastures"], "b": ["Pastures", "Water bodies"]}
    for name, given in labels.items():
        folder = tmp_path / "BigEarthNet-v1.0" / f"S2_{name}"
        for band in ("01", "02", "03", "04", "05", "06", "07", "08", "8A", "09", "11", "12"):
            value = 100 if band == "8A" else int(band) * 1000
            make_scene(folder / f"S2_{name}_B{band}.tif", np.full((20, 20), value, np.uint16))
        (folder / "labels.json").write_text(json.dumps({"labels": given}))
    (tmp_path / "BigEarthNet-S1-v1.0").mkdir()
    for part in ("train", "val", "test"):
        rows = [f"S2_{name},S1_{name}" for name in labels]
        (tmp_path / f"bigearthnet-{part}.csv").write_text("\n".join(rows))
    data = opened(tmp_path, kind="torchgeo", dataset="BigEarthNet", task="multilabel",
                  to_train=False)  # fmt: skip
    assert len(data.classes) == 19
    assert data.class_counts.sum() == 3
    assert [band.name for band in data.bands][7:10] == ["B08", "B8A", "B09"]
    (batch,) = data.test_dataloader()
    assert batch["label"].shape == (2, 19)
    assert batch["label"].dtype == torch.float32
    assert batch["label"].sum(dim=1).tolist() == [1, 2]
    torch.testing.assert_close(batch["image"][0, 7:10, 5, 5], torch.tensor([0.8, 0.01, 0.9]))


def test_so2sat_is_read_from_its_file(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    for part in ("training", "validation", "testing"):
        with h5py.File(tmp_path / f"{part}.h5", "w") as file:
            file["sen1"] = np.zeros((17, 32, 32, 8))
            file["sen2"] = np.tile(np.arange(1, 11) / 10, (17, 32, 32, 1))
            file["label"] = np.eye(17)
    data = opened(tmp_path, kind="torchgeo", dataset="So2Sat")
    assert len(data.classes) == 17
    batch = next(iter(data.test_dataloader()))
    assert batch["label"].tolist() == [0, 1, 2, 3]
    assert batch["image"][0, :, 0, 0].tolist() == pytest.approx([i / 10 for i in range(1, 11)])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"dataset": "EuroSat10"}, "did you mean 'EuroSAT100'"),
        ({"dataset": "BigEarthNet", "options": {"num_classes": 7}}, "num_classes=7"),
        ({"dataset": "EuroSAT", "options": {"version": 2}}, "no such option"),
    ],
)
def test_an_unknown_dataset_or_option_is_refused(
    tmp_path: Path, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(tmp_path, kind="torchgeo", **keys)


def test_a_missing_torchgeo_dataset_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match=r"UCMerced is not there.*data\.download=true"):
        opened(tmp_path, kind="torchgeo", dataset="UCMerced")


# -- oriented boxes ------------------------------------------------------------------------------


def write_dota(root: Path) -> Path:
    """Write DOTA's layout: dark pictures with a bright, turned ship and a small square tank."""
    for part in ("train", "val"):
        for i in range(2):
            picture = np.full((100, 120, 3), 20, np.uint8)
            rows, cols = np.mgrid[:100, :120] + 0.5
            along = (cols - 60 + rows - 50) / 2**0.5
            across = (rows - 50 - cols + 60) / 2**0.5
            picture[(abs(along) < 20) & (abs(across) < 5)] = 200
            picture[10:14, 10:14] = 120
            (root / part / "images").mkdir(parents=True, exist_ok=True)
            (root / part / "labelTxt").mkdir(exist_ok=True)
            Image.fromarray(picture).save(root / part / "images" / f"P{i}.png")
            half, thin = 20 / 2**0.5, 5 / 2**0.5
            corners = [
                (60 + s * half - t * thin, 50 + s * half + t * thin)
                for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
            ship = " ".join(f"{x:.2f} {y:.2f}" for x, y in corners)
            (root / part / "labelTxt" / f"P{i}.txt").write_text(
                "imagesource:GoogleEarth\ngsd:0.25\n"
                f"{ship} ship 0\n10 10 14 10 14 14 10 14 storage-tank 1\n"
            )
    return root


def test_boxes_become_turned_crops_of_objects(tmp_path: Path) -> None:
    data = opened(
        write_dota(tmp_path), kind="boxes", context=1.0, square=False, resize="squash",
        crop="centre",
    )  # fmt: skip
    assert [spec.name for spec in data.classes] == ["ship", "storage-tank"]
    assert data.class_counts.tolist() == [2, 2]
    assert data.gsd_range_m == (0.25, 0.25)
    (batch,) = data.val_dataloader()
    ship = batch["image"][batch["label"] == 0]
    assert (ship > 150).float().mean() > 0.95, "nothing but the ship lies in its box"
    kept = opened(tmp_path, kind="boxes", difficult=False, classes=["ship", "storage-tank"],
                  to_train=False)  # fmt: skip
    assert kept.class_counts.tolist() == [2, 0]


def test_crops_that_reach_over_the_edge_are_invalid_there(tmp_path: Path) -> None:
    data = opened(write_dota(tmp_path), kind="boxes", context=8.0, resize="squash", crop="centre")
    (batch,) = data.val_dataloader()
    tank = batch["label"] == 1
    share = batch["valid"][tank].float().mean()
    assert 0.6 < share < 0.9
    assert (batch["image"].abs().sum(dim=1)[~batch["valid"]] == 0).all()


def test_objects_of_a_picture_stay_in_one_part(tmp_path: Path) -> None:
    data = opened(write_dota(tmp_path), kind="boxes", validation=0.5)
    pictures = [
        {images.name(i).split(" (")[0] for i in range(len(images))}
        for images in (data.parts["train"], data.parts["validation"])
        if images is not None
    ]
    assert len(pictures) == 2
    assert pictures[0].isdisjoint(pictures[1])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 2 3 4 ship 0", r"P0\.txt, line 5: .* is no oriented box"),
        ("1 2 3 4 5 6 7 8 shp 0", r"P0\.txt, line 5: 'shp' is no class; did you mean 'ship'"),
    ],
)
def test_a_line_that_is_no_box_is_named(tmp_path: Path, line: str, said: str) -> None:
    root = write_dota(tmp_path)
    with (root / "train/labelTxt/P0.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ImagesError, match=said):
        opened(root, kind="boxes", classes=["ship", "storage-tank"])


# -- chips of labelled scenes --------------------------------------------------------------------


def write_scene(root: Path, make_scene: MakeScene) -> Path:
    """Write a scene: west half of one class, east half of another, a mixed strip between them."""
    labels = np.ones((128, 256), np.uint8)
    labels[:, 120:] = 2
    image = np.stack([labels * 100, labels * 200]).astype(np.uint16)
    make_scene(root / "scene.tif", image, descriptions=("red", "nir"))
    make_scene(root / "labels.tif", labels)
    return root


def test_chips_have_the_class_of_most_of_their_pixels(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    keys = {
        "kind": "chips", "scenes": "scene.tif", "labels": "labels.tif",
        "classes": {1: "low", 2: "high"}, "stride_px": 16, "split": {"validation": 0},
    }  # fmt: skip
    data = opened(write_scene(tmp_path, make_scene), **keys)
    places = {left: 120 - left for left in range(0, 225, 16)}
    low = sum(width >= 0.8 * 32 for width in places.values())
    high = sum(32 - min(width, 32) >= 0.8 * 32 for width in places.values())
    assert data.class_counts.tolist() == [7 * low, 7 * high]
    assert data.gsd_range_m == (10.0, 10.0)
    for batch in data.ordered_dataloader("train"):
        share = batch["image"][:, 0].mean(dim=(1, 2)) / 100 - 1
        assert torch.equal(share.round().long(), batch["label"])
    several = opened(tmp_path, task="multilabel", **keys)
    assert several.class_counts.min() > data.class_counts.min()


def test_chips_of_two_parts_share_no_pixel(tmp_path: Path, make_scene: MakeScene) -> None:
    data = opened(
        write_scene(tmp_path, make_scene), kind="chips", scenes="scene.tif", labels="labels.tif",
        classes={1: "low", 2: "high"}, stride_px=8, chip_px=16, majority=1.0,
        split={"validation": 0.3, "block_px": 32},
    )  # fmt: skip
    seen = []
    for part in ("train", "validation"):
        images = data.parts[part]
        assert images is not None
        ground = np.zeros((128, 256), bool)
        for row, col in images.places[:, 1:]:
            ground[row : row + 16, col : col + 16] = True
        seen.append(ground)
    assert not (seen[0] & seen[1]).any()


def test_the_long_tail_of_cloudmask_is_cut_from_its_scenes(shared_data: Path) -> None:
    path = config_dir() / "experiments" / "cloudmask_chips.yaml"
    loaded = load_settings(path, [f"data.root={shared_data / 'cloudmask'}"])
    data = ImageDataModule(loaded.data, seed=0)
    assert [spec.name for spec in data.classes] == ["shadow", "water", "land", "cloud"]
    assert data.class_counts.tolist() == [118, 4, 1267, 930]
    assert data.parts["validation"] is None
    test = data.parts["test"]
    assert test is not None
    assert np.bincount(test.labels, minlength=4).tolist() == [6, 0, 1838, 136]
    assert len(data.bands) == 6
