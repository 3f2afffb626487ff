"""Registries take what other packages offer under the groups that CONTRIBUTING names."""

from __future__ import annotations

from typing import Any

import pytest

from rsmeta.registry import Registry


@pytest.mark.parametrize(("kind", "group"), [("loss", "rsmeta.losses"), ("head", "rsmeta.heads")])
def test_entry_points_are_read_from_the_documented_group(
    kind: str, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def offered(*, group: str) -> list[Any]:
        asked.append(group)
        return []

    monkeypatch.setattr("rsmeta.registry.entry_points", offered)
    assert Registry(kind).names() == []
    assert asked == [group]
