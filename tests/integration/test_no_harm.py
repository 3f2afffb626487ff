"""No command but predict, which has its own tests, replaces its inputs or others' files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Rsmeta, RunToEnd, TinyRun


@pytest.fixture(scope="module")
def mapped(
    tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory, run_to_end: RunToEnd
) -> Path:
    """Folder with a run, a map of its scene, and the scene and labels themselves."""
    folder = tmp_path_factory.mktemp("harm")
    shutil.copytree(tiny_run.data, folder / "data")
    shutil.copytree(tiny_run.folder, folder / "run")
    run_to_end(
        "predict", folder / "data" / "west.tif", "--model", folder / "run" / "bundle",
        "--output", folder / "m.tif", "--confidence", folder / "c.tif",
    )  # fmt: skip
    (folder / "link.tif").symlink_to(folder / "m.tif")
    return folder


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def place(mapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the folder as the current one; after the test every file in it is as it was."""
    folder = Path(shutil.copytree(mapped, tmp_path / "place", symlinks=True))
    (folder / "link.tif").unlink()
    (folder / "link.tif").symlink_to(folder / "m.tif")
    monkeypatch.chdir(folder)
    before = content(folder)
    yield folder
    assert content(folder) == before


MAP = ("evaluate", "--map", "m.tif", "--reference", "data/west_labels.tif")
MODEL = ("evaluate", "--model", "run/bundle", "run/config.yaml", "data.root=data")


@pytest.mark.parametrize("output", ["m.tif", "link.tif", "data/../m.tif", "data/west_labels.tif"])
def test_scores_of_a_map(rsmeta: Rsmeta, place: Path, output: str) -> None:
    ended = rsmeta(*MAP, "--output", output, "--overwrite")
    assert ended.status == 1
    assert output in ended.complaint


@pytest.mark.parametrize(
    "output",
    ["run/config.yaml", "run/bundle/bundle.yaml", "data/west.tif", "data/east_labels.tif"],
)
def test_scores_of_a_model(rsmeta: Rsmeta, place: Path, output: str) -> None:
    ended = rsmeta(*MODEL, "--output", output, "--overwrite")
    assert ended.status == 1
    assert output in ended.complaint


@pytest.mark.parametrize(
    "output",
    ["m.tif", "link.tif", "c.tif", "data/west.tif", "data/west_labels.tif", "run/metrics.json",
     "run/bundle/weights.safetensors", "run/config.yaml", "m.tif.aux.xml"],
)  # fmt: skip
def test_a_report(rsmeta: Rsmeta, place: Path, output: str) -> None:
    ended = rsmeta(
        "report", "run", "m.tif", "--scene", "data/west.tif", "--confidence", "c.tif",
        "--reference", "data/west_labels.tif", "--output", output, "--overwrite",
    )  # fmt: skip
    assert ended.status == 1
    assert output in ended.complaint


@pytest.mark.parametrize("output", ["run", "data", ".", "run/bundle", "m.tif"])
@pytest.mark.parametrize("form", ["merged", "peft"])
def test_an_export(rsmeta: Rsmeta, place: Path, output: str, form: str) -> None:
    given = ("export", "--model", "run/bundle", "--format", form, output)
    assert rsmeta(*given, "--overwrite").status == 1


def test_an_export_to_onnx_over_a_folder(rsmeta: Rsmeta, place: Path) -> None:
    given = ("export", "--model", "run/bundle", "--format", "onnx", "run", "--overwrite")
    assert rsmeta(*given).status == 1


def test_a_demo(rsmeta: Rsmeta, place: Path) -> None:
    for output in (".", "run", "m.tif"):
        assert rsmeta("demo", "--output", output).status == 1


def test_runs_and_sweeps(rsmeta: Rsmeta, place: Path) -> None:
    given = ("train", "run/config.yaml", "data.root=data", "trainer.max_epochs=1")
    shutil.copytree("run/bundle", "own/bundle")
    Path("tables").mkdir()
    Path("tables/table.csv").write_text("mine", encoding="utf-8")
    for words in (
        ("--output", "own"), ("--output", "own", "--resume"),
        ("sweep={seeds: [0]}", "--output", "tables"),
        ("sweep={seeds: [0]}", "--output", "tables", "--resume"),
    ):  # fmt: skip
        assert rsmeta(*given, *words).status == 1
    assert Path("tables/table.csv").read_text(encoding="utf-8") == "mine"
    assert [path.name for path in Path("own").iterdir()] == ["bundle"]
    shutil.rmtree("own")
    shutil.rmtree("tables")
