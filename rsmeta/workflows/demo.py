"""Run the whole workflow: adapt a pretrained backbone to synthetic data, or map a public scene."""

from __future__ import annotations

import contextlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsmeta.config.resources import config_dir
from rsmeta.errors import OutputError, one_line
from rsmeta.gis.outputs.quicklook import quicklook
from rsmeta.sample_data import make_landscape
from rsmeta.workflows.evaluate_map import evaluate_map
from rsmeta.workflows.init.init import init
from rsmeta.workflows.mapping.predict_scenes import predict
from rsmeta.workflows.mapping.request import open_for
from rsmeta.workflows.public_scenes import BEAUFORT, PublicScene, fetch_scene
from rsmeta.workflows.report import MapSources, report
from rsmeta.workflows.train import train

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

#: File that marks the folder of a demo, whose content a later demo may replace.
_MARKER = ".rsmeta_demo"


@dataclass(frozen=True)
class DemoResult:
    """Outputs of the demo.

    Attributes:
        bundle: The trained model.
        scene: The mapped scene.
        map: The map.
        picture: Scene, truth and map side by side.
        scales: The learned scales of the adapters, over the steps and by block and position.
        report: Page of the run and its map.
        scores: Accuracy of the map, as in ``MapAccuracy.as_dict``.
        held_out: Macro F1 on labels of the trained scene that were held out: of the model
            (``model``), of a random forest on single pixels (``forest``), and of ``model: auto``
            (``auto``).
    """

    bundle: Path
    scene: Path
    map: Path
    picture: Path
    scales: Path
    report: Path
    scores: dict[str, Any]
    held_out: dict[str, float]


def demo(output: str | Path, *, progress: bool = False) -> DemoResult:
    """Adapt the nano backbone to the west of a synthetic landscape and map its east.

    The backbone was pretrained on other synthetic places; the landscape is rendered as Landsat 8
    would see it. How strongly each adapter acts is learned, too.

    Args:
        output: Folder for all outputs; the run of an earlier demo in it is replaced.
        progress: Show a progress bar.

    Raises:
        OutputError: The folder cannot be written.
    """
    output = Path(output)
    with _written(output):
        data = make_landscape(output / "data", sensor="landsat8")
    logger.info("created %d Landsat-8-like scenes in %s", len(data.scenes), data.folder)
    east = data.scenes[1]
    config, place = config_dir() / "experiments" / "demo.yaml", f"data.root={data.folder}"
    run = train(config, [place, "meta=first_order"], output=output / "run", progress=progress)
    auto = train(
        config, [place, "model=auto", "tuner=head", "trainer.baseline=false"],
        output=output / "run_auto", progress=progress,
    )  # fmt: skip
    predict(east, run.bundle, output=output / "east_map.tif", if_exists="overwrite")
    scores = evaluate_map(output / "east_map.tif", data.labels[1], ignore=(0,))
    record = run.bundle.record
    quicklook(
        output / "east_map.png",
        open_for(east, record),
        [("truth", data.labels[1]), ("map", output / "east_map.tif")],
        record.classes,
    )
    page = report(
        output / "run", output / "east_map.tif", output=output / "report.html", overwrite=True,
        sources=MapSources(scene=east, reference=data.labels[1], ignore=(0,)),
    )  # fmt: skip
    return DemoResult(
        bundle=output / "run" / "bundle",
        scene=east,
        map=output / "east_map.tif",
        picture=output / "east_map.png",
        scales=output / "run" / "plots" / "scales.png",
        report=page,
        scores=scores.as_dict(),
        held_out={
            "model": run.metrics["validation"]["macro_f1"],
            "forest": run.metrics["baseline"]["forest"]["validation"]["macro_f1"],
            "auto": auto.metrics["validation"]["macro_f1"],
        },
    )


@dataclass(frozen=True)
class RealDemoResult:
    """Outputs of the demo on a public scene.

    Attributes:
        public: The scene, its licence and address.
        bundle: The trained model.
        scene: The mapped scene.
        config: The guessed configuration.
        map: The map.
        picture: Scene and map side by side.
        report: Page of the run and its map.
        chosen: Model that was chosen.
        held_out: Macro F1 on held-out polygons: of the model (``model``) and of a random forest
            on single pixels (``forest``).
    """

    public: PublicScene
    bundle: Path
    scene: Path
    config: Path
    map: Path
    picture: Path
    report: Path
    chosen: str
    held_out: dict[str, float]


def real_demo(
    output: str | Path, *, source: str | None = None, progress: bool = False
) -> RealDemoResult:
    """Fetch a public scene with polygons, guess a configuration, train, map and report.

    Args:
        output: Folder for all outputs; the run of an earlier demo in it is replaced, what it has
            fetched is kept.
        source: Another address, or a folder, with the files of the scene.
        progress: Show a progress bar.

    Raises:
        SceneError: The scene is unavailable.
        OutputError: The folder cannot be written.
    """
    output, public = Path(output), BEAUFORT
    with _written(output):
        (output / "public").mkdir(exist_ok=True)
    scene, labels = fetch_scene(public, output / "public", source=source)
    logger.info("%s; %s", public.title, public.licence)
    config = output / "config.yaml"
    init(scene, labels=labels, output=config, overwrite=True)
    run = train(config, output=output / "run", progress=progress)
    predict(scene, run.bundle, output=output / "map.tif", if_exists="overwrite")
    record = run.bundle.record
    quicklook(
        output / "map.png", open_for(scene, record), [("map", output / "map.tif")], record.classes
    )
    page = report(
        output / "run", output / "map.tif", output=output / "report.html", overwrite=True,
        sources=MapSources(scene=scene),
    )  # fmt: skip
    metrics = run.metrics
    return RealDemoResult(
        public=public, bundle=output / "run" / "bundle", scene=scene, config=config,
        map=output / "map.tif", picture=output / "map.png", report=page,
        chosen=metrics["selection"]["chosen"],
        held_out={
            "model": metrics["validation"]["macro_f1"],
            "forest": metrics["baseline"]["forest"]["validation"]["macro_f1"],
        },
    )  # fmt: skip


@contextlib.contextmanager
def _written(output: Path) -> Iterator[None]:
    """Prepare the folder of a demo, and say in one line where it cannot be written."""
    marker = output / _MARKER
    if output.is_file() or (output.exists() and any(output.iterdir()) and not marker.exists()):
        raise OutputError(f"{output} holds something other than a demo; choose another folder")
    try:
        output.mkdir(parents=True, exist_ok=True)
        marker.touch()
        yield
        for run in ("run", "run_auto"):
            shutil.rmtree(output / run, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"cannot write the demo to {output} ({one_line(error)})") from error
