"""Files appear under their name only when they are complete, and replace nothing before that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rsmeta.files import partial_folder, write_atomically

if TYPE_CHECKING:
    from pathlib import Path


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", ["a.txt", "ä" * 120, "n" * 250 + ".txt"])
def test_a_file_is_whole_or_not_there(tmp_path: Path, name: str, shared: bool) -> None:
    path = tmp_path / "new" / name
    with write_atomically(path, shared=shared) as hidden:
        hidden.write_text("first")
        assert not path.exists()
        assert hidden.name == path.name
    assert path.read_text() == "first"
    with pytest.raises(ZeroDivisionError), write_atomically(path, shared=shared) as hidden:
        hidden.write_text(str(1 / 0))
    assert path.read_text() == "first"
    assert _names(path.parent) == [name]


def test_a_folder_replaces_a_folder_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    for names in (["a", "b"], ["c"]):
        with write_atomically(folder) as hidden:
            hidden.mkdir()
            for name in names:
                (hidden / name).write_text(name)
        assert _names(folder) == names
    assert _names(tmp_path) == ["bundle"]


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    left = partial_folder(tmp_path / "a.txt")
    left.mkdir()
    (left / "a.txt").write_text("half")
    with write_atomically(tmp_path / "a.txt") as hidden:
        assert not hidden.exists()
        hidden.write_text("whole")
    assert _names(tmp_path) == ["a.txt"]
