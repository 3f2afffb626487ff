"""Label image files with a model of whole images: a table, and footprints."""

from __future__ import annotations

import csv
import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rsmeta.bundle import ModelBundle, load_bundle
from rsmeta.bundle.find import bundle_folder
from rsmeta.config.images import ImageSizing
from rsmeta.data.images.files import ImageReader
from rsmeta.data.images.image_set import Pixels
from rsmeta.data.images.listing import images_below
from rsmeta.data.images.pictures import upright
from rsmeta.data.images.resize import to_chip
from rsmeta.errors import BundleError, SceneNotFoundError
from rsmeta.geo.inputs import check_not_an_input
from rsmeta.geo.sources import list_file, read_lists
from rsmeta.geo.stac_parts import footprint_of
from rsmeta.geo.writer import check_output
from rsmeta.inference.device import choose_device
from rsmeta.inference.engine import ready_engine
from rsmeta.workflows.mapping.predict_scenes import with_settings
from rsmeta.workflows.mapping.request import open_for
from rsmeta.workflows.run_folder import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from rsmeta.bundle import BundleRecord
    from rsmeta.config.load import Overrides
    from rsmeta.geo.grid import Grid

logger = logging.getLogger(__name__)

#: Endings of a table of labelled images.
TABLES = frozenset({".csv", ".geojson"})

#: Probability above which an image of a multilabel model has a label.
_THRESHOLD = 0.5

_WGS84 = "EPSG:4326"


@dataclass(frozen=True)
class LabelledImages:
    """Summary of labelling images.

    Attributes:
        table: The CSV file.
        footprints: The GeoJSON file; none where no image is georeferenced.
        rows: One per image, as in the table.
    """

    table: Path
    footprints: Path | None
    rows: list[dict[str, Any]]


def predict_images(
    images: str | Path | Sequence[str | Path],
    bundle: str | Path | ModelBundle,
    *,
    output: str | Path,
    overwrite: bool = False,
    device: str = "auto",
    settings: Overrides = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> LabelledImages:
    """Label image files, each as a whole.

    Args:
        images: Files, folders (searched to their depth), or lists of them (``@list.txt``).
        bundle: A bundle of a classification, multilabel or regression model of whole images.
        output: A name that ends in .csv or .geojson; the other of the two lies beside it, where
            an image is georeferenced.
        overwrite: Replace files that exist.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        settings: A mapping, or ``KEY=VALUE`` strings, over the bundle's ``predict`` settings.
        on_progress: Called with the number of finished images and of all.

    Raises:
        RsmetaError: Anything a user can mend: no images, one that cannot be read, output.
    """
    table, footprints = (Path(output).with_suffix(ending) for ending in (".csv", ".geojson"))
    given = [images] if isinstance(images, str | Path) else list(images)
    files = _files(given)
    lists = (file for file in map(list_file, given) if file is not None)
    models = [] if isinstance(bundle, ModelBundle) else [bundle_folder(bundle)]
    check_not_an_input((table, footprints), [*files, *lists, *models])
    for path in (table, footprints):
        check_output(path, overwrite=overwrite)
    where = choose_device(device)
    loaded = bundle if isinstance(bundle, ModelBundle) else load_bundle(bundle, to_apply=True)
    record = with_settings(loaded.record, settings)
    if record.per == "pixel":
        raise BundleError(
            f"the model is for {record.task} of pixels, and {output} is a table of images; write "
            f"a map instead: --output MAP.tif"
        )
    rows: list[dict[str, Any]] = []
    grids: list[Grid | None] = []
    with ready_engine(loaded, record, where) as engine:
        while len(rows) < len(files):
            batch = files[len(rows) : len(rows) + engine.score.batch_size]
            chips, places = zip(*(_read(path, record) for path in batch), strict=True)
            image, valid = (torch.stack(part).numpy() for part in zip(*chips, strict=True))
            scores = engine.score(image, valid).cpu()
            grids += places
            rows += [
                {"image": str(path), **_columns(score, record)}
                for path, score in zip(batch, scores, strict=True)
            ]
            if on_progress:
                on_progress(len(rows), len(files))
    write_text(table, _as_csv(rows))
    known = [(row, grid) for row, grid in zip(rows, grids, strict=True) if grid is not None]
    if known:
        write_text(footprints, _as_geojson(known))
    else:
        logger.info("no image is georeferenced; there are no footprints to write")
    return LabelledImages(table, footprints if known else None, rows)


def _files(given: Sequence[str | Path]) -> list[Path]:
    """Return image files in their order, those of folders sorted by path."""
    found: dict[Path, None] = {}
    for entry in map(Path, read_lists(given)):
        inside = images_below(entry) if entry.is_dir() else [entry]
        if not inside or not inside[0].exists():
            raise SceneNotFoundError(entry)
        found |= dict.fromkeys(inside)
    return list(found)


def _read(path: Path, record: BundleRecord) -> tuple[tuple[Tensor, Tensor], Grid | None]:
    """Return an image and its validity as the network sees them, and where it lies, if known."""
    image = record.image
    sized = ImageSizing(chip_px=record.tile_px)
    if image is not None:
        sized = ImageSizing(chip_px=record.tile_px, resize=image.resize, resize_px=image.resize_px)
    if image is not None and image.colour == "rgb":
        bands = tuple(band.band for band in record.bands)
        pixels = ImageReader(record.read.rules, bands, as_rgb=True).read(str(path))
        return to_chip(pixels, sized), None
    scene = open_for(path, record)
    chip = scene.read(scene.grid.full_window)
    grid = scene.grid if scene.grid.bounds_lonlat() is not None else None
    return to_chip(upright(Pixels(chip.data, chip.valid), str(path)), sized), grid


def _columns(scores: Tensor, record: BundleRecord) -> dict[str, Any]:
    """Return the columns of one image in a table: label and probability, or number."""
    if record.target is not None:
        return {record.target.name: float(scores[0])}
    shares = dict(zip(record.output.classes, map(float, scores), strict=True))
    columns = {f"p_{name}": round(share, 6) for name, share in shares.items()}
    if record.task == "multilabel":
        found = [name for name, share in shares.items() if share > _THRESHOLD]
        return {"labels": ";".join(found), **columns}
    best = max(shares, key=lambda name: shares[name])
    return {"class": best, "probability": round(shares[best], 6), **columns}


def _as_csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _as_geojson(known: Sequence[tuple[dict[str, Any], Grid]]) -> str:
    features = [
        {"type": "Feature", "properties": row,
         "geometry": footprint_of([grid])}
        for row, grid in known
    ]  # fmt: skip
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=1) + "\n"
