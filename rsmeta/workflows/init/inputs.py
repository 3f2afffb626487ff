"""Which of the given files are scenes and which are labels, and how a configuration names them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.errors import LabelsError, enumerate_names
from rsmeta.geo.handles import open_raster
from rsmeta.geo.polygons import VectorFile
from rsmeta.geo.raster_source import is_path
from rsmeta.geo.sources import expand_sources, scene_stem
from rsmeta.geo.stac_items import is_stac
from rsmeta.workflows.init.guess import Guess

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Inputs:
    """Scenes with their labels.

    Attributes:
        scenes: The scenes, expanded.
        labels: The label file, or a pattern with ``{stem}``.
        left_out: Given files that are no scenes.
        given: What stood for the scenes, if that can be written as it stands.
        unlabelled: Scenes that are left out because no label lies on them.
    """

    scenes: tuple[str | Path, ...]
    labels: str
    left_out: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()

    def only(self, scenes: Sequence[str | Path]) -> Inputs:
        """Return the same without the scenes that are not listed, which have no labels."""
        rest = tuple(Path(one).name for one in self.scenes if one not in scenes)
        return replace(self, scenes=tuple(scenes), given=(), unlabelled=rest)

    def label_file(self, scene: str | Path) -> Path:
        """Return the labels of one scene."""
        return Path(self.labels.replace("{stem}", scene_stem(scene)))

    def guesses(self) -> list[Guess]:
        """Return the keys ``root`` and ``scenes``; ``labels`` is that of ``labels_key``."""
        root = self._root()
        names = [self._below(root, scene) for scene in self.given or self.scenes]
        rest = [
            f"left out, since {why}: {enumerate_names(files)}"
            for why, files in (
                ("they are labels", self.left_out),
                ("no label lies on them", self.unlabelled),
            )
            if files
        ]
        places = [Guess("root", str(root))] if root is not None else []
        return [*places, Guess("scenes", names, "; ".join(rest))]

    def labels_key(self, why: str) -> Guess:
        """Return the key ``labels``."""
        return Guess("labels", self._below(self._root(), self.labels), why)

    def _root(self) -> Path | None:
        """Return the folder that holds everything, unless it is the present one."""
        paths = [str(one) for one in (*(self.given or self.scenes), self.labels)]
        if any("://" in one or one.startswith("/vsi") for one in paths):
            return None
        parents = {Path(one).parent for one in paths}
        root = parents.pop()
        return root if not parents and root != Path() else None

    @staticmethod
    def _below(root: Path | None, path: str | Path) -> str:
        return str(path) if root is None else str(Path(path).relative_to(root))


def sort_inputs(scenes: Sequence[str | Path], labels: str | Path) -> Inputs:
    """Tell labels from scenes.

    Labels of several scenes, one file each, may stand among the scenes, as a shell's pattern gives
    them: if all are called alike after their scenes they become one pattern with ``{stem}``.

    Args:
        scenes: Files, folders, patterns.
        labels: Label file, or a pattern with ``{stem}``.

    Raises:
        SceneError: A scene is not there.
        LabelsError: Labels are not there.
    """
    _check_places(scenes, labels)
    sources = expand_sources(scenes)
    pattern = _pattern(sources, str(labels))
    inputs = Inputs(tuple(sources), pattern)
    own = {_same(inputs.label_file(scene)) for scene in sources}
    kept = [one for one in sources if _same(one) not in own]
    rest = [one for one in kept if not _holds_classes(one)] if len(kept) > 1 else kept
    rest = rest or kept
    out = [str(one) for one in sources if one not in rest]
    if not rest:
        raise LabelsError(f"{labels} is given as scene and as labels; name a scene before it")
    for scene in rest:
        file = VectorFile(inputs.label_file(scene), error=LabelsError).path
        if not file.exists():
            raise LabelsError(f"no labels at {file}; check the path")
    if len(rest) == 1 and "{stem}" in pattern:
        pattern = str(inputs.label_file(rest[0]))
    given = () if out else tuple(dict.fromkeys(map(str, scenes)))
    named = [Path(one).name for one in out if _same(one) not in own]
    return Inputs(tuple(rest), pattern, tuple(named), given)


def _check_places(scenes: Sequence[str | Path], labels: str | Path) -> None:
    """Refuse polygons that are given as scenes, and labels that are not on this machine."""
    for scene in scenes:
        file = VectorFile(scene, error=LabelsError)
        if file.is_vector and not is_stac(str(scene)) and file.path.is_file() and scene != labels:
            raise LabelsError(f"{scene} holds polygons; name the scenes first, and the labels last")
    if not is_path(labels):
        raise LabelsError(f"{labels} is not on this machine; fetch the labels first")


def _pattern(sources: Sequence[str | Path], labels: str) -> str:
    """Return the pattern behind labels of several scenes, else the labels as they are."""
    if "{stem}" in labels or len(sources) < 2:
        return labels
    last = Path(labels)
    for scene in sources:
        stem = scene_stem(scene)
        if not last.name.startswith(stem) or _same(scene) == _same(last):
            continue
        pattern = str(last.with_name("{stem}" + last.name.removeprefix(stem)))
        files = {_same(pattern.replace("{stem}", scene_stem(one))): one for one in sources}
        others = [one for one in sources if _same(one) not in files and _same(one) != _same(last)]
        named = [Path(pattern.replace("{stem}", scene_stem(one))) for one in others]
        if len(named) > 1 and all(one.exists() for one in named):
            return pattern
    return labels


def _holds_classes(source: str | Path) -> bool:
    """Return whether a raster looks like labels: one band of few whole numbers."""
    raster = open_raster(source)
    if raster.count != 1 or not np.issubdtype(np.dtype(raster.dtypes[0]), np.integer):
        return False
    height, width = (min(side, 512) for side in raster.shape)
    return len(np.unique(raster.read(1, out_shape=(height, width)))) <= 64


def _same(path: str | Path) -> str:
    text = str(path)
    return text if "://" in text else str(Path(text).expanduser().absolute())
