"""Check every image before training begins: its bands or, if requested, all of its pixels."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rsmeta.data.images.files import FileImages
from rsmeta.errors import ImagesError, RsmetaError, counted
from rsmeta.geo.handles import open_raster

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rsmeta.data.images.image_set import ImageSet
    from rsmeta.data.splits import Part

logger = logging.getLogger(__name__)

_PICTURES = (".jpg", ".jpeg", ".png")

#: Threads that look at files; opening one is mostly waiting.
_THREADS = 4


def check_band_counts(sets: Mapping[Part, ImageSet]) -> None:
    """Check that all files have as many bands as the first one.

    Raises:
        ImagesError: One has more or fewer; or cannot be opened.
    """
    files = [one for one in sets.values() if isinstance(one, FileImages) and not one.reader.as_rgb]
    paths = list(dict.fromkeys(path for images in files for path in images.paths))
    if not paths:
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        counts = list(pool.map(_band_count, paths, chunksize=64))
    known = [(path, count) for path, count in zip(paths, counts, strict=True) if count is not None]
    for path, count in known:
        if count != known[0][1]:
            others = sum(c != known[0][1] for _, c in known) - 1
            more = f" (and so {others} more)" if others else ""
            raise ImagesError(
                f"{path} has {counted(count, 'band')}, but {known[0][0]} has {known[0][1]}"
                f"{more}; images of one data set have the same bands (data.colour=rgb makes "
                f"pictures alike)"
            )


def without_corrupt(part: Part, images: ImageSet) -> tuple[ImageSet, tuple[str, ...]]:
    """Read every image; return those that can be read, and the names of the others."""
    with ThreadPoolExecutor(_THREADS) as pool:
        errors = list(pool.map(lambda index: _error_of(images, index), range(len(images))))
    bad = [index for index, error in enumerate(errors) if error is not None]
    if not bad:
        return images, ()
    for index in bad[:5]:
        logger.warning("%s: left out: %s", part, errors[index])
    logger.warning("%s: %d of %d images cannot be read and are left out (data.corrupt=skip)",
                   part, len(bad), len(images))  # fmt: skip
    kept = np.array([i for i, error in enumerate(errors) if error is None], np.int64)
    return images.take(kept), tuple(images.name(index) for index in bad)


def _band_count(path: str) -> int | None:
    """Return the number of bands; none where the file cannot be opened, which reading will say."""
    if path.lower().endswith(_PICTURES):  # PIL is quicker
        try:
            with Image.open(path) as picture:
                return len(picture.getbands())
        except (OSError, SyntaxError):
            return None
    try:
        return int(open_raster(path).count)
    except RsmetaError:
        return None


def _error_of(images: ImageSet, index: int) -> str | None:
    try:
        images.read(index)
    except RsmetaError as error:
        return str(error)
    return None
