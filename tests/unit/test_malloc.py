"""The command line has glibc keep freed memory, unless the user has said what it should do."""

from __future__ import annotations

import os
import sys

import pytest

from rsmeta.malloc import keep_freed_memory, malloc_environment
from rsmeta_cli import main as command_line

VARIABLES = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
#: Numbers in glibc's malloc.h: M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD.
PARAMETERS = {-8: 1, -3: 32 * 2**20, -1: 2**30}
OF_USERS = [
    ("MALLOC_ARENA_MAX", "4"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
    ("MALLOC_TOP_PAD_", "0"),
    ("GLIBC_TUNABLES", "glibc.rtld.nns=4:glibc.malloc.trim_threshold=128"),
]


class Library:
    """glibc's ``mallopt``, which remembers what it is asked."""

    def __init__(self) -> None:
        self.asked: dict[int, int] = {}

    def __call__(self, parameter: int, value: int) -> int:
        self.asked[parameter] = value
        return 1


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("MALLOC_", "GLIBC_TUNABLES")):
            monkeypatch.delenv(name)


def test_one_heap_keeps_what_is_freed() -> None:
    library = Library()
    keep_freed_memory(library)
    assert library.asked == PARAMETERS
    assert malloc_environment({"GLIBC_TUNABLES": "glibc.rtld.nns=4"}) == VARIABLES


@pytest.mark.parametrize(("name", "value"), OF_USERS)
def test_what_the_user_sets_stays(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    library = Library()
    monkeypatch.setenv(name, value)
    keep_freed_memory(library)
    assert library.asked == {}
    assert malloc_environment(os.environ) == {}


@pytest.mark.parametrize("answer", [None, "", "musl 1.2", ValueError, OSError, AttributeError])
def test_nothing_happens_without_glibc(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    def confstr(name: str) -> object:
        if isinstance(answer, type):
            raise answer(name)
        return answer

    def load(name: object) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(os, "confstr", confstr, raising=False)
    monkeypatch.setattr("ctypes.CDLL", load)
    keep_freed_memory()


def test_a_program_sets_it_and_a_call_of_its_function_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another program that calls ``main`` has a process of its own to decide on."""
    asked: list[str] = []
    monkeypatch.setattr(command_line, "keep_freed_memory", lambda: asked.append("set"))
    monkeypatch.setattr(sys, "argv", ["rsmeta", "--version"])
    for arguments, times in ((["--version"], 0), (None, 1)):
        with pytest.raises(SystemExit) as end:
            command_line.main(arguments)
        assert end.value.code == 0
        assert len(asked) == times
