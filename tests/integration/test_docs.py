"""Every command, configuration and piece of Python on the pages works as it stands there.

Commands in ``sh`` blocks are run to their end, in order, on made-up files of the names that the
pages use. Training is made small by further overrides; nothing else is changed. ``console``
blocks (make, pip) are not run.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import shapely
import yaml
from PIL import Image

from rsmeta.config import load_settings
from rsmeta.config.load import read_settings
from rsmeta.config.pretrain import PretrainSettings
from rsmeta.geo.sensors import load_sensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta, RunToEnd

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "docs" / "notebooks"
ALL_PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
PAGES = [page for page in ALL_PAGES if page.parent != NOTEBOOKS]  # they: test_docs_site.py
CLASSES = ("water", "forest", "field")

#: Makes a training command short: it must run, not learn.
SMALL = (
    "data.chip_px=32", "data.chips_per_epoch=4", "data.batch_size=2", "trainer.max_epochs=1",
    "trainer.accelerator=cpu", "trainer.baseline=false",
    "model.pretrained=false",
    "model.options={img_size: 32, patch_size: 8, embed_dim: 48, depth: 2, num_heads: 2}",
)  # fmt: skip

#: The same for pretraining; where a page trains with what it left, both have one size.
SMALL_PRETRAINING = (
    *SMALL[:-2],
    "model.options={img_size: 32, patch_size: 8, embed_dim: 48, channel_embed: 32, depth: 2, "
    "num_heads: 2}",
)


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a language on a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^ *```{language}\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(match[1]) for match in found]


def commands(page: Path) -> list[list[str]]:
    """Return the words of each rsmeta command in the page's sh blocks."""
    lines = [
        line
        for block in blocks(page, "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("rsmeta ")
    ]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def configurations(page: Path) -> list[dict[str, Any]]:
    """Return the training configurations on a page."""
    return [tree for tree in _with_data(page) if _trains(tree["data"])]


def pretrainings(page: Path) -> list[dict[str, Any]]:
    """Return the configurations of pretraining on a page."""
    return [tree for tree in _with_data(page) if not _trains(tree["data"])]


def _trains(data: Any) -> bool:
    """Whether a ``data`` section has labels: a preset, a kind of images, or labelled scenes."""
    return isinstance(data, str) or not {"labels", "kind", "preset"}.isdisjoint(data)


def _with_data(page: Path) -> list[dict[str, Any]]:
    trees = [yaml.safe_load(block) for block in blocks(page, "yaml")]
    return [tree for tree in trees if "data" in tree]


PAGES_WITH_COMMANDS = [page for page in PAGES if commands(page)]


def write_item(
    folder: Path, image: NDArray[Any], names: Sequence[str], make_scene: MakeScene
) -> None:
    """Write a STAC item with a file per band, as catalogues have it."""
    assets = {}
    for band, name in zip(image, names, strict=True):
        make_scene(folder / "assets" / f"{name}.tif", band[np.newaxis])
        assets[name] = {
            "href": f"./assets/{name}.tif", "type": "image/tiff; application=geotiff",
            "eo:bands": [{"name": name, "common_name": name}],
        }  # fmt: skip
    item: dict[str, Any] = {
        "type": "Feature", "stac_version": "1.0.0", "id": "S2A_33TWM_20260701_0_L2A",
        "assets": assets, "geometry": None, "links": [],
        "properties": {"datetime": "2026-07-01T10:00:31Z", "platform": "sentinel-2a"},
    }  # fmt: skip
    (folder / "item.json").write_text(json.dumps(item), encoding="utf-8")


@pytest.fixture(scope="session")
def workplace(
    tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene, run_to_end: RunToEnd
) -> Path:
    """Folder with the files that the pages name, and a trained model in ``run``."""
    folder = tmp_path_factory.mktemp("workplace")
    rng = np.random.default_rng(0)
    row, col = np.mgrid[:96, :96]
    labels = (1 + (row // 12 + col // 12) % 3).astype(np.uint8)
    image = rng.normal(1000 + 300.0 * labels * np.ones((4, 1, 1)), 50).astype(np.uint16)
    labels[:3] = 0
    names = ("blue", "green", "red", "nir")
    make_scene(folder / "scene.tif", image, descriptions=names)
    make_scene(folder / "scenes" / "one.tif", image, descriptions=names)
    make_scene(folder / "scenes" / "two.tif", image, descriptions=names)
    make_scene(folder / "labels.tif", labels)
    write_item(folder, image, names, make_scene)
    for i, name in enumerate(CLASSES):
        (folder / "pictures" / name).mkdir(parents=True)
        for j in range(6):
            picture = rng.normal(60 * (i + 1), 5, (40, 40, 3)).astype(np.uint8)
            Image.fromarray(picture).save(folder / "pictures" / name / f"{j}.png")
    squares = [
        shapely.box(500_000 + 120 * i, 5_149_880 - 120 * j, 500_120 + 120 * i, 5_150_000 - 120 * j)
        for i in range(8)
        for j in range(7)  # the south is left for suggestions
    ]
    named = [CLASSES[(i + j) % 3] for i in range(8) for j in range(7)]
    frame = geopandas.GeoDataFrame({"class": named}, geometry=squares, crs="EPSG:32633")
    frame.to_crs("EPSG:4326").to_file(folder / "labels.gpkg")
    frame[:20].to_file(folder / "aoi.gpkg")
    tree = configurations(ROOT / "docs" / "train.md")[0]
    (folder / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    run_to_end(
        "train", folder / "config.yaml", f"data.root={folder}", *SMALL, "--output", folder / "run"
    )
    return folder


@pytest.fixture
def here(
    workplace: Path, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of the workplace as the current folder, with the page's own configuration."""
    page: Path = request.getfixturevalue("page")
    folder = Path(shutil.copytree(workplace, tmp_path / "workplace"))
    for name, trees in (
        ("config.yaml", configurations(page)), ("pretrain.yaml", pretrainings(page)),
    ):  # fmt: skip
        if trees:
            (folder / name).write_text(yaml.safe_dump(trees[0]), encoding="utf-8")
    if any(words[0] == "train" for words in commands(page)):
        shutil.rmtree(folder / "run")
    if any(words[0] == "init" for words in commands(page)):
        (folder / "config.yaml").unlink()
    monkeypatch.chdir(folder)
    return folder


def named_outputs(words: list[str]) -> list[Path]:
    options = ("--output", "--probabilities", "--confidence", "--entropy", "--quicklook", "--stac")
    return [Path(words[i + 1]) for i, word in enumerate(words) if word in options]


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=lambda page: page.stem)
def test_commands_on_the_page_work(rsmeta: Rsmeta, page: Path, here: Path) -> None:
    sweeps = any("sweep" in tree for tree in configurations(page)[:1])
    training = (*SMALL, "sweep.seeds=[0]") if sweeps else SMALL
    for words in commands(page):
        small = {"train": training, "pretrain": SMALL_PRETRAINING}.get(words[0], ())
        if words[0] == "train" and (here / "config.yaml").read_text().startswith("# Guessed"):
            small = (*SMALL[:-1], "model=pixels")
        ended = rsmeta(*words, *small)
        assert ended.status == 0, f"rsmeta {shlex.join(words)}: {ended.err}"
        for path in named_outputs(words):
            assert path.exists(), f"rsmeta {shlex.join(words)} left no {path}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem
)
@pytest.mark.usefixtures("here")
def test_python_on_the_page_works(page: Path) -> None:
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), {})


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "yaml")], ids=lambda page: page.stem
)
def test_yaml_on_the_page_loads(page: Path) -> None:
    for given in map(yaml.safe_load, blocks(page, "yaml")):
        tree = given
        if "bands" in tree:
            assert load_sensor(tree).bands
            continue
        if "data" not in tree:  # a section of a configuration
            tree = {"data": {"scenes": "s.tif", "labels": "l.tif", "classes": ["a", "b"]}} | tree
        if tree in pretrainings(page):
            assert read_settings(PretrainSettings, tree).data.scenes
        else:
            settings = load_settings(tree)
            assert settings.data.kind
            model, tuners = settings.model, settings.tuner
            methods = [one.method for one in (tuners if isinstance(tuners, tuple) else (tuners,))]
            random = not (
                model.pretrained or model.checkpoint or model.backbone in ("pixels", "auto")
            )
            assert not random or methods == ["full"], "random weights stay frozen"


def test_the_pages_are_there() -> None:
    names = {page.stem for page in PAGES_WITH_COMMANDS}
    assert names >= {
        "README",
        "datasets",
        "evaluate",
        "pretrain",
        "recipes",
        "train",
        "predict",
        "report",
        "sensors",
    }


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.stem)
def test_links_on_the_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_architecture_page_names_files_that_are_there() -> None:
    """What lies where: relative to the library, or to the repository."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page[page.index("## Where to find what") : page.index("## Size and shape")]
    named = re.findall(r"`([\w/]+(?:\.py|/))`", table)
    assert len(named) > 80
    for name in named:
        places = (ROOT / "rsmeta" / name, ROOT / name)
        assert any(place.exists() for place in places), name
