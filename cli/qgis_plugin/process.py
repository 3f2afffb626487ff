"""Run rsmeta as a program: pass on what it says, follow its progress, stop it on request.

Nothing here needs QGIS.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

#: Written by ``rsmeta qgis --install``: how to start rsmeta, and its environment.
PROGRAM_FILE = "program.json"

#: Set by QGIS for its own Python and libraries; another environment must not see them.
FOREIGN = (
    "PYTHONHOME", "PYTHONPATH", "GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
)  # fmt: skip

#: Seconds the program has to finish its files after it is asked to stop.
PATIENCE_S = 30

#: How rsmeta says how far it is: a share, or one of how many.
_SHARE = re.compile(r".*: (?:\w+ )?(\d+)%, \d")
_COUNTS = (
    re.compile(r"(\d+) of (\d+) compared"),
    re.compile(r"epoch (\d+)/(\d+): "),
    re.compile(r"cross-validation: run (\d+) of (\d+)"),
)


class ProgramError(Exception):
    """The program could not be started, or ended with an error; one line says why."""


class Feedback(Protocol):
    """What is used of QGIS's ``QgsProcessingFeedback``."""

    def isCanceled(self) -> bool:
        """Return whether the user wants to stop."""

    def setProgress(self, percent: float) -> None:
        """Take how far the work is."""

    def pushInfo(self, info: str) -> None:
        """Take a line for the log."""

    def pushWarning(self, warning: str) -> None:
        """Take a warning for the log."""


def installed_program(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command that starts rsmeta, and variables of its environment.

    Args:
        folder: The plugin's; without the file of the installation, ``rsmeta`` on the path is meant.
    """
    file = folder / PROGRAM_FILE
    if not file.exists():
        return ["rsmeta"], {}
    known = json.loads(file.read_text(encoding="utf-8"))
    return list(known["command"]), dict(known["environment"])


def why_not_there(command: list[str]) -> str:
    """Return why a command cannot be started, and what to do; empty if it can."""
    if shutil.which(command[0]) is not None:
        return ""
    return (
        f"the program {command[0]!r} was not found: run 'rsmeta qgis --install' again in the "
        f"environment of rsmeta, or give its path under Advanced parameters"
    )


def progress_of(line: str) -> float | None:
    """Return how far the program is by a line of its log, in percent; none: it does not say."""
    share = _SHARE.match(line)  # the last: a name may hold anything
    if share:
        return float(share[1])
    for pattern in _COUNTS:
        found = pattern.match(line)
        if found:
            return 100 * int(found[1]) / max(int(found[2]), 1)
    return None


def run(
    words: list[str], feedback: Feedback, *, environment: dict[str, str], cwd: str | None = None
) -> bool:
    """Run a command to its end, pass on what it says, and stop it when the user cancels.

    Args:
        words: The command.
        feedback: Takes log and progress.
        environment: Variables in place of those that QGIS has set for itself.
        cwd: Folder in which it runs; none: this one.

    Returns:
        Whether it has finished; false: it was cancelled.

    Raises:
        ProgramError: It cannot be started, or has failed.
    """
    if feedback.isCanceled():
        return False
    inherited = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    try:
        process = subprocess.Popen(
            words, cwd=cwd, env={**inherited, "PYTHONUTF8": "1", **environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, encoding="utf-8", errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ProgramError(f"cannot start {words[0]}: {error}") from error
    lines: queue.Queue[str | None] = queue.Queue()
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        complaint = _follow(lines, feedback)
    finally:
        if feedback.isCanceled():
            _stop(process)
    status = process.wait()
    if feedback.isCanceled():
        return False
    if status != 0:
        raise ProgramError(complaint or f"{words[0]} ended with status {status}")
    return True


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line.rstrip())
    lines.put(None)


def _follow(lines: queue.Queue[str | None], feedback: Feedback) -> str:
    """Pass lines on until there are no more or the user cancels; return the complaint."""
    complaint, last, reached = "", "", 0.0
    while not feedback.isCanceled():
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            continue
        if line is None:
            break
        if line.startswith(("rsmeta: ", "Error: ")):
            complaint = line  # it becomes the error of the algorithm
            continue
        percent = progress_of(line)
        if percent is not None:
            reached = max(reached, percent)
            feedback.setProgress(reached)
        last = line or last
        if line.startswith("warning: "):
            feedback.pushWarning(line[len("warning: ") :])
        else:
            feedback.pushInfo(line)
    return complaint or last


def _stop(process: subprocess.Popen[str]) -> None:
    """End the program as Ctrl-C would, and by force whatever is left of what it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
    with contextlib.suppress(ProcessLookupError):  # nothing is left
        os.killpg(process.pid, signal.SIGKILL)
