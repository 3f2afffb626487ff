"""How images become chips, how labels and class names are written, and what is read of files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from rsmeta.config.load import load_settings
from rsmeta.data.images import ImageDataModule
from rsmeta.data.images.class_names import read_class_names
from rsmeta.data.images.image_set import Pixels
from rsmeta.data.images.resize import RandomCrop, to_chip
from rsmeta.errors import ImagesError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene


def settings(**keys: Any) -> Any:
    given = {"kind": "folder", "chip_px": 16, **keys}
    return load_settings({"data": given}).data


def ramp(height: int, width: int) -> Pixels:
    """Return an image whose two bands are the row and the column, in pixels."""
    rows, cols = np.mgrid[:height, :width].astype(np.float32) + 0.5
    return Pixels(np.stack([rows, cols]), np.ones((height, width), bool))


# -- size --------------------------------------------------------------------------------------


@pytest.mark.parametrize("resize", ["shorter", "squash", "fit", "none"])
@pytest.mark.parametrize("shape", [(16, 16), (40, 64), (64, 40), (5, 9), (1, 100)])
@pytest.mark.parametrize("draw", [None, RandomCrop(0.3, 0.8, 0.0, 1 - 1e-9)])
def test_every_image_becomes_a_chip(
    resize: str, shape: tuple[int, int], draw: RandomCrop | None
) -> None:
    for crop in ("resized", "random", "centre"):
        image, valid = to_chip(ramp(*shape), settings(resize=resize, crop=crop), draw)
        assert image.shape == (2, 16, 16)
        assert valid.shape == (16, 16)
        assert image.dtype == torch.float32
        assert valid.any()
        assert (image[:, ~valid] == 0).all()


def test_whole_images_keep_their_values_and_middle() -> None:
    image, valid = to_chip(ramp(32, 64), settings(resize="squash"))
    assert valid.all()
    assert image.mean(dim=(1, 2)).tolist() == pytest.approx([16, 32], abs=0.01)
    middle, _ = to_chip(ramp(32, 64), settings(resize="shorter", resize_px=16))
    assert middle[1].min() > 16
    assert middle[1].max() < 48
    same, _ = to_chip(ramp(32, 64), settings(resize="none"))
    assert torch.equal(same[0, :, 0], torch.arange(8, 24) + 0.5)


def test_fit_shows_all_and_marks_the_rest_invalid() -> None:
    image, valid = to_chip(ramp(32, 64), settings(resize="fit"))
    assert valid.sum() == 16 * 8
    assert valid[4:12].all()
    assert image[1][valid].mean() == pytest.approx(32, abs=0.1)


def test_invalid_pixels_do_not_bleed_into_valid_ones() -> None:
    pixels = Pixels(np.full((1, 64, 64), 7, np.float32), np.ones((64, 64), bool))
    pixels.valid[:, :30] = False
    pixels.data[:, :, :30] = 0
    image, valid = to_chip(pixels, settings(resize="squash"))
    assert 7 <= int(valid[0].sum()) <= 9
    torch.testing.assert_close(image[0][valid], torch.full_like(image[0][valid], 7))


def test_random_parts_stay_within_their_bounds() -> None:
    rng = np.random.default_rng(0)
    given = settings(crop_scale=(0.25, 0.5), crop_ratio=(0.5, 2.0))
    for _ in range(50):
        image, valid = to_chip(ramp(100, 100), given, RandomCrop(*rng.random(4).tolist()))
        assert valid.all()
        rows, cols = (float(band.max() - band.min()) for band in image)
        assert 0.15 < rows * cols / 100**2 < 0.5
        assert 0.35 < cols / rows < 2.8


# -- class names and labels --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("water\nbare soil\n", ("water", "bare soil")),
        ("1 bare soil\n0 water\n", ("water", "bare soil")),
        ("0,water\n1,bare soil\n", ("water", "bare soil")),
        ("/w/water 0\n/b/bare_soil 1\n", ("/w/water", "/b/bare_soil")),
        ("airfield airfield\nalley alley\n", ("airfield", "alley")),
        ("n02012849 crane\nn03126707 crane\nn01440764 tench\n",
         ("crane (n02012849)", "crane (n03126707)", "tench")),
        ("route 66\nroute 1\n", ("route 66", "route 1")),
    ],
)  # fmt: skip
def test_class_names_are_read_as_they_are_published(
    tmp_path: Path, text: str, names: tuple[str, ...]
) -> None:
    (tmp_path / "names.txt").write_text(text)
    assert read_class_names(tmp_path / "names.txt") == names


def test_class_names_are_read_from_json(tmp_path: Path) -> None:
    file = tmp_path / "categories.json"
    file.write_text(json.dumps([{"id": 0, "name": "Anas"}, {"id": 1, "name": "Rosa"}]))
    assert read_class_names(file) == ("Anas", "Rosa")
    file.write_text(json.dumps({"a": 1}))
    with pytest.raises(ImagesError, match="no JSON list of names"):
        read_class_names(file)


def write_images(root: Path, make_scene: MakeScene, lines: list[str]) -> None:
    for i in range(4):
        array = np.full((3, 20, 20), 100 * (i + 1), np.uint16)
        array[:, :, :2] = 0
        make_scene(root / f"{i}.tif", array, descriptions=("green", "red", "nir"), nodata=0)
    (root / "train.txt").write_text("\n".join(lines))


def module(root: Path, task: Any, **keys: Any) -> ImageDataModule:
    given = {"kind": "index", "root": str(root), "train": "train.txt", "chip_px": 16,
             "validation": 0, "resize": "none", "batch_size": 4}  # fmt: skip
    tree = {"task": task, "data": given | keys}
    return ImageDataModule(load_settings(tree).data, seed=0, task=task)


@pytest.mark.parametrize("gap", ["\t", " "])
def test_several_labels_stand_after_the_path(
    tmp_path: Path, make_scene: MakeScene, gap: str
) -> None:
    labels = ["0", "0,2", "1 2", "low,high"]
    write_images(tmp_path, make_scene, [f"{i}.tif{gap}{text}" for i, text in enumerate(labels)])
    data = module(tmp_path, "multilabel", classes=["low", "middle", "high"])
    (batch,) = data.ordered_dataloader("train")
    assert batch["label"].dtype == torch.float32
    assert batch["label"].tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 1], [1, 0, 1]]
    assert data.class_counts.tolist() == [3, 1, 3]


def test_numbers_become_the_quantity(tmp_path: Path, make_scene: MakeScene) -> None:
    write_images(tmp_path, make_scene, ["0.tif 10", "1.tif 20.5", "2.tif -1", "3.tif 30"])
    target = {"name": "biomass", "unit": "t/ha", "scale": 0.1, "offset": 1.0, "nodata": -1}
    data = module(tmp_path, "regression", target=target)
    (batch,) = data.ordered_dataloader("train")
    assert batch["label"].dtype == torch.float32
    assert batch["label"].tolist() == pytest.approx([2.0, 3.05, 4.0])
    assert data.classes == ()


def test_bands_go_by_name_and_pixels_without_data_are_invalid(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    write_images(tmp_path, make_scene, [f"{i}.tif {i % 2}" for i in range(4)])
    swapped = np.stack([np.full((20, 20), v, np.uint16) for v in (9, 7, 8)])
    make_scene(tmp_path / "3.tif", swapped, descriptions=("nir", "green", "red"))
    data = module(tmp_path, "classification", use_bands=["nir", "green"], scale=0.5)
    assert [band.name for band in data.bands] == ["nir", "green"]
    (batch,) = data.ordered_dataloader("train")
    assert batch["image"][3, :, 8, 8].tolist() == [4.5, 3.5]
    assert batch["valid"][0].all(), "the edge without data lies outside the middle of 16 px"
    assert data.gsd_range_m == (10.0, 10.0)
    mean, _ = data.statistics
    assert mean.tolist() == pytest.approx([(50 + 100 + 150 + 4.5) / 4, (50 + 100 + 150 + 3.5) / 4])


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_pictures_of_any_colour_model_become_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    lines = []
    for i in range(4):
        colour = Image.new("RGB", (24, 24), (60 * i, 60 * i, 60 * i))
        colour.convert(mode if i % 2 else "RGB").save(tmp_path / f"{i}.{suffix}")
        lines.append(f"{i}.{suffix} {i % 2}")
    (tmp_path / "train.txt").write_text("\n".join(lines))
    data = module(tmp_path, "classification", colour="rgb", scale=1 / 60)
    (batch,) = data.ordered_dataloader("train")
    for i in range(4):
        assert batch["image"][i].mean() == pytest.approx(i, abs=0.15)


def test_a_file_of_cifar_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(bytes(3074 * 2 - 1))
    (tmp_path / "fine_label_names.txt").write_text("a\nb\n")
    given = load_settings({"data": {"kind": "cifar", "root": str(tmp_path)}}).data
    with pytest.raises(ImagesError, match="no multiple of 3074"):
        ImageDataModule(given, seed=0)
