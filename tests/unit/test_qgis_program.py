"""How the QGIS plugin runs rsmeta: log, progress, errors, Cancel. Nothing here needs QGIS."""

from __future__ import annotations

import ast
import json
import os
import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rsmeta.workflows.mapping.progress import MapProgress, progress_for
from rsmeta_cli import qgis_plugin
from rsmeta_cli.predict_progress import map_progress
from rsmeta_cli.qgis_plugin import process
from rsmeta_cli.qgis_plugin.process import (
    ProgramError,
    installed_program,
    progress_of,
    run,
    why_not_there,
)
from rsmeta_cli.qgis_plugin.workplace import move_into, why_not_new, workplace

if TYPE_CHECKING:
    from collections.abc import Sequence

PLUGIN = Path(qgis_plugin.__file__).parent


class Feedback:
    """Remembers what it is told; cancels when a line has come."""

    def __init__(self, cancel_after: str | None = None) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.shares: list[float] = []
        self._cancel_after = cancel_after
        self._cancelled = False

    def isCanceled(self) -> bool:
        return self._cancelled

    def setProgress(self, percent: float) -> None:
        self.shares.append(percent)

    def pushInfo(self, info: str) -> None:
        self.lines.append(info)
        self._cancelled |= info == self._cancel_after

    def pushWarning(self, warning: str) -> None:
        self.warnings.append(warning)


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def test_log_progress_and_warnings_are_passed_on() -> None:
    said = (
        "reading ä\nwarning: 3 polygons overlap\n2 of 8 compared, about 9 s left\n"
        "epoch 1/4: train loss 0.7\nepoch 4/4: train loss 0.1"
    )
    feedback = Feedback()
    assert run(shell(f"printf '{said}\n'; echo to stderr >&2"), feedback, environment={})
    assert feedback.lines == [
        "reading ä", "2 of 8 compared, about 9 s left", "epoch 1/4: train loss 0.7",
        "epoch 4/4: train loss 0.1", "to stderr",
    ]  # fmt: skip
    assert feedback.warnings == ["3 polygons overlap"]
    assert feedback.shares == [25, 25, 100]  # never back


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("echo begun; echo 'rsmeta: no scene at x; check the path' >&2; exit 1",
         "rsmeta: no scene at x; check the path"),
        ("echo 'Usage: rsmeta'; echo 'Error: No such option: --x'; exit 2",
         "Error: No such option: --x"),
        ("echo Killed; exit 9", "Killed"),
        ("exit 3", "/bin/sh ended with status 3"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_and_is_not_logged_twice(script: str, complaint: str) -> None:
    feedback = Feedback()
    with pytest.raises(ProgramError) as raised:
        run(shell(script), feedback, environment={})
    assert str(raised.value) == complaint
    assert complaint == "Killed" or complaint not in feedback.lines


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(ProgramError, match="cannot start /not/there: "):
        run(["/not/there"], Feedback(), environment={})
    assert "'/not/there' was not found: run 'rsmeta qgis --install'" in why_not_there(
        ["/not/there"]
    )
    assert not why_not_there([sys.executable])


def test_cancel_stops_the_program_and_what_it_has_started(tmp_path: Path) -> None:
    ended, pipe = tmp_path / "ended", tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    script = (
        f"trap 'echo yes > \"{ended}\"; exit 130' INT; "
        f"{{ exec 3> '{pipe}'; echo begun; exec sleep 1000; }} & wait"
    )
    assert not run(shell(script), Feedback(cancel_after="begun"), environment={})
    assert ended.read_text(encoding="utf-8") == "yes\n"
    # The shell has its child ignore Ctrl-C; the pipe ends with the child.
    assert select.select([reading], [], [], 60)[0]
    os.close(reading)


def test_a_program_that_does_not_listen_is_ended_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PATIENCE_S", 0.2)
    script = "trap '' INT; echo begun; while :; do sleep 0.05; done"
    assert not run(shell(script), Feedback(cancel_after="begun"), environment={})


def test_nothing_starts_once_it_is_cancelled(tmp_path: Path) -> None:
    feedback = Feedback("x")
    feedback.pushInfo("x")
    assert not run(shell(f"touch '{tmp_path}/made'"), feedback, environment={})
    assert not list(tmp_path.iterdir())


def test_the_environment_is_that_of_the_installation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in process.FOREIGN:
        monkeypatch.setenv(name, "/of/qgis")
    feedback = Feedback()
    printed = " ".join(f"{name}=${name}" for name in process.FOREIGN)
    own = {"PROJ_DATA": "/of/rsmeta"}
    assert run(shell(f'echo "{printed}"; pwd'), feedback, environment=own, cwd=str(tmp_path))
    words = dict(word.split("=") for word in feedback.lines[0].split())
    assert words == dict.fromkeys(process.FOREIGN, "") | own
    assert Path(feedback.lines[1]).samefile(tmp_path)


def test_the_program_of_the_installation(tmp_path: Path) -> None:
    assert installed_program(tmp_path) == (["rsmeta"], {})
    known = {"command": ["/a b/python", "-m", "rsmeta_cli.main"], "environment": {"PROJ_LIB": "/x"}}
    (tmp_path / "program.json").write_text(json.dumps(known), encoding="utf-8")
    assert installed_program(tmp_path) == (known["command"], known["environment"])


def test_progress_as_rsmeta_writes_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The lines of maps are understood whatever the scene is called; those of training: below."""
    with map_progress(quiet=False) as on_progress:
        assert on_progress is not None
        found = MapProgress(on_progress, "a: 7%, 3 of 4 b.tif", total_px=10**6, done_px=0)
        for done in range(10):
            found.advance(10**5, tiles=done + 1, skipped=0)
        progress_for(on_progress, "polygons", scene="b.tif", total_px=10**6)(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert [progress_of(line) for line in lines] == [*range(10, 101, 10), 50]


@pytest.mark.parametrize(
    ("line", "percent"),
    [
        ("cross-validation: run 2 of 5, about 3 min left", 40),
        ("epoch 3/None: train loss 1", None),
        ("train: 1 scene(s); labelled pixels: bare 80% of all", None),
        ("macro F1 0.9: 3 of 4", None),
        ("", None),
    ],
)
def test_other_lines_are_no_progress(line: str, percent: float | None) -> None:
    assert progress_of(line) == percent


def test_what_is_unfinished_leaves_no_trace(tmp_path: Path) -> None:
    target = tmp_path / "neu ä" / "model"

    def fail() -> None:
        with workplace(str(target)) as folder:
            (folder / "half").touch()
            assert folder.parent == target.parent
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(target.parent.iterdir())
    with workplace(str(target)) as folder:
        (folder / "map.tif").write_text("new", encoding="utf-8")
        target.mkdir()
        (target / "map.tif").write_text("old", encoding="utf-8")
        move_into(folder, str(target))
    assert [file.read_text(encoding="utf-8") for file in target.iterdir()] == ["new"]


def test_a_model_needs_a_new_folder(tmp_path: Path) -> None:
    assert not why_not_new(str(tmp_path / "new"))
    assert not why_not_new(str(tmp_path))
    (tmp_path / "file").touch()
    for taken in (tmp_path, tmp_path / "file"):
        assert "choose a new folder" in why_not_new(str(taken))


def _imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module is not None
            found.add(node.module.partition(".")[0])
    return found


def test_the_plugin_needs_the_python_of_qgis_alone() -> None:
    """QGIS 3.22 ships with Python 3.9 and has none of rsmeta's packages."""
    files = sorted(PLUGIN.glob("*.py"))
    trees: Sequence[ast.AST] = [
        ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 9)) for file in files
    ]
    assert len(trees) > 5
    others = set().union(*map(_imported, trees)) - set(sys.stdlib_module_names)
    assert others == {"qgis"}
