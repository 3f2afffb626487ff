"""Colours for classes that name none, apart from one another also under colour blindness."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    chosen = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in FIRST_COLOURS]
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
