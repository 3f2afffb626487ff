"""Bad image data: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from rsmeta.config.load import load_settings
from rsmeta.data.images import ImageDataModule
from rsmeta.errors import ConfigError, ImagesError, RsmetaError, SceneError, SplitError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene


def opened(root: Path, *, kind: str = "index", task: Any = "classification",
           **keys: Any) -> ImageDataModule:  # fmt: skip
    small: dict[str, Any] = {"kind": kind, "root": str(root), "chip_px": 16, "batch_size": 2}
    if kind == "index":
        small |= {"train": "train.txt"}
    return ImageDataModule(load_settings({"data": small | keys}).data, seed=0, task=task)


def write_index(root: Path, lines: list[str] | None = None, name: str = "train.txt") -> Path:
    """Write four pictures and an index of two classes."""
    for i in range(4):
        Image.fromarray(np.full((20, 20, 3), 50 * i, np.uint8)).save(root / f"{i}.png")
    text = lines if lines is not None else [f"{i}.png {i % 2}" for i in range(4)]
    (root / name).write_text("\n".join(text))
    return root


def complaint(root: Path, error: type[RsmetaError] = ImagesError, **keys: Any) -> str:
    with pytest.raises(error) as caught:
        opened(root, **keys)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_missing_image_is_named_with_its_line(tmp_path: Path) -> None:
    write_index(tmp_path, ["0.png 0", "", "gone.png 1", "lost.png 0", "1.png 1"])
    text = complaint(tmp_path)
    assert "train.txt, line 3: no image at" in text
    assert "gone.png" in text
    assert "1 more" in text


def test_a_label_beyond_the_names_is_named_with_its_line(tmp_path: Path) -> None:
    write_index(tmp_path, ["0.png 0", "1.png 2", "2.png 1"])
    text = complaint(tmp_path, classes=["a", "b"])
    assert "line 2: label 2 is beyond the 2 class names (0 to 1)" in text


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    assert "1 class(es) have no training images: c" in complaint(
        write_index(tmp_path), classes=["a", "b", "c"]
    )


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    for name in ("full", "void"):
        (tmp_path / name).mkdir()
    write_index(tmp_path / "full")
    assert "the class 'void' has no images in" in complaint(tmp_path, kind="folder")


def test_mixed_band_counts_name_the_file(tmp_path: Path, make_scene: MakeScene) -> None:
    for i, bands in enumerate((2, 2, 3, 2)):
        array = np.ones((bands, 20, 20), np.uint16)
        make_scene(tmp_path / f"{i}.tif", array, descriptions=("red", "nir", "green")[:bands])
    (tmp_path / "train.txt").write_text("\n".join(f"{i}.tif {i % 2}" for i in range(4)))
    text = complaint(tmp_path)
    assert "2.tif has 3 bands, but" in text
    assert "0.tif has 2" in text


def test_grey_among_colour_is_refused_unless_all_become_rgb(tmp_path: Path) -> None:
    write_index(tmp_path)
    Image.fromarray(np.full((20, 20), 9, np.uint8)).save(tmp_path / "3.png")
    assert "3.png has 1 band" in complaint(tmp_path)
    assert len(opened(tmp_path, colour="rgb").bands) == 3


@pytest.mark.parametrize("colour", ["as_is", "rgb"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_corrupt_images_stop_the_run_or_are_left_out_and_counted(
    tmp_path: Path, colour: str, suffix: str
) -> None:
    noise = np.random.default_rng(0)
    for i in range(6):
        picture = noise.integers(0, 255, (40, 40, 3)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{i}.{suffix}")
    broken = tmp_path / f"0.{suffix}"
    broken.write_bytes(broken.read_bytes()[:700])
    (tmp_path / "train.txt").write_text("\n".join(f"{i}.{suffix} {i % 2}" for i in range(6)))
    strict = opened(tmp_path, colour=colour, validation=0)
    with pytest.raises(SceneError, match=rf"0\.{suffix}"):
        list(strict.ordered_dataloader("train"))
    lenient = opened(tmp_path, colour=colour, corrupt="skip", validation=0)
    assert [name.endswith(f"0.{suffix}") for name in lenient.skipped["train"]] == [True]
    assert lenient.class_counts.tolist() == [2, 3]
    assert sum(len(batch["label"]) for batch in lenient.ordered_dataloader("train")) == 5


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    write_index(tmp_path)
    (tmp_path / "val.txt").write_text("\n")
    assert "val.txt is empty" in complaint(tmp_path, validation="val.txt")
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "val.txt").write_text("0.png 0\n")
    text = complaint(tmp_path, SplitError, validation="val.txt", corrupt="skip")
    assert "the validation part has no images" in text


@pytest.mark.parametrize(
    ("lines", "task", "said"),
    [
        (["0.png 0", "1.png"], "classification", "line 2: '1.png' has no label"),
        (["0.png 0", "1.png x"], "classification", "line 2: 'x' is no class"),
        (["0.png 0.5", "1.png high"], "regression", "line 2: 'high' is no number"),
        (["0.png 0.5", "1.png nan"], "regression", "line 2: 'nan' is no number"),
        (["0.png 0,1", "1.png 0,2"], "multilabel", "line 2: label 2 is beyond"),
    ],
)
def test_a_label_that_does_not_fit_is_named(
    tmp_path: Path, lines: list[str], task: str, said: str
) -> None:
    write_index(tmp_path, lines)
    keys = {} if task == "regression" else {"classes": ["a", "b"]}
    assert said in complaint(tmp_path, task=task, **keys)


def test_missing_data_say_where_to_get_them(tmp_path: Path) -> None:
    known = {"homepage": "https://example.org/data", "layout": "train.txt, val.txt"}
    text = complaint(tmp_path / "nowhere", ConfigError, **known)
    assert "data.root=FOLDER" in text
    assert "come from https://example.org/data" in text
    assert "lay them out as train.txt, val.txt" in text
    assert "https://example.org/data" in complaint(tmp_path, **known)


def test_a_missing_test_part_says_how_to_name_one(tmp_path: Path) -> None:
    data = opened(write_index(tmp_path))
    with pytest.raises(SplitError, match=r"data\.test="):
        data.test_dataloader()


def test_options_that_go_by_classes_need_classes(tmp_path: Path) -> None:
    write_index(tmp_path, [f"{i}.png 0.{i}" for i in range(4)])
    said = complaint(tmp_path, ConfigError, task="regression", sampling="class")
    assert "data.sampling goes by classes" in said
    assert "data.kind=folder gives one class" in complaint(
        tmp_path, kind="folder", task="regression"
    )


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"many": ["a"], "few": ["z"]}, "data.groups.few names 'z', which is no class"),
        ({"many": ["a"], "few": ["0"]}, "both in data.groups.many and in data.groups.few"),
        ({"many": "many.txt"}, "no list of classes (many) at"),
    ],
)
def test_groups_that_do_not_fit_are_refused(
    tmp_path: Path, groups: dict[str, Any], said: str
) -> None:
    data = opened(write_index(tmp_path), classes=["a", "b"], groups=groups)
    with pytest.raises(ImagesError) as caught:
        _ = data.groups
    assert said in str(caught.value)
