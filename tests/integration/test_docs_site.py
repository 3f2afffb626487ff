"""The pages as a site, built without a network, and the notebooks among them, run to their end."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.md"))


def test_every_page_is_in_the_navigation() -> None:
    tree = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def named(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for one in (entry.values() if isinstance(entry, dict) else entry)
                for page in named(one)]  # fmt: skip

    pages = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    listed = named(tree["nav"])
    assert len(listed) == len(set(listed))
    assert {page for page in listed if not page.startswith("project/")} == pages


def test_pictures_are_small() -> None:
    for path in (ROOT / "docs").rglob("*"):
        assert path.suffix == ".py" or path.is_dir() or path.stat().st_size < 200_000, path


def test_the_site_is_built_strictly_and_reads_nothing_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = pytest.importorskip("mkdocs.commands.build", reason="pip install 'rsmeta[docs]'")
    from mkdocs.config import load_config

    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    logging.getLogger("mkdocs").setLevel(logging.WARNING)
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    commands.build(config)
    start = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "project/CONTRIBUTING.html" in start
    index = json.loads((tmp_path / "search" / "search_index.json").read_text(encoding="utf-8"))
    benchmarks = {one.get("boost", 1) for one in index["docs"] if "/benchmarks/" in one["location"]}
    assert benchmarks == {0.3}, "found after the pages that explain"
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img)[^>]* src="?([^" >]+)', text)
        loaded += re.findall(r'<link[^>]* rel="?stylesheet"?[^>]* href="?([^" >]+)', text)
        assert not [one for one in loaded if re.match(r"(https?:)?//", one)], page


@pytest.mark.slow
@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_a_notebook_runs_to_its_end(page: Path, tmp_path: Path) -> None:
    jupytext = pytest.importorskip("jupytext")
    client = pytest.importorskip("nbclient")
    notebook = jupytext.read(page)
    assert sum(cell.cell_type == "code" for cell in notebook.cells) >= 4
    client.NotebookClient(
        notebook, timeout=None, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert any("text/html" in out.get("data", {}) for out in shown)
