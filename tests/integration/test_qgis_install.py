"""``rsmeta qgis``: the plugin goes into the right profile, and nothing else changes there."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rsmeta_cli.qgis_plugin.process import progress_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Rsmeta, TinyRun

SETTINGS = """\
[General]
locale=de_DE

[PythonPlugins]
processing=true
other\\key=@Variant(\\0\\0\\0\\x1)

[qgis]
name=Büro
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of QGIS's profiles, with two of them."""
    monkeypatch.delenv("QGIS_CUSTOM_CONFIG_PATH", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "mit Leer zeichen"))
    profiles = tmp_path / "mit Leer zeichen" / "QGIS" / "QGIS3" / "profiles"
    for name in ("default", "Büro"):
        (profiles / name / "QGIS").mkdir(parents=True)
    return profiles


def test_installed_enabled_and_removed_again(rsmeta: Rsmeta, home: Path) -> None:
    profile = home / "default"
    settings = profile / "QGIS" / "QGIS3.ini"
    settings.write_text(SETTINGS, encoding="utf-8")
    assert "installed  no" in rsmeta("qgis").out
    for _ in range(2):  # the second replaces the first
        ended = rsmeta("qgis", "--install")
        assert (ended.status, ended.err) == (0, "")
        assert str(profile) in ended.out
    plugin = profile / "python" / "plugins" / "rsmeta_qgis"
    assert {"__init__.py", "metadata.txt", "train.py", "program.json"} <= {
        file.name for file in plugin.iterdir()
    }
    assert not list(plugin.rglob("__pycache__"))
    assert not list(plugin.parent.glob(".*"))
    lines = settings.read_text(encoding="utf-8").splitlines()
    assert lines.count("rsmeta_qgis=true") == 1
    assert lines[lines.index("rsmeta_qgis=true") - 1] == "[PythonPlugins]"
    assert [line for line in lines if line != "rsmeta_qgis=true"] == SETTINGS.splitlines()
    assert f"runs       {sys.executable} -m rsmeta_cli.main" in rsmeta("qgis").out
    assert rsmeta("qgis", "--uninstall").status == 0
    assert not plugin.exists()
    assert settings.read_text(encoding="utf-8") == SETTINGS
    assert rsmeta("qgis", "--uninstall").status == 0


@pytest.mark.parametrize(
    ("known", "profile"),
    [
        ("[core]\ndefaultProfile=Büro\n", "Büro"),
        ("[core]\nlastProfile=Büro\nselectionPolicy=1\n", "Büro"),
        ("[core]\nlastProfile=Büro\nselectionPolicy=0\n", "default"),
        ("", "default"),
    ],
)
def test_the_profile_that_qgis_starts_with(
    rsmeta: Rsmeta, home: Path, known: str, profile: str
) -> None:
    (home / "profiles.ini").write_text(known, encoding="utf-8")
    assert rsmeta("qgis", "--install").status == 0
    [plugin] = home.rglob("rsmeta_qgis")
    assert plugin == home / profile / "python" / "plugins" / "rsmeta_qgis"


@pytest.mark.parametrize("kind", ["name", "folder"])
def test_a_profile_that_is_named(rsmeta: Rsmeta, home: Path, kind: str) -> None:
    named = "Büro" if kind == "name" else home / "Büro"
    assert rsmeta("qgis", "--install", "--profile", named).status == 0
    assert (home / "Büro" / "python" / "plugins" / "rsmeta_qgis").is_dir()
    [settings] = home.rglob("QGIS3.ini")
    assert settings.read_text(encoding="utf-8") == "[PythonPlugins]\nrsmeta_qgis=true\n"


def test_complaints(
    rsmeta: Rsmeta, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaint = rsmeta("qgis", "--install", "--profile", "Buro").complaint
    assert "no profile 'Buro'; it has: Büro, default" in complaint
    plugins = home / "default" / "python"
    plugins.write_text("a file where a folder belongs", encoding="utf-8")
    assert f"cannot change the profile {home / 'default'}" in rsmeta("qgis", "--install").complaint
    monkeypatch.setenv("QGIS_CUSTOM_CONFIG_PATH", str(tmp_path / "nowhere"))
    complaint = rsmeta("qgis", "--install").complaint
    assert f"no profile of QGIS in {tmp_path / 'nowhere' / 'profiles'}; start QGIS" in complaint


@pytest.mark.slow
def test_the_noted_command_runs_rsmeta_anywhere(rsmeta: Rsmeta, home: Path, tmp_path: Path) -> None:
    rsmeta("qgis", "--install")
    [file] = home.rglob("program.json")
    command = json.loads(file.read_text(encoding="utf-8"))["command"]
    said = subprocess.run(
        [*command, "--version"], cwd=tmp_path, env={}, capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("rsmeta, version")


def test_the_plugin_understands_the_progress_of_training(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    ended = rsmeta(
        "train", tiny_run.config, f"data.root={tiny_run.data}", "trainer.baseline=false",
        "--output", tmp_path / "run",
    )  # fmt: skip
    found = [progress_of(line) for line in ended.err.splitlines()]
    assert [one for one in found if one is not None] == [50, 100]
