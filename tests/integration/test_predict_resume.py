"""Interrupted maps are gone on with: no finished block is done again, the pixels are the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Rsmeta, RunToEnd, TinyRun

#: 36 blocks, so that a run can be interrupted between them.
SMALL_BLOCKS = ("--set", "block_px=16", "--set", "batch_size=4")


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        pixels: np.ndarray = raster.read()
    return pixels


def journal_of(output: Path) -> Path:
    return output.with_name(f".{output.name}.partial") / "journal"


def command(tiny_run: TinyRun, folder: Path) -> tuple[object, ...]:
    return (
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", folder / "m.tif",
        "--probabilities", folder / "p.tif", "--summary", folder / "summary.json", *SMALL_BLOCKS,
    )  # fmt: skip


@pytest.fixture
def words(tiny_run: TinyRun, tmp_path: Path) -> tuple[object, ...]:
    """The command that the tests interrupt."""
    return command(tiny_run, tmp_path)


@pytest.fixture(scope="module")
def whole(
    run_to_end: RunToEnd, tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder with the same maps, made without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    run_to_end(*command(tiny_run, folder))
    return folder


def start(words: tuple[object, ...]) -> subprocess.Popen[str]:
    """Run the command in a process of its own until it has finished some blocks."""
    child = subprocess.Popen(
        [sys.executable, "-m", "rsmeta_cli.main", *map(str, words)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert child.stderr is not None
    assert "Mpx" in child.stderr.readline()
    return child


@pytest.fixture(scope="module")
def killed_once(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which the command was killed in the middle."""
    folder = tmp_path_factory.mktemp("killed")
    with start(command(tiny_run, folder)) as child:
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert not (folder / "m.tif").exists()
    assert 3 < len(journal_of(folder / "m.tif").read_text().splitlines()) < 36
    return folder


@pytest.fixture
def killed(killed_once: Path, tmp_path: Path) -> Path:
    """A copy of what the killed command has left."""
    shutil.copytree(killed_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


def check_same(folder: Path, whole: Path) -> None:
    for name in ("m.tif", "p.tif"):
        assert np.array_equal(read(folder / name), read(whole / name), equal_nan=True)
    mine, other = (
        json.loads((f / "summary.json").read_text())["scenes"][0] for f in (folder, whole)
    )
    assert mine["classes"] == other["classes"]
    assert mine["tiles"]["skipped"] == other["tiles"]["skipped"]
    assert sorted(p.name for p in folder.iterdir()) == [
        "m.qml", "m.sld", "m.tif", "m.tif.aux.xml", "p.qml", "p.sld", "p.tif", "summary.json",
    ]  # fmt: skip


def test_after_a_kill_no_finished_block_is_done_again(
    rsmeta: Rsmeta, words: tuple[object, ...], killed: Path, whole: Path
) -> None:
    finished = len(journal_of(killed / "m.tif").read_text().splitlines()) - 1
    ended = rsmeta(*words, "--resume")
    assert ended.status == 0, ended.err
    shown = [line for line in ended.err.splitlines() if "Mpx" in line]
    assert int(shown[0].split(": ")[1].split("%")[0]) > 100 * finished // 36
    check_same(killed, whole)


def test_a_damaged_end_of_the_journal_is_left_out(
    rsmeta: Rsmeta, words: tuple[object, ...], killed: Path, whole: Path
) -> None:
    """The last line is cut off, as after a power cut, and the one before is damaged."""
    journal = journal_of(killed / "m.tif")
    raw = journal.read_bytes()
    second_last = raw.rstrip(b"\n").rfind(b"\n", 0, raw.rstrip(b"\n").rfind(b"\n"))
    damaged = bytearray(raw[:-5])
    damaged[second_last + 20] ^= 1
    journal.write_bytes(damaged)
    assert rsmeta(*words, "--resume").status == 0
    check_same(killed, whole)


def test_blocks_that_have_gone_are_done_again(
    rsmeta: Rsmeta, words: tuple[object, ...], killed: Path, whole: Path
) -> None:
    shutil.rmtree(killed / ".p.tif.partial")
    assert rsmeta(*words, "--resume").status == 0
    check_same(killed, whole)


def test_without_resume_it_starts_anew(
    rsmeta: Rsmeta, words: tuple[object, ...], killed: Path, whole: Path
) -> None:
    for block in (killed / ".m.tif.partial").glob("block_*"):
        block.write_bytes(b"")
    assert rsmeta(*words).status == 0
    check_same(killed, whole)


def test_interrupt_ends_before_the_map_is_there_and_can_be_resumed(
    rsmeta: Rsmeta, words: tuple[object, ...], whole: Path, tmp_path: Path
) -> None:
    with start(words) as child:
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=120)  # a busy machine takes its time
    assert child.returncode == 130
    assert not (tmp_path / "m.tif").exists()
    assert err.splitlines()[-1] == (
        "rsmeta: interrupted; run the same command with --resume to continue"
    )
    assert "Traceback" not in err
    assert rsmeta(*words, "--resume").status == 0
    check_same(tmp_path, whole)


