"""The plugin in a QGIS without a screen: what a user sees of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas
import pytest
import shapely

from rsmeta_cli.qgis_profiles import install

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import TinyRun

#: The Python that QGIS was installed for.
PYTHON = os.environ.get("QGIS_PYTHON", "/usr/bin/python3")


def _has_qgis() -> bool:
    if not Path(PYTHON).exists():
        return False
    asked = [PYTHON, "-c", "import qgis.core"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.skipif(not _has_qgis(), reason="QGIS with its Python is not installed"),
    pytest.mark.slow,
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a QGIS whose profile holds the plugin."""
    profile = tmp_path / "profile" / "profiles" / "default"
    profile.mkdir(parents=True)
    install(profile)
    return {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "OMP_NUM_THREADS": "1",
        "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(tmp_path),
        "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path / "profile"),
        # As installers of QGIS set it for their own Python.
        "GDAL_DATA": "/nowhere", "PROJ_LIB": "/usr/share/proj",
    }  # fmt: skip


@pytest.fixture
def in_qgis(tmp_path: Path, environment: dict[str, str]) -> Callable[..., Any]:
    """Return a function that runs an algorithm in a QGIS."""

    def run(algorithm: str, **parameters: Any) -> Any:
        asked, answer = tmp_path / "asked.json", tmp_path / "answer.json"
        text = json.dumps({"algorithm": f"rsmeta:{algorithm}", **parameters}, default=str)
        asked.write_text(text, encoding="utf-8")
        answer.unlink(missing_ok=True)
        program = Path(__file__).with_name("qgis_session.py")
        session = subprocess.run(
            [PYTHON, "-X", "faulthandler", program, asked, answer],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        assert answer.exists(), f"{session.returncode}: {session.stderr}"
        return json.loads(answer.read_text(encoding="utf-8"))

    return run


@pytest.fixture
def polygons(tmp_path: Path) -> Path:
    """Polygons in other degrees: five of each of two classes, two of no class."""
    corners = [(24 * i + 5, 24 * j + 5) for i in range(4) for j in range(3)]
    kinds = [("Wiese", "nackter Böden")[(col // 24 + row // 24) % 2] for col, row in corners]
    boxes = [
        shapely.box(500_000 + 10 * col, 5_150_000 - 10 * row - 140, 500_000 + 10 * col + 140,
                    5_150_000 - 10 * row) for col, row in corners
    ]  # fmt: skip
    columns = {"nr": range(12), "Nutzung": [*kinds[:10], None, ""]}
    path = tmp_path / "Büro 1" / "Flächen.gpkg"
    path.parent.mkdir()
    geopandas.GeoDataFrame(columns, geometry=boxes, crs="EPSG:32633").to_crs(4326).to_file(path)
    return path


#: Makes training short: it must run, not learn.
QUICK = "model=pixels trainer.baseline=false"


def test_from_polygons_to_a_map_and_the_next_places(
    in_qgis: Callable[..., Any], tiny_run: TinyRun, polygons: Path, tmp_path: Path
) -> None:
    folder = polygons.parent
    seen = in_qgis(
        "train", scene=tiny_run.scene, polygons=polygons, selected="nr > 1", CLASS="Nutzung",
        OPTIONS=QUICK, COUNT=3, MODEL=folder / "Modell ä", OUTPUT=folder / "Karte 1.tif",
        PLACES=folder / "nächste.gpkg",
    )  # fmt: skip
    assert seen["complaint"] == "", seen["lines"]
    assert set(seen["layers"]) == {"Karte 1.tif", "nächste.gpkg"}
    assert {layer["crs"] for layer in seen["layers"].values()} == {"EPSG:32633"}
    names = [name for name, _ in seen["layers"]["Karte 1.tif"]["legend"]]
    assert names == ["nackter Böden", "Wiese"]
    places = seen["layers"]["nächste.gpkg"]
    assert (places["legend"], places["labelled"]) == ([["", "#ff00aa"]], True)
    assert any("2 polygons have no 'Nutzung'" in line for line in seen["lines"])
    assert seen["shares"] == sorted(seen["shares"])
    assert seen["shares"][-1] == 100
    drawn = geopandas.read_file(folder / "Modell ä" / "labels.gpkg")
    assert set(drawn["class"]) == set(names)  # of the selected ones
    assert len(drawn) == 8
    found = geopandas.read_file(folder / "nächste.gpkg", layer="places")
    assert found["place"].tolist() == [1, 2, 3]
    assert not found.intersects(drawn.to_crs(found.crs).union_all()).any()
    assert {file.name for file in folder.iterdir() if file.name[0] == "."} == set()
    again = in_qgis(
        "predict", scene=tiny_run.data / "east.tif", MODEL=folder / "Modell ä",
        OUTPUT=folder / "Ost.tif",
    )  # fmt: skip
    assert [name for name, _ in again["layers"]["Ost.tif"]["legend"]] == names
    taken = in_qgis(
        "train", scene=tiny_run.scene, LABELS=polygons, CLASS="Nutzung",
        MODEL=folder / "Modell ä", OUTPUT=folder / "Karte 2.tif",
    )  # fmt: skip
    assert "choose a new folder" in taken["complaint"] + " ".join(taken["lines"])
    assert (folder / "Modell ä" / "bundle").is_dir()


def test_the_model_may_be_temporary(
    in_qgis: Callable[..., Any], tiny_run: TinyRun, polygons: Path, tmp_path: Path
) -> None:
    """What the dialog asks for as long as no folder is named."""
    seen = in_qgis(
        "train", scene=tiny_run.scene, LABELS=polygons, CLASS="Nutzung", OPTIONS=QUICK,
        MODEL="TEMPORARY_OUTPUT", OUTPUT=tmp_path / "map.tif",
    )  # fmt: skip
    assert seen["complaint"] == "", seen["lines"]
    assert len(seen["layers"]["map.tif"]["legend"]) == 2
    assert not Path("TEMPORARY_OUTPUT").exists()


@pytest.mark.parametrize("after", ["labelled pixels", "Mpx"])
def test_cancelled_training_leaves_nothing_half_made(
    in_qgis: Callable[..., Any], tiny_run: TinyRun, polygons: Path, after: str
) -> None:
    folder = polygons.parent
    seen = in_qgis(
        "train", scene=tiny_run.scene, LABELS=polygons, CLASS="Nutzung", OPTIONS=QUICK,
        MODEL=folder / "model", OUTPUT=folder / "map.tif", cancel_after=after,
    )  # fmt: skip
    assert any("cancelled" in line for line in seen["lines"])
    assert not seen["layers"]
    left = {file.name for file in folder.iterdir()} - {polygons.name}
    assert left == ({"model"} if after == "Mpx" else set())


def test_a_fault_of_training_is_said_in_one_line(
    in_qgis: Callable[..., Any], tiny_run: TinyRun, polygons: Path
) -> None:
    folder = polygons.parent
    seen = in_qgis(
        "train", scene=tiny_run.scene, polygons=polygons, selected="nr = 3", CLASS="Nutzung",
        MODEL=folder / "model", OUTPUT=folder / "map.tif",
    )  # fmt: skip
    assert "rsmeta: labels.gpkg: on the scenes, class is" in seen["complaint"]
    assert not {file.name for file in folder.iterdir()} - {polygons.name}


def test_qgis_finds_the_plugin_by_itself(environment: dict[str, str]) -> None:
    program = next(
        (name for name in ("qgis_process.bin", "qgis_process") if shutil.which(name)), None
    )
    if program is None:
        pytest.skip("qgis_process is not installed")
    listed = subprocess.run(
        [program, "list"], capture_output=True, text=True, env=environment, check=True
    )
    for title in ("Train a model from polygons and map the scene", "Next places to label"):
        assert title in listed.stdout


def test_the_map_comes_with_its_colours_and_names(
    in_qgis: Callable[..., Any], tiny_run: TinyRun, tmp_path: Path
) -> None:
    seen = in_qgis(
        "predict", scene=tiny_run.scene, MODEL=tiny_run.bundle,
        OUTPUT=tmp_path / "map.tif", CONFIDENCE=tmp_path / "sure.tif",
        VECTOR=tmp_path / "fields.gpkg", OPTIONS="--device cpu --set block_px=64",
    )  # fmt: skip
    assert seen["complaint"] == "", seen["lines"]
    assert set(seen["layers"]) == {"map.tif", "sure.tif", "fields.gpkg"}
    assert all(layer["valid"] for layer in seen["layers"].values())
    assert {layer["crs"] for layer in seen["layers"].values()} == {"EPSG:32633"}
    legend = seen["layers"]["map.tif"]["legend"]
    assert [name for name, _ in legend] == ["bare", "meadow"]
    assert len({colour for _, colour in legend}) == 2
    assert seen["layers"]["sure.tif"]["renderer"] == "singlebandpseudocolor"
    assert [entry for entry in seen["layers"]["fields.gpkg"]["legend"] if entry in legend] == legend
    assert max(seen["shares"]) == 100


def test_a_fault_is_said_in_one_line(
    in_qgis: Callable[..., Any], tiny_run: TinyRun, tmp_path: Path
) -> None:
    asked = {"scene": tiny_run.scene, "MODEL": tmp_path, "OUTPUT": tmp_path / "map.tif"}
    seen = in_qgis("predict", **asked)
    assert "rsmeta: " in seen["complaint"]
    assert str(tmp_path) in seen["complaint"]
    assert not seen["layers"]
    seen = in_qgis("predict", **asked, PROGRAM="not-there-at-all")
    assert "'not-there-at-all' was not found" in seen["complaint"] + " ".join(seen["lines"])


def test_cancelled_and_gone_on_with(
    in_qgis: Callable[..., Any], tiny_run: TinyRun, tmp_path: Path
) -> None:
    asked = {
        "scene": tiny_run.scene, "MODEL": tiny_run.bundle,
        "OUTPUT": tmp_path / "map.tif", "OPTIONS": "--device cpu --set block_px=16",
    }  # fmt: skip
    seen = in_qgis("predict", **asked, cancel_after="0%, ")
    assert any("cancelled" in line for line in seen["lines"])
    assert not seen["layers"]
    assert not (tmp_path / "map.tif").exists()
    seen = in_qgis("predict", **asked, RESUME=True)
    assert seen["complaint"] == ""
    assert seen["layers"]["map.tif"]["legend"]
