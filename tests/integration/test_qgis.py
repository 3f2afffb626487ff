"""The Processing script in a QGIS without a screen: what a user sees of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import TinyRun

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "qgis" / "rsmeta_predict.py"
#: The Python that QGIS was installed for.
PYTHON = os.environ.get("QGIS_PYTHON", "/usr/bin/python3")
RSMETA = Path(sys.executable).with_name("rsmeta")


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
def in_qgis(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that runs the script in a QGIS with an empty profile."""
    scripts = tmp_path / "profile" / "profiles" / "default" / "processing" / "scripts"
    scripts.mkdir(parents=True)
    shutil.copy(SCRIPT, scripts)

    def run(**parameters: Any) -> Any:
        asked, answer = tmp_path / "asked.json", tmp_path / "answer.json"
        asked.write_text(json.dumps(parameters, default=str), encoding="utf-8")
        answer.unlink(missing_ok=True)
        program = Path(__file__).with_name("qgis_session.py")
        session = subprocess.run(
            [PYTHON, "-X", "faulthandler", program, asked, answer],
            capture_output=True, text=True, timeout=120, check=False,
            env={
                "PATH": os.environ["PATH"], "HOME": str(tmp_path), "OMP_NUM_THREADS": "1",
                "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(tmp_path),
                "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path / "profile"),
                # As installers of QGIS set it for their own Python.
                "GDAL_DATA": "/nowhere", "PROJ_LIB": "/usr/share/proj",
            },
        )  # fmt: skip
        assert answer.exists(), f"{session.returncode}: {session.stderr}"
        return json.loads(answer.read_text(encoding="utf-8"))

    return run


def test_the_map_comes_with_its_colours_and_names(
    in_qgis: Callable[..., Any], tiny_run: TinyRun, tmp_path: Path
) -> None:
    seen = in_qgis(
        scene=tiny_run.scene, MODEL=tiny_run.bundle, PROGRAM=RSMETA,
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
    seen = in_qgis(**asked, PROGRAM=RSMETA)
    assert "rsmeta: " in seen["complaint"]
    assert str(tmp_path) in seen["complaint"]
    assert not seen["layers"]
    seen = in_qgis(**asked, PROGRAM="not-there-at-all")
    assert "'not-there-at-all' was not found" in seen["complaint"] + " ".join(seen["lines"])


def test_cancelled_and_gone_on_with(
    in_qgis: Callable[..., Any], tiny_run: TinyRun, tmp_path: Path
) -> None:
    asked = {
        "scene": tiny_run.scene, "MODEL": tiny_run.bundle, "PROGRAM": RSMETA,
        "OUTPUT": tmp_path / "map.tif", "OPTIONS": "--device cpu --set block_px=16",
    }  # fmt: skip
    seen = in_qgis(**asked, cancel_after="0%, ")
    assert any("cancelled" in line for line in seen["lines"])
    assert not seen["layers"]
    assert not (tmp_path / "map.tif").exists()
    seen = in_qgis(**asked, RESUME=True)
    assert seen["complaint"] == ""
    assert seen["layers"]["map.tif"]["legend"]
