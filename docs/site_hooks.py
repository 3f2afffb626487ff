"""Hooks of the site: pages of the repository outside ``docs/`` become pages of the site too.

A page may link to any file of the repository, as it does where the repository is browsed. On the
site, links to Markdown files lead to their pages; those to other files become plain text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parents[1]

#: Pages outside docs/, by their path in the repository; on the site they lie below project/.
OUTSIDE = [
    "CONTRIBUTING.md", "CHANGELOG.md",
    *(f"benchmarks/{path.name}" for path in sorted((ROOT / "benchmarks").glob("*.md"))),
]  # fmt: skip

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
_FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside docs/."""
    for path in OUTSIDE:
        text = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, f"project/{path}", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point the links of a page at pages of the site, and say what search shows last.

    What jupytext notes of a notebook is dropped.
    """
    here = page.file.src_uri
    if here.startswith("project/benchmarks/"):  # found, but after the pages that explain
        page.meta["search"] = {"boost": 0.3}
    source = here.removeprefix("project/") if here.startswith("project/") else f"docs/{here}"
    there = {f"docs/{file.src_uri}": file.src_uri for file in page.file_list}
    there |= {path: f"project/{path}" for path in OUTSIDE}

    def pointed(link: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", link["target"]):
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["target"]))
        if path == "README.md":
            path = "docs/index.md"
        if path not in there:
            return link["text"]
        target = posixpath.relpath(there[path], posixpath.dirname(here) or ".")
        return f"[{link['text']}]({target}{link['anchor'] or ''})"

    return _LINK.sub(pointed, _FRONT.sub("", markdown) if "notebooks/" in here else markdown)


def on_nav(nav: Any, files: Files, **_: Any) -> Any:
    """Remember the files, which links are looked up in."""
    for page in files.documentation_pages():
        if page.page is not None:
            page.page.file_list = list(files)
    return nav
