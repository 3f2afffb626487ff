"""Imports pause the collection of garbage; only a process of rsmeta's own goes past them later."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

import pytest

from rsmeta.quick_import import lasting_import, quick_import, spare_imports, without_collection

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("on", [True, False])
def test_collection_is_as_before(on: bool) -> None:
    assert gc.isenabled()
    try:
        if not on:
            gc.disable()
        with contextlib.suppress(KeyError), without_collection():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() is on
        assert quick_import("rsmeta.files").__name__ == "rsmeta.files"
        assert gc.isenabled() is on
    finally:
        gc.enable()


def test_imports_are_spared_on_request_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("rsmeta.quick_import._spared", False)
    for name in ("quick_import_first", "quick_import_second", "quick_import_third"):
        (tmp_path / f"{name}.py").write_text("things = [[] for _ in range(100)]")
    frozen = gc.get_freeze_count()
    try:
        assert len(lasting_import("quick_import_first").things) == 100
        assert gc.get_freeze_count() == frozen
        spare_imports()
        lasting_import("quick_import_first")
        quick_import("quick_import_second")
        assert gc.get_freeze_count() == frozen
        things = lasting_import("quick_import_third").things
        assert gc.get_freeze_count() >= frozen + 200
        assert not any(one is things for one in gc.get_objects())
    finally:
        gc.unfreeze()
