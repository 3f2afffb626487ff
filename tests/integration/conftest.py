"""One small trained model, and the command line called as a user calls it."""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import geopandas
import numpy as np
import pytest
import shapely
import torch
from affine import Affine

from rsmeta_cli.main import main
from tests.integration.image_data import FOLDER, write_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MakeScene

BANDS = ("green", "red", "nir")

#: Ten lines, two scenes of 96 x 96 pixels, a network of two narrow blocks: trained in a second.
CONFIG = """\
data:
  scenes: [west.tif, east.tif]
  labels: "{stem}_labels.tif"
  classes: {1: bare, 2: meadow}
  chip_px: 32
  chips_per_epoch: 16
  batch_size: 4
  split: {test: 0.2}
model:
  pretrained: false  # on purpose: some tests freeze random weights
  options: {img_size: 32, patch_size: 8, embed_dim: 32, depth: 2, num_heads: 2}
  head: linear
tuner: full
trainer: {max_epochs: 2, accelerator: cpu, keep_checkpoints: true, optimizer: {lr: 0.003}}
"""


#: Biomass follows the second band: 100 t/ha and more where it is bright.
BIOMASS = """\
task: regression
data:
  scenes: [west.tif, east.tif]
  labels: "{stem}_biomass.tif"
  target: {name: biomass, unit: t/ha, scale: 0.1}
  chip_px: 32
  chips_per_epoch: 48
  batch_size: 4
  split: {test: 0.2}
model:
  pretrained: false
  options: {img_size: 32, patch_size: 8, embed_dim: 32, depth: 2, num_heads: 2}
tuner: full
trainer: {max_epochs: 4, accelerator: cpu, optimizer: {lr: 0.005}}
"""


