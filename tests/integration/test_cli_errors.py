"""What a user gets wrong: usage; what evaluate and inspect cannot read; how errors are said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rsmeta.errors import SceneNotFoundError
from rsmeta_cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import MakePolygons, Rsmeta, TinyRun

# -- usage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        (), ("maps",), ("--nope",), ("train",), ("train", "config.yaml"), ("predict",),
        ("predict", "s.tif", "--model", "b", "--output", "m.tif", "--nope"),
        ("predict", "s.tif", "--model", "b", "--output", "m.tif", "--bounds", "a", "1", "2", "3"),
        ("evaluate",), ("evaluate", "--map", "m.tif"), ("list",), ("list", "things"), ("inspect",),
    ],
)  # fmt: skip
def test_wrong_usage_is_status_2(rsmeta: Rsmeta, words: tuple[str, ...]) -> None:
    ended = rsmeta(*words)
    assert ended.status == 2
    assert "Usage: rsmeta" in ended.err
    assert "Traceback" not in ended.err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    for words in (["--debug", "inspect"], ["inspect", "--debug"]):
        with pytest.raises(SceneNotFoundError):
            main([*words, str(tmp_path / "none.tif")])


def test_error_of_the_system_is_one_line_too(
    rsmeta: Rsmeta, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str) -> None:
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr("rsmeta.workflows.inspect.inspect", full)
    ended = rsmeta("inspect", "x")
    assert ended.status == 1
    assert "No space left on device" in ended.complaint


# -- evaluate and inspect --------------------------------------------------------------------


def test_evaluate_what_cannot_be_compared(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_polygons: MakePolygons
) -> None:
    place = tmp_path / "m.tif"
    ended = rsmeta("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", place)
    assert ended.status == 0
    for map_, reference, told in (
        (tiny_run.scene, tiny_run.labels, "does not name its classes"),
        (tmp_path / "none.tif", tiny_run.labels, "no scene at"),
        (place, tmp_path / "none.tif", "no labels at"),
        (place, tiny_run.data / "east_labels.tif", "do not overlap"),
        (place, make_polygons(tmp_path / "p.gpkg", kind=["bare", "mead"]), "--ignore 'mead'"),
    ):
        ended = rsmeta("evaluate", "--map", map_, "--reference", reference)
        assert ended.status == 1
        assert told in ended.complaint
    words = ("evaluate", "--model", tiny_run.bundle, tiny_run.config, f"data.root={tiny_run.data}")
    ended = rsmeta(*words, "data.classes={1: x, 2: y}")
    assert ended.status == 1
    assert "the bundle's classes are ['bare', 'meadow']" in ended.complaint
    ended = rsmeta(*words, "data.split.test=null")
    assert ended.status == 1
    assert "there is no test part" in ended.complaint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.tif", None), ("none", None), ("none.yaml", None), ("none.pt", None),
        ("text.tif", b"text"), ("junk.pt", b"junk"), ("junk.safetensors", b"junk"),
        ("pickle.pt", b"cos\nsystem\n(S'true'\ntR."), ("junk.yaml", b"data: \xff"),
    ],
)  # fmt: skip
def test_inspect_what_is_nothing(
    rsmeta: Rsmeta, tmp_path: Path, name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    ended = rsmeta("inspect", tmp_path / name)
    assert ended.status == 1
    assert str(tmp_path / name) in ended.complaint