def test_a_full_disk_can_be_resumed(
    rsmeta: Rsmeta, words: tuple[object, ...], whole: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from rsmeta.geo import writer

    written = 0

    def full(path: Path) -> None:
        nonlocal written
        written += path.suffix == ".part"
        if written > 20:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "to_disk", full)
        ended = rsmeta(*words)
    assert ended.status == 1
    assert "No space left on device" in ended.complaint
    assert "what is finished is kept for --resume" in ended.complaint
    assert not list(tmp_path.rglob("*.part"))
    assert rsmeta(*words, "--resume").status == 0
    check_same(tmp_path, whole)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("--set", "overlap=0.5"), "another setting, overlap (0.25, now 0.5)"),
        (("--set", "block_px=32"), "another setting, block_px (16, now 32)"),
        (("--bounds", 15.0, 46.495, 15.005, 46.5), "another extent"),
        (("--confidence", "c.tif"), "another list of outputs"),
    ],
)
def test_another_setting_is_refused(
    rsmeta: Rsmeta, words: tuple[object, ...], killed: Path, changed: tuple[object, ...], told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(killed)
    before = journal_of(killed / "m.tif").read_bytes()
    ended = rsmeta(*words, *changed, "--resume")
    assert ended.status == 1
    assert f"cannot resume {killed / 'm.tif'}: it was begun with " in ended.complaint
    assert told in ended.complaint
    assert journal_of(killed / "m.tif").read_bytes() == before


def test_another_scene_or_model_is_refused(
    rsmeta: Rsmeta, words: tuple[object, ...], killed: Path, tiny_run: TinyRun, bundle_copy: Path
) -> None:
    ended = rsmeta("predict", tiny_run.data / "east.tif", *words[2:], "--resume")
    assert ended.status == 1
    assert "another scene, source (" in ended.complaint
    other = bundle_copy / "bundle.yaml"
    other.write_text(other.read_text().replace("mean: ", "mean: 1", 1))
    ended = rsmeta(*words[:2], "--model", bundle_copy, *words[4:], "--resume")
    assert ended.status == 1
    assert "another model (" in ended.complaint


@pytest.fixture
def touched_scene(tiny_run: TinyRun) -> Iterator[Path]:
    """The scene with another time of change, as long as the test lasts."""
    state = tiny_run.scene.stat()
    os.utime(tiny_run.scene)
    yield tiny_run.scene
    os.utime(tiny_run.scene, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.usefixtures("killed")
def test_a_scene_that_has_changed_is_refused(
    rsmeta: Rsmeta, words: tuple[object, ...], touched_scene: Path
) -> None:
    ended = rsmeta(*words, "--resume")
    assert ended.status == 1
    assert f"another scene, files, {touched_scene} ([" in ended.complaint


def test_two_processes_on_one_output(
    rsmeta: Rsmeta, words: tuple[object, ...], tmp_path: Path
) -> None:
    with start(words) as child:
        child.send_signal(signal.SIGSTOP)
        before = journal_of(tmp_path / "m.tif").read_bytes()
        for extra in ((), ("--resume",), ("--overwrite",)):
            ended = rsmeta(*words, *extra)
            assert ended.status == 1
            assert ended.complaint == (
                f"rsmeta: another process is writing {tmp_path / 'm.tif'}; wait for it, or "
                f"choose another name"
            )
        assert journal_of(tmp_path / "m.tif").read_bytes() == before
        child.kill()


def test_resume_leaves_finished_scenes_alone(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    scenes = tmp_path / "scenes.txt"
    scenes.write_text(f"# two\n{tiny_run.scene}\n\n{tiny_run.data / 'east.tif'}\n")
    words = ("predict", f"@{scenes}", "--model", tiny_run.bundle, "--output", tmp_path / "maps")
    first = rsmeta(*words, "--resume")
    assert first.status == 0, first.err
    west = tmp_path / "maps" / "west_map.tif"
    before = west.stat()
    (tmp_path / "maps" / "east_map.tif").unlink()
    second = rsmeta(*words, "--resume", "--summary", tmp_path / "s.json")
    assert second.status == 0, second.err
    assert f"{west}: was finished already" in second.out
    after = west.stat()  # not as a whole: being read is no change
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    told = json.loads((tmp_path / "s.json").read_text())["scenes"]
    assert [scene["status"] for scene in told] == ["kept", "mapped"]


def test_resume_takes_no_map_of_another_extent_for_its_own(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    words = ("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif")
    assert rsmeta(*words, "--bounds", 15.0, 46.495, 15.005, 46.5).status == 0
    ended = rsmeta(*words, "--resume")
    assert ended.status == 1
    assert "was made by another model or for another extent" in ended.complaint
    assert rsmeta(*words, "--resume", "--overwrite").status == 0
    assert read(tmp_path / "m.tif").shape == (1, 96, 96)
