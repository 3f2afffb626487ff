"""An HTML page of the data behind a configuration: most label errors are seen there."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from rsmeta.config import Settings, load_settings
from rsmeta.config.load import dump_settings
from rsmeta.data.build_splits import build_splits
from rsmeta.errors import ConfigError
from rsmeta.geo.inputs import check_not_an_input
from rsmeta.geo.writer import check_output
from rsmeta.gis.page.page import Page, render
from rsmeta.workflows.data_pictures import (
    picture_of_bands,
    picture_of_chips,
    picture_of_counts,
    picture_of_split,
)
from rsmeta.workflows.run_folder import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rsmeta.workflows.data_pictures import Parts


def data_page(
    config: str | Path, *, output: str | Path | None = None, overwrite: bool = False
) -> Path:
    """Write a page with chips and their labels, the split, counts of classes and band values.

    Args:
        config: Configuration with scenes and classes.
        output: HTML file; none: the configuration's name with ``.html``.
        overwrite: Replace an existing file.

    Returns:
        Path of the page.

    Raises:
        ConfigError: The configuration has no classes of pixels.
        RsmetaError: Scenes or labels cannot be used, or the page cannot be written.
    """
    path = Path(output) if output is not None else Path(config).with_suffix(".html")
    check_output(path, overwrite=overwrite)
    check_not_an_input([path], [config])
    settings = load_settings(config)
    if not settings.per_pixel or not settings.scenes.classes:
        raise ConfigError(f"{config} has no classes of pixels; a page shows these alone")
    parts = build_splits(settings.scenes, seed=settings.seed)
    write_text(path, render(_page(Path(config), settings, parts)))
    return path


def _page(config: Path, settings: Settings, parts: Parts) -> Page:
    data = settings.scenes
    scenes = {one.labelled.scene.name for part in parts.values() for one in part}
    labelled = {part: sum(int(i.index.class_counts.sum()) for i in one)
                for part, one in parts.items() if one}  # fmt: skip
    facts = [
        ("classes", f"{len(data.classes)}"),
        ("scenes" if len(scenes) > 1 else "scene", f"{len(scenes)}"),
        ("bands", f"{len(parts['train'][0].labelled.scene.bands)}"),
        *((f"labelled px, {part}", f"{count:,}") for part, count in labelled.items()),
    ]
    pictures = [
        ("Labels over imagery", "chips of each class, without and with their labels",
         picture_of_chips(parts, data.classes, data.chip_px)),
        ("Split", "cells of 16 px that hold labels of each part", picture_of_split(parts)),
        ("Labelled pixels", "of each class, by part", picture_of_counts(parts, data.classes)),
        ("Band values", "of labelled training pixels; a class with two peaks may be two classes",
         picture_of_bands(parts, data.classes)),
    ]  # fmt: skip
    return Page(
        config.stem, "Training data",
        facts=[{"name": name, "value": value} for name, value in facts],
        pictures=[{"title": title, "note": note, "data": _png(figure)}
                  for title, note, figure in pictures],
        settings=[{"name": "configuration with all defaults", "text": dump_settings(settings)}],
    )  # fmt: skip


def _png(figure: Figure) -> str:
    """Return a figure as an address that holds its picture."""
    memory = io.BytesIO()
    figure.savefig(memory, dpi=100, format="png")
    return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode()
