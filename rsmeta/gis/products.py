"""The rasters that mapping a scene gives: classes, probabilities, confidence.

A map names its classes, their values and colours in its tags; what is written here is read back
here too.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.config.data import ClassSpec
from rsmeta.errors import OutputError, SceneError
from rsmeta.geo.handles import open_raster
from rsmeta.geo.writer import RasterWriter, check_output
from rsmeta.gis.cog import publish_cog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rasterio.windows import Window

    from rsmeta.geo.grid import Grid

#: Tag that names the classes of a map, as JSON: [{value, name, colour}, …].
CLASSES_TAG = "RSMETA_CLASSES"


@dataclass(frozen=True)
class Products:
    """Which rasters to write for one scene.

    Attributes:
        classes: The class map, uint8 with a nodata value.
        probabilities: One float32 band per class, NaN where nothing is known.
        confidence: The largest probability, float32, NaN where nothing is known.
    """

    classes: Path
    probabilities: Path | None = None
    confidence: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are asked for."""
        asked = (self.classes, self.probabilities, self.confidence)
        return tuple(path for path in asked if path is not None)


def check_products(products: Sequence[Products], *, overwrite: bool) -> None:
    """Refuse, before any work, files that cannot be written, and files named twice.

    Raises:
        OutputError: Two products have one name, a file exists and ``overwrite`` is not given,
            or a folder cannot be written.
    """
    seen: set[Path] = set()
    for path in (path for one in products for path in one.paths):
        if path.resolve() in seen:
            raise OutputError(f"{path} would be written twice; name different files")
        seen.add(path.resolve())
        check_output(path, overwrite=overwrite)


class ProductWriter:
    """Writes the products of one scene block by block; used inside ``writing``.

    Attributes:
        class_pixels: Pixels written so far per class, (K,) int64.
    """

    def __init__(
        self,
        classes: Sequence[ClassSpec],
        nodata: int,
        map_: RasterWriter,
        probabilities: RasterWriter | None,
        confidence: RasterWriter | None,
    ) -> None:
        self._values = np.array([spec.value for spec in classes], dtype=np.uint8)
        self._nodata = nodata
        self._map = map_
        self._probabilities = probabilities
        self._confidence = confidence
        self.class_pixels = np.zeros(len(classes), dtype=np.int64)

    def write(self, scores: np.ndarray, valid: np.ndarray, window: Window) -> None:
        """Write one block into every raster.

        Args:
            scores: Probabilities, (K, h, w); K may be 0 where nothing is valid.
            valid: (h, w) bool; elsewhere nodata is written.
            window: Place of the block in the rasters.
        """
        if not len(scores):
            scores = np.zeros((len(self._values), *valid.shape), dtype=np.float32)
        best = scores.argmax(axis=0)
        self._map.write(np.where(valid, self._values[best], np.uint8(self._nodata))[None], window)
        if self._probabilities is not None:
            self._probabilities.write(np.where(valid, scores, np.float32(np.nan)), window)
        if self._confidence is not None:
            surest = np.where(valid, scores.max(axis=0), np.float32(np.nan))
            self._confidence.write(surest[None], window)
        self.class_pixels += np.bincount(best[valid], minlength=len(self._values))


@contextlib.contextmanager
def writing(
    products: Products,
    grid: Grid,
    classes: Sequence[ClassSpec],
    *,
    nodata: int,
    tags: Mapping[str, str],
    overwrite: bool = False,
) -> Iterator[ProductWriter]:
    """Open the products of one scene; each becomes a COG under its name at a clean end.

    Args:
        products: Which files.
        grid: Their grid.
        classes: Values, names and colours of the map.
        nodata: Value of the map where nothing is known.
        tags: Metadata of every file; the classes are added.
        overwrite: Replace files that exist.

    Raises:
        OutputError: A file cannot be written.
    """
    listed = [{"value": s.value, "name": s.name, "colour": s.colour} for s in classes]
    tags = {**tags, CLASSES_TAG: json.dumps(listed, ensure_ascii=False)}
    colours = {spec.value: (*spec.rgb, 255) for spec in classes} | {nodata: (0, 0, 0, 0)}
    writer = partial(RasterWriter, grid=grid, overwrite=overwrite, tags=tags)
    shares = partial(
        writer, dtype="float32", nodata=float("nan"),
        publish=partial(publish_cog, overviews="average"),
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        map_ = writer(
            products.classes, count=1, dtype="uint8", nodata=nodata, colormap=colours,
            descriptions=["class"], publish=partial(publish_cog, overviews="mode"),
        )  # fmt: skip
        probabilities = confidence = None
        if products.probabilities is not None:
            names = [spec.name for spec in classes]
            probabilities = stack.enter_context(
                shares(products.probabilities, count=len(names), descriptions=names)
            )
        if products.confidence is not None:
            confidence = stack.enter_context(
                shares(products.confidence, count=1, descriptions=["confidence"])
            )
        stack.enter_context(map_)
        yield ProductWriter(classes, nodata, map_, probabilities, confidence)


def map_classes(path: str | Path) -> tuple[ClassSpec, ...]:
    """Read the classes of a map that ``writing`` wrote.

    Raises:
        SceneError: The file cannot be read, or is no such map.
    """
    tag = open_raster(str(path)).tags().get(CLASSES_TAG)
    if tag is None:
        raise SceneError(f"{path} does not name its classes; give a map written by rsmeta predict")
    return tuple(ClassSpec.model_validate(entry) for entry in json.loads(tag))
