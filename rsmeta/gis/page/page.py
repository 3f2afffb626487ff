"""One HTML page that holds all that it shows: no file beside it, no network.

Everything that comes from files (names of classes, settings, metadata) is escaped by the template;
a policy in the page lets no other script than its own run, and nothing be loaded.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rsmeta._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """What a page shows; parts without content are left out.

    Attributes:
        title: Its heading.
        kind: What it is about, above the heading.
        facts: Name and value of what matters first.
        map: Map and legend, as of ``page_map``.
        layers: What the viewer draws, likewise.
        accuracy: The map against a reference, as ``MapAccuracy.as_dict`` gives it, with ``unit``,
            ``reference_name``, ``area_unit``, ``area_scale`` and ``scores`` (of ``page_scores``).
        parts: The model on parts of its configuration: ``title``, ``name`` and ``scores``.
        selection: ``columns`` and ``rows`` of the models compared, ``held_out`` and ``reason``.
        cross_validation: ``runs``, ``columns`` and ``rows`` of the models, pooled ``scores``.
        charts: Curves of the training: ``title``, ``svg`` and ``legend``.
        scales: Learned scales: ``positions``, ``rows`` and ``chart``.
        pictures: ``title``, ``note`` and ``data`` (an address that holds the picture).
        provenance: Name and value.
        settings: ``name`` and ``text``.
    """

    title: str
    kind: str
    facts: Sequence[Mapping[str, str]] = ()
    map: Mapping[str, Any] | None = None
    layers: Mapping[str, Any] | None = None
    accuracy: Mapping[str, Any] | None = None
    parts: Sequence[Mapping[str, Any]] = ()
    selection: Mapping[str, Any] | None = None
    cross_validation: Mapping[str, Any] | None = None
    charts: Sequence[Mapping[str, Any]] = ()
    scales: Mapping[str, Any] | None = None
    pictures: Sequence[Mapping[str, str]] = ()
    provenance: Sequence[Mapping[str, str]] = field(default=())
    settings: Sequence[Mapping[str, str]] = ()


def render(page: Page) -> str:
    """Return the page as HTML."""
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page_html: str = _template().render(
        **vars(page),
        style=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),  # our own, not given
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        version=__version__,
        made=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )
    return page_html


@cache
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.j2")
