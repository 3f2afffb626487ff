"""Imports pause the collection of garbage, and leave it as it was."""

from __future__ import annotations

import contextlib
import gc

import pytest

from rsmeta.quick_import import quick_import, without_collection


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
