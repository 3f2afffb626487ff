"""Describe an HTML page that rsmeta wrote: what it is about, its facts and its provenance."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from rsmeta.errors import RsmetaError, one_line

if TYPE_CHECKING:
    from pathlib import Path

#: Suffixes of pages.
PAGE_SUFFIXES = frozenset({".html", ".htm"})


def inspect_page(path: Path) -> dict[str, Any]:
    """Describe a report, or a page of training data.

    Raises:
        RsmetaError: The file cannot be read, or rsmeta did not write it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RsmetaError(f"cannot read {path} ({one_line(error)}); check the path") from error
    page = _Page()
    page.feed(text)
    if not (page.about and page.title):
        raise RsmetaError(f"{path} is no page of rsmeta; open it in a browser")
    return {
        "kind": "report", "path": str(path), "about": page.about, "title": page.title,
        "size_mb": round(path.stat().st_size / 1e6, 2), **page.found,
    }  # fmt: skip


class _Page(HTMLParser):
    """Picks kind, title, facts and lists of terms out of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.about = self.title = ""
        self.found: dict[str, dict[str, str]] = {}
        self._heading = "facts"
        self._inside = ""
        self._term = ""
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember what begins."""
        if tag in ("h1", "h2", "dt", "dd") or (tag == "p" and dict(attrs).get("class") == "kind"):
            self._inside, self._text = tag, ""
        elif tag == "li" and not self.title_is_over:
            self._inside, self._text = "li", ""

    @property
    def title_is_over(self) -> bool:
        """Whether the head of the page, with its facts, has ended."""
        return self._heading != "facts"

    def handle_data(self, data: str) -> None:
        """Collect the text of what has begun."""
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        """Keep what ends."""
        text = " ".join(self._text.split())
        if tag == "header":
            self._heading = "scores"
        if tag != self._inside:
            if tag == "b" and self._inside == "li":  # the value, then its name
                self._term, self._text = text, ""
            return
        self._inside = ""
        if tag == "p":
            self.about = self.about or text
        elif tag == "h1":
            self.title = self.title or text
        elif tag == "h2":
            self._heading = text.lower()
        elif tag == "dt":
            self._term = text
        elif tag == "li":
            self.found.setdefault("facts", {})[text] = self._term
        elif tag == "dd":
            self.found.setdefault(self._heading, {}).setdefault(self._term, text)
