"""``trainer.compile``: the same training, through torch's compiler."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Rsmeta, TinyRun


@pytest.mark.slow  # the compiler takes most of a minute
def test_a_compiled_run_learns_the_same(tiny_run: TinyRun, rsmeta: Rsmeta, tmp_path: Path) -> None:
    ended = rsmeta(
        "train", tiny_run.config, f"data.root={tiny_run.data}", "trainer.compile=true",
        "--output", tmp_path / "run",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    plain = json.loads((tiny_run.folder / "metrics.json").read_text(encoding="utf-8"))
    compiled = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert compiled["train_loss"] == pytest.approx(plain["train_loss"], rel=1e-3)
