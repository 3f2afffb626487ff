"""Colours for classes that name none: by meaning, apart from one another, else a palette."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from rsmeta.config.class_meanings import MEANINGS, meaning_of
from rsmeta.config.legends import LEGENDS, colour_of, legend_of_codes, legend_of_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

#: The first colours, chosen by hand: after Okabe & Ito (2008) and Tol (2021, "muted").
FIRST_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#882255",
    "#44aa99", "#999933", "#332288", "#ddcc77", "#117733", "#aa4499", "#88ccee", "#661100",
)  # fmt: skip

# Levels of red, green and blue that further colours are chosen from.
_LEVELS = 20
_MOST = 1024
# Lightness, 0 to 1, of colours that stand out on white paper and on dark imagery.
_LIGHTNESS = (0.3, 0.92)


#: Distances that colours keep from one another in OKLab: to an eye that sees all colours, and to
#: one without the cones for red or green. Where nothing keeps the first, the next ones hold.
_APART = ((0.10, 0.04), (0.07, 0.025), (0.05, 0.012))

#: Colours of the palette that no usual meaning has, for classes beside others that have one.
_NOT_OF_MEANINGS = ("#cc79a7", "#882255", "#332288", "#ddcc77", "#aa4499", "#661100", "#f0e442")

#: How far a colour may be moved from that of its meaning, in OKLab.
_FARTHEST = 0.3

#: Steps of lightness, chroma and hue (degrees) by which it is moved.
_LIGHTER = (0.0, -0.08, 0.08, -0.16, 0.16, -0.24, 0.24)
_STRONGER = (1.0, 0.7, 1.3, 0.45)
_TURNED = (0.0, -15.0, 15.0, -30.0, 30.0)


def colours_of(names: Sequence[str], given: Mapping[int, str]) -> tuple[str, ...]:
    """Return a colour for each class, as ``#rrggbb``.

    A class keeps the colour that it is given. If all names, or codes as names, are those of a
    published legend, its colours hold. Otherwise a class whose name has a meaning gets the colour
    of that, moved as far as it must be to differ from those before it; the others get those of the
    palette that differ. Where no name has a meaning they are simply the palette.

    Args:
        names: Names of the classes.
        given: Colours that the user chose, by index.
    """
    legend = _of_legend(names)
    if legend:
        return tuple(given.get(i, colour) for i, colour in enumerate(legend))
    meanings = [meaning_of(name) for name in names]
    palette = class_colours(len(names))
    if not any(meaning for i, meaning in enumerate(meanings) if i not in given):
        return tuple(given.get(i, colour) for i, colour in enumerate(palette))
    chosen = dict(given)
    for i, meaning in enumerate(meanings):
        if i not in chosen and meaning is not None:
            own = _moved(MEANINGS[meaning].colour, [*chosen.values()])
            if own is not None:
                chosen[i] = own
    for i in range(len(names)):
        if i not in chosen:
            more = (*_NOT_OF_MEANINGS, *class_colours(len(names) + 16))
            chosen[i] = _farthest(more, [*chosen.values()])
    return tuple(chosen[i] for i in range(len(names)))


def _of_legend(names: Sequence[str]) -> list[str]:
    """Return the colours of a published legend, if it has all the names or codes."""
    if all(name.isdecimal() for name in names):
        codes = [int(name) for name in names]
        legend = legend_of_codes(codes)
        return [LEGENDS[legend][code].colour for code in codes] if legend else []
    legend = legend_of_names(names)
    return [colour_of(legend, name) for name in names] if legend else []


def _moved(colour: str, taken: Sequence[str]) -> str | None:
    """Return the colour nearest to one that keeps apart from those taken; none if all are far."""
    candidates = _variants(colour)
    for least in _APART:
        for one in candidates:
            if _keeps(one, taken, least):
                return one
    return None


def _farthest(palette: Sequence[str], taken: Sequence[str]) -> str:
    """Return the first colour of a palette that keeps apart from those taken, or nearly so."""
    for least in _APART:
        for one in palette:
            if _keeps(one, taken, least):
                return one
    return max(palette, key=lambda one: (one not in taken, min(_distances(one, taken))))


def _keeps(colour: str, taken: Sequence[str], least: tuple[float, float]) -> bool:
    if not taken:
        return True
    normal, *others = _distances(colour, taken)
    return normal >= least[0] and min(others) >= least[1]


def _distances(colour: str, taken: Sequence[str]) -> list[float]:
    """Return the distance to the nearest of the colours taken, for each of three eyes."""
    import numpy as np

    views = _views(colour, *taken)
    return [float(d) for d in np.linalg.norm(views[:, 1:] - views[:, :1], axis=-1).min(axis=1)]


@cache
def _view(colour: str) -> NDArray[np.float64]:
    import numpy as np

    return _seen(np.array([_levels(colour)], dtype=np.float64))


def _views(*colours: str) -> NDArray[np.float64]:
    import numpy as np

    return np.concatenate([_view(colour) for colour in colours], axis=1)


def _levels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


@cache
def _variants(colour: str) -> tuple[str, ...]:
    """Return a colour and those near it that a screen has, by their distance from it."""
    import numpy as np

    light, a, b = _view(colour)[0, 0]
    angle, chroma = np.arctan2(b, a), np.hypot(a, b)
    steps = np.array([(up, times, by) for up in _LIGHTER for times in _STRONGER for by in _TURNED])
    turned = angle + np.deg2rad(steps[:, 2])
    lab = np.stack(
        [light + steps[:, 0], chroma * steps[:, 1] * np.cos(turned),
         chroma * steps[:, 1] * np.sin(turned)], axis=1,
    )  # fmt: skip
    cones = (lab @ np.linalg.inv(np.array(_TO_OKLAB)).T) ** 3
    linear = cones @ np.linalg.inv(np.array(_TO_CONES)).T
    distance = np.linalg.norm(lab - lab[0], axis=1)
    fits = ((linear >= 0) & (linear <= 1)).all(axis=1) & (distance <= _FARTHEST)
    fits &= (lab[:, 0] > _LIGHTNESS[0]) & (lab[:, 0] < _LIGHTNESS[1])
    order = [int(i) for i in np.argsort(distance, kind="stable") if fits[i]]
    share = np.where(linear <= 0.0031308, linear * 12.92,
                     1.055 * np.clip(linear, 0, None) ** (1 / 2.4) - 0.055)  # fmt: skip
    levels = (np.clip(share, 0, 1) * 255).round().astype(int)
    found = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in levels[order].tolist()]
    return tuple(dict.fromkeys([colour, *found]))


def class_colours(count: int) -> tuple[str, ...]:
    """Return colours as ``#rrggbb``; those of a smaller count begin those of a larger one.

    After the first sixteen, each is the one farthest from all before it, to the worst of three
    eyes: without colour blindness, and without the cones for red or for green. They differ for
    some thousand classes, and begin anew after that.

    Source: distances in OKLab (Ottosson 2020); colour blindness after Machado, Oliveira &
    Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency",
    severity 1.
    """
    if count <= len(FIRST_COLOURS):
        return FIRST_COLOURS[:count]
    size = 1 << (count - 1).bit_length()  # few sizes, so that few are computed
    known = _colours(min(size, _MOST))
    return tuple(known[i % len(known)] for i in range(count))


@cache
def _colours(count: int) -> tuple[str, ...]:
    import numpy as np  # so late because most configurations need no more than the first

    levels = np.linspace(0, 255, _LEVELS).round()
    candidates = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    light = _seen(candidates)[0][:, 0]
    candidates = candidates[(light > _LIGHTNESS[0]) & (light < _LIGHTNESS[1])]
    chosen = [_levels(colour) for colour in FIRST_COLOURS]
    views, taken = _seen(candidates), _seen(np.array(chosen, dtype=np.float64))
    nearest = np.full(views.shape[:2], np.inf)  # (eye, candidate)
    for i in range(len(chosen)):
        _come_nearer(nearest, views, taken[:, i])
    while len(chosen) < count:
        best = int(nearest.min(axis=0).argmax())
        chosen.append([int(level) for level in candidates[best]])
        _come_nearer(nearest, views, views[:, best])
    return tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in chosen)


def _come_nearer(
    nearest: NDArray[np.float64], views: NDArray[np.float64], taken: NDArray[np.float64]
) -> None:
    """Lower distances (eye, N) to those between views (eye, N, 3) and one more (eye, 3)."""
    import numpy as np

    np.minimum(nearest, np.linalg.norm(views - taken[:, None], axis=-1), out=nearest)


def _seen(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what three eyes see of colours (N, 3) in 0..255, in OKLab, (eye, N, 3)."""
    import numpy as np

    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    eyes = np.stack([linear @ np.array(eye).T for eye in (_NORMAL, _NO_RED_CONES, _NO_GREEN_CONES)])
    cones = np.cbrt(np.clip(eyes, 0, 1) @ np.array(_TO_CONES).T)
    seen: NDArray[np.float64] = cones @ np.array(_TO_OKLAB).T
    return seen


_NORMAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_NO_RED_CONES = (
    (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)  # fmt: skip
_NO_GREEN_CONES = (
    (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)  # fmt: skip
_TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929), (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)  # fmt: skip
_TO_OKLAB = (
    (0.2104542553, 0.7936177850, -0.0040720468), (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)  # fmt: skip
