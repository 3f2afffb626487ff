"""``rsmeta list``: what is read from the source is what the registries hold."""

from __future__ import annotations

import pytest

from rsmeta.workflows.listing import listing
from rsmeta.workflows.source_entries import source_entries


@pytest.mark.parametrize("kind", ["tuners", "heads", "losses"])
def test_the_source_says_what_the_registries_hold(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Points:
        groups = frozenset({"rsmeta.losses"})

    read = listing(kind)
    assert len(read) > 5
    monkeypatch.setattr("rsmeta.workflows.source_entries.entry_points", Points)
    assert source_entries("losses") is None  # a package may add to them: the registry is asked
    assert read == listing(kind)
