"""The whole way once, on made-up ground: a pretrained backbone goes over to another sensor."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsmeta.config.resources import config_dir
from rsmeta.errors import OutputError, one_line
from rsmeta.gis.outputs.quicklook import quicklook
from rsmeta.sample_data import make_landscape
from rsmeta.workflows.evaluate_map import evaluate_map
from rsmeta.workflows.mapping.predict_scenes import predict
from rsmeta.workflows.mapping.request import open_for
from rsmeta.workflows.train import train

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DemoResult:
    """Where the demo left what it made.

    Attributes:
        bundle: The trained model.
        scene: The scene that was mapped.
        map: Its map.
        picture: Scene, truth and map side by side.
        scores: The map against the truth, as ``evaluate_map`` gives them.
    """

    bundle: Path
    scene: Path
    map: Path
    picture: Path
    scores: dict[str, Any]


def demo(output: str | Path, *, progress: bool = False) -> DemoResult:
    """Adapt the nano backbone to the west of a made-up landscape and map its east.

    The backbone was pretrained on Sentinel-2-like scenes of other places; the landscape is seen
    as Landsat 8 sees it.

    Args:
        output: Folder for everything; an earlier demo's run in it is replaced.
        progress: Draw a progress bar.

    Raises:
        OutputError: The folder cannot be written.
    """
    output = Path(output)
    try:
        data = make_landscape(output / "data", sensor="landsat8")
        shutil.rmtree(output / "run", ignore_errors=True)
    except OSError as error:
        raise OutputError(f"cannot write the demo to {output} ({one_line(error)})") from error
    logger.info("made a landscape of %d Landsat-8-like scenes in %s", len(data.scenes), data.folder)
    east = data.scenes[1]
    run = train(
        config_dir() / "experiments" / "demo.yaml",
        [f"data.root={data.folder}"],
        output=output / "run",
        progress=progress,
    )
    predict(east, run.bundle, output=output / "east_map.tif", if_exists="overwrite")
    scores = evaluate_map(output / "east_map.tif", data.labels[1], ignore=(0,))
    record = run.bundle.record
    quicklook(
        output / "east_map.png",
        open_for(east, record),
        [("truth", data.labels[1]), ("map", output / "east_map.tif")],
        record.classes,
    )
    return DemoResult(
        bundle=output / "run" / "bundle",
        scene=east,
        map=output / "east_map.tif",
        picture=output / "east_map.png",
        scores=scores.as_dict(),
    )