@dataclass(frozen=True)
class TinyRun:
    """A finished run and what it was trained on; tests read it and change nothing in it."""

    data: Path
    config: Path
    folder: Path

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def scene(self) -> Path:
        return self.data / "west.tif"

    @property
    def labels(self) -> Path:
        return self.data / "west_labels.tif"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that says what is wrong; asserts that there is just one."""
        lines = [line for line in self.err.splitlines() if line.startswith("rsmeta: ")]
        assert len(lines) == 1, self.err
        assert self.err.rstrip().endswith(lines[0]), self.err
        assert "Traceback" not in self.err + self.out
        return lines[0]


class Rsmeta(Protocol):
    """Signature of the fixture ``rsmeta``."""

    def __call__(self, *words: object) -> Ended: ...


class MakePolygons(Protocol):
    """Signature of the fixture ``make_polygons``."""

    def __call__(self, path: Path, **columns: Any) -> Path: ...


class RunToEnd(Protocol):
    """Signature of the fixture ``run_to_end``."""

    def __call__(self, *words: object) -> None: ...


@contextlib.contextmanager
def command_line() -> Iterator[None]:
    """Put back the library's logger, which the command line takes over; compute on one thread.

    Networks as small as these are quickest so, above all beside other work.
    """
    logger = logging.getLogger("rsmeta")
    before = (logger.handlers[:], logger.level, logger.propagate)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        logger.handlers, logger.level, logger.propagate = before


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    with command_line():
        yield


@pytest.fixture(scope="session")
def run_to_end() -> RunToEnd:
    """Return a function that runs ``rsmeta``, which must succeed; for fixtures of a session."""

    def run(*words: object) -> None:
        with command_line(), pytest.raises(SystemExit) as ended:
            main(["--quiet", *map(str, words)])
        assert ended.value.code == 0

    return run


@pytest.fixture
def rsmeta(capsys: pytest.CaptureFixture[str]) -> Rsmeta:
    """Return a function that runs ``rsmeta`` in this process and tells how it ended."""

    def run(*words: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, captured.out, captured.err)

    return run


def write_data(folder: Path, make_scene: MakeScene) -> Path:
    """Write two scenes with labels, a chequered field each, and return the folder."""
    rng = np.random.default_rng(0)
    row, col = np.mgrid[:96, :96]
    classes = (1 + (row // 24 + col // 24) % 2).astype(np.uint8)
    for name, left in (("west", 500_000.0), ("east", 502_000.0)):
        place = Affine(10.0, 0.0, left, 0.0, -10.0, 5_150_000.0)
        means = 1000 + classes * np.array([200, 500, 900])[:, np.newaxis, np.newaxis]
        image = rng.normal(means, 60).astype(np.uint16)
        image[:, :6, :9] = 0
        make_scene(folder / f"{name}.tif", image, descriptions=BANDS, transform=place, nodata=0)
        make_scene(folder / f"{name}_labels.tif", classes, transform=place)
    return folder


@pytest.fixture(scope="session")
def tiny_run(
    tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene, run_to_end: RunToEnd
) -> TinyRun:
    """Train one tiny model through the command line, once for all tests."""
    folder = tmp_path_factory.mktemp("tiny")
    data = write_data(folder / "data", make_scene)
    run = TinyRun(data, folder / "config.yaml", folder / "run")
    run.config.write_text(CONFIG, encoding="utf-8")
    run_to_end("train", run.config, f"data.root={data}", "--output", run.folder)
    return run


@pytest.fixture
def bundle_copy(tiny_run: TinyRun, tmp_path: Path) -> Path:
    """A copy of the trained bundle that a test may damage."""
    return Path(shutil.copytree(tiny_run.bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def make_polygons() -> MakePolygons:
    """Return a function that writes two polygons on the western scene, in degrees."""

    def make(path: Path, **columns: Any) -> Path:
        boxes = [shapely.box(x, 5_149_200, x + 300, 5_149_900) for x in (500_050, 500_500)]
        frame = geopandas.GeoDataFrame(columns, geometry=boxes, crs="EPSG:32633")
        frame.to_crs("EPSG:4326").to_file(path)
        return path

    return make


@pytest.fixture(scope="session")
def image_run(
    tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene, run_to_end: RunToEnd
) -> Path:
    """Train a tiny classifier of images, once; return ``data``, ``config.yaml`` and ``run``."""
    folder = tmp_path_factory.mktemp("images")
    write_images(folder / "data", make_scene)
    (folder / "config.yaml").write_text(FOLDER, encoding="utf-8")
    run_to_end("train", folder / "config.yaml", f"data.root={folder / 'data'}",
               "--output", folder / "run")  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def biomass(
    tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene, run_to_end: RunToEnd
) -> Path:
    """Train on two scenes, once; return the folder with ``data``, ``config.yaml`` and ``run``."""
    folder = tmp_path_factory.mktemp("biomass")
    rng = np.random.default_rng(0)
    row, col = np.mgrid[:96, :96]
    for name, left in (("west", 500_000.0), ("east", 502_000.0)):
        place = Affine(10.0, 0.0, left, 0.0, -10.0, 5_150_000.0)
        growth = 0.5 + 0.5 * np.sin(row / 9) * np.cos(col / 13)
        image = rng.normal(1000 + np.stack([0 * growth, 900 * growth]), 30).astype(np.uint16)
        image[:, :6, :9] = 0
        tenths = (1000 + 1500 * growth).astype(np.int16)
        tenths[50:60, :30] = -9999
        make_scene(folder / f"data/{name}.tif", image, descriptions=("red", "nir"), transform=place,
                   nodata=0)  # fmt: skip
        make_scene(folder / f"data/{name}_biomass.tif", tenths, transform=place, nodata=-9999)
    (folder / "config.yaml").write_text(BIOMASS, encoding="utf-8")
    root = f"data.root={folder / 'data'}"
    run_to_end("train", folder / "config.yaml", root, "--output", folder / "run")
    return folder


@pytest.fixture
def heard() -> Iterator[None]:
    """Let Ctrl-C be heard, which programs that are started in the background ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
