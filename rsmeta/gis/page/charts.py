"""Charts of the page as SVG, which takes its colours from the page's light or dark theme."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH, _HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 36
#: Of a histogram beside the map.
_SIDE_WIDTH, _BARS_HEIGHT = 280, 84

#: Hues that the page has.
HUES = 8


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: What it is called where the pointer rests on it.
        points: (x, y) in order; places where y is not finite are left out.
        hue: Which of the page's colours, from 0.
        strength: How opaque, in (0, 1].
    """

    name: str
    points: Sequence[tuple[float, float]]
    hue: int
    strength: float = 1.0


def line_chart(
    lines: Sequence[Line], *, title: str, x_label: str, y_range: tuple[float, float] | None = None
) -> Markup:
    """Draw lines over one pair of axes.

    Args:
        lines: What to draw.
        title: Read out in place of the picture.
        x_label: What the horizontal axis counts.
        y_range: Ends of the vertical axis; none: those of the lines.
    """
    drawn = [(one, [p for p in one.points if math.isfinite(p[1])]) for one in lines]
    places = [p for _, points in drawn for p in points] or [(0.0, 0.0)]
    x_ticks = _ticks(min(x for x, _ in places), max(x for x, _ in places), whole=True)
    low, high = y_range or (min(y for _, y in places), max(y for _, y in places))
    y_ticks = _ticks(low, high)
    low, high = min(low, y_ticks[0]), max(high, y_ticks[-1])
    first, last = min(x for x, _ in places), max(x for x, _ in places)

    def across(x: float) -> float:
        return _LEFT + (x - first) / ((last - first) or 1) * (_WIDTH - _LEFT - _RIGHT)

    def up(y: float) -> float:
        return _HEIGHT - _BOTTOM - (y - low) / ((high - low) or 1) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<path class="grid" d="M{_LEFT},{up(y):.1f}H{_WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 7}" y="{up(y) + 4:.1f}" text-anchor="end">{y:g}</text>'
        for y in y_ticks
    ]
    parts += [
        f'<text x="{across(x):.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{x:g}</text>'
        for x in x_ticks
        if first <= x <= last
    ]
    parts.append(
        f'<text class="axis" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 2}" '
        f'text-anchor="middle">{escape(x_label)}</text>'
    )
    for one, points in drawn:
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        mark = f'class="hue{one.hue % HUES}" opacity="{one.strength:.2f}"'
        name = f"<title>{escape(one.name)}</title>"
        parts.append(f'<polyline {mark} points="{path}">{name}</polyline>')
        if len(points) <= 24:
            parts += [
                f'<circle {mark} r="2.6" cx="{across(x):.1f}" cy="{up(y):.1f}">'
                f"<title>{escape(one.name)}, {x:g}: {y:.4g}</title></circle>"
                for x, y in points
            ]
    inside = "".join(parts)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{inside}</svg>'
    )


def histogram_chart(
    counts: Sequence[int],
    span: tuple[float, float],
    stops: Sequence[tuple[float, str]],
    *,
    title: str,
) -> Markup:
    """Draw how often numbers occur, over the colours that they have on the map.

    Args:
        counts: Of each bar, all equally wide.
        span: Where the first begins and the last ends.
        stops: Numbers, ascending, and their colours as ``#rrggbb``.
        title: Read out in place of the picture.
    """
    (low, high), most = span, max(counts, default=0) or 1
    step = (high - low) / len(counts)
    width = _SIDE_WIDTH / len(counts)
    parts = []
    for i, count in enumerate(counts):
        ends, tall = (low + i * step, low + (i + 1) * step), count / most * _BARS_HEIGHT
        colour = _colour_at((ends[0] + ends[1]) / 2, stops)
        label = f"{ends[0]:.4g} to {ends[1]:.4g}: {count:,} px"
        parts.append(
            f'<rect class="bin" x="{i * width:.2f}" y="{_BARS_HEIGHT - tall:.2f}" '
            f'width="{width - 0.4:.2f}" height="{tall:.2f}" fill="{colour}">'
            f"<title>{label}</title></rect>"
            f'<rect x="{i * width:.2f}" y="{_BARS_HEIGHT + 3}" width="{width + 0.3:.2f}" '
            f'height="11" fill="{colour}"/>'
        )
    for tick in _ticks(low, high, most=4):
        x = (tick - low) / (high - low) * _SIDE_WIDTH
        if -0.5 <= x <= _SIDE_WIDTH + 0.5:
            side = "start" if x < 14 else "end" if x > _SIDE_WIDTH - 14 else "middle"
            parts.append(
                f'<path class="tick" d="M{x:.1f},{_BARS_HEIGHT + 14}v4"/>'
                f'<text x="{x:.1f}" y="{_BARS_HEIGHT + 30}" text-anchor="{side}">{tick:g}</text>'
            )
    return Markup(
        f'<svg class="chart histogram" viewBox="0 0 {_SIDE_WIDTH} {_BARS_HEIGHT + 34}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _colour_at(number: float, stops: Sequence[tuple[float, str]]) -> str:
    """Return the colour of a number between its neighbours'; beyond the ends theirs."""
    if number <= stops[0][0]:
        return stops[0][1]
    for (low, dark), (high, light) in pairwise(stops):
        if number <= high:
            share = (number - low) / (high - low)
            both = zip(_parts_of(dark), _parts_of(light), strict=True)
            return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in both)
    return stops[-1][1]


def _parts_of(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _ticks(low: float, high: float, *, whole: bool = False, most: int = 5) -> list[float]:
    """Return three to six round numbers that hold a range between them."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span))
    sizes = [power * f for f in (0.1, 0.2, 0.5, 1.0, 2.0)]
    step = next(size for size in sizes if span / size <= most)
    if whole:
        step = max(1.0, round(step))
    start = math.floor(low / step + 1e-9)
    end = math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(start, max(end, start + 1) + 1)]
