"""How results look: one short line, and in a notebook a table with pictures."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: Rows of a table that a notebook shows at most.
_MOST_ROWS = 40


@dataclass(frozen=True)
class View:
    """What is shown of a result.

    Attributes:
        facts: What its short line says, by name; what is none is left out.
        header: Names of the columns of its table.
        rows: The table; numbers are shown with three digits.
        pictures: PNG files' contents, shown below the facts.
        text: Shown as it is, below all else.
    """

    facts: Mapping[str, object]
    header: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    pictures: Sequence[bytes] = ()
    text: str = ""


class Shown:
    """A result that is one line in a console and a table with pictures in a notebook."""

    def view(self) -> View:
        """Return what is shown; each result has its own."""
        raise NotImplementedError

    def __repr__(self) -> str:
        facts = {name: value for name, value in self.view().facts.items() if value is not None}
        inner = ", ".join(f"{name}={_text(value)}" for name, value in facts.items())
        return f"{type(self).__name__}({inner})"

    def _repr_html_(self) -> str:
        view = self.view()
        facts = [(name, value) for name, value in view.facts.items() if value is not None]
        parts = [f"<b>{html.escape(type(self).__name__)}</b>", _table((), facts)]
        parts += [
            f'<img alt="" style="max-width:100%" '
            f'src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
            for picture in view.pictures
        ]
        if view.rows:
            parts.append(_table(view.header, view.rows[:_MOST_ROWS]))
        if len(view.rows) > _MOST_ROWS:
            parts.append(f"<p>… {len(view.rows) - _MOST_ROWS} more</p>")
        if view.text:
            parts.append(f"<pre>{html.escape(view.text)}</pre>")
        return f"<div>{''.join(parts)}</div>"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_text(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def pictures_in(folder: Path, *names: str) -> list[bytes]:
    """Return the content of those pictures that are in a folder."""
    return [(folder / name).read_bytes() for name in names if (folder / name).is_file()]


def scores_view(values: Mapping[str, object]) -> View:
    """Return the view of scores, from the mapping that ``as_dict`` gives.

    Args:
        values: Overall scores, and ``classes`` (or ``labels``) by name.
    """
    facts = {name: value for name, value in values.items()
             if isinstance(value, float | int) and not isinstance(value, bool)}  # fmt: skip
    each = values.get("classes") or values.get("labels")
    if not isinstance(each, dict) or not each:
        return View(facts)
    plain = {name: {key: one for key, one in scores.items() if isinstance(one, float | int)}
             for name, scores in each.items()}  # fmt: skip
    columns = list(dict.fromkeys(key for scores in plain.values() for key in scores))
    rows = [(name, *(scores.get(key) for key in columns)) for name, scores in plain.items()]
    return View(facts, ("class", *columns), rows)
