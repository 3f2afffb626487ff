"""What is installed: the wheel with all that it needs, and the recipes that say the same."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import rsmeta

ROOT = Path(__file__).resolve().parents[2]

#: Names of conda-forge that differ from those of PyPI.
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        tree: dict[str, Any] = tomllib.load(file)["project"]
    return tree


def conda_recipe() -> dict[str, Any]:
    text = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    [version] = re.findall(r'set version = "(.*)"', text)
    text = re.sub(r"{%.*%}", "", text).replace("{{ version }}", version)
    tree: dict[str, Any] = yaml.safe_load(text.replace("{{ PYTHON }}", "python"))
    return tree


def test_the_conda_recipe_asks_for_what_pip_does(project: dict[str, Any]) -> None:
    recipe = conda_recipe()
    assert recipe["package"] == {"name": "rsmeta", "version": rsmeta.__version__}
    wanted = {"python": project["requires-python"]}
    for one in map(Requirement, project["dependencies"]):
        wanted[CONDA.get(one.name, one.name)] = str(one.specifier)
    run = [tuple(line.split()) for line in recipe["requirements"]["run"] if line != "__unix"]
    assert dict(run) == wanted
    [entry] = recipe["build"]["entry_points"]
    assert entry == f"rsmeta = {project['scripts']['rsmeta']}"
    assert recipe["about"]["license"] == project["license"]


def test_metadata_are_whole(project: dict[str, Any]) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == rsmeta.__version__
    assert citation["license"] == project["license"]
    assert {"title", "authors", "message"} <= citation.keys()
    for extra, requirements in project["optional-dependencies"].items():
        assert all(Requirement(one).specifier or extra == "dev" for one in requirements), extra
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    for extra in set(project["optional-dependencies"]) - {"dev"}:
        assert f"| `{extra}` |" in page, extra


def test_every_module_is_in_a_package_that_is_installed() -> None:
    """A folder without ``__init__.py`` works in a checkout, and is missing from a wheel."""
    for top in ("rsmeta", "cli", "configs", "sample_data"):
        for module in (ROOT / top).rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), module


def test_the_image_copies_what_the_wheel_is_built_from() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    needed = ("rsmeta", "cli", "configs", "sample_data", "pyproject.toml", "setup.py", "README.md",
              "LICENSE")  # fmt: skip
    assert not set(ignored) & set(needed)
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    extras = re.search(r'EXTRAS="([\w,]+)"', text)
    with (ROOT / "pyproject.toml").open("rb") as file:
        known = tomllib.load(file)["project"]["optional-dependencies"]
    assert extras is not None
    assert set(extras[1].split(",")) <= known.keys()


#: Shared libraries of Debian's slim images of Python, and packages with further ones.
SLIM = r"(libc|libm|libdl|libpthread|librt|libutil|libgcc_s|libstdc\+\+|libz)\.so"
PACKAGES = {"libexpat.so.1": "libexpat1"}


@pytest.mark.skipif(shutil.which("ldd") is None, reason="needs ldd")
@pytest.mark.parametrize("module", ["rasterio._base", "pyogrio._io", "shapely.lib", "pyproj._crs"])
def test_the_image_has_the_libraries_of_the_wheels(module: str) -> None:
    """A slim image lacks libraries that machines of developers have."""
    file = importlib.import_module(module).__file__
    assert file is not None
    site = Path(file).parents[1]
    if not any(site.glob(f"{Path(file).parent.name}.libs")):
        pytest.skip("not installed from a wheel")
    listed = subprocess.run(["ldd", file], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"(\S+) => (\S+)", listed))
    others = {name for name, path in found.items()
              if str(site) not in path and not re.match(SLIM, name)}  # fmt: skip
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert all(PACKAGES.get(name, name) in image.split() for name in others), others


@pytest.mark.slow
def test_the_wheel_alone_runs_the_demo(tmp_path: Path) -> None:
    """Nothing of the checkout is importable: only the wheel, and what it requires."""
    pytest.importorskip("build")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    source = tmp_path / "source"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, files.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "benchmarks/")):
            place = source / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source],
        check=True, capture_output=True,
    )  # fmt: skip
    [wheel] = tmp_path.glob("rsmeta-*.whl")
    assert wheel.stat().st_size < 10e6
    subprocess.run([*pip, "--target", tmp_path / "site", wheel], check=True)
    assert (tmp_path / "site" / "rsmeta_cli" / "qgis_plugin" / "metadata.txt").is_file()
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "HOME": str(home),
                   "HF_HUB_OFFLINE": "1"}  # fmt: skip

    def run(*words: str) -> str:
        ended = subprocess.run([sys.executable, "-P", *words], cwd=home, env=environment,
                               capture_output=True, text=True)  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    where = run("-c", "import rsmeta, rsmeta_cli, rsmeta.configs as c;"
                "print(rsmeta.__file__, rsmeta_cli.__file__, c.__file__)")  # fmt: skip
    assert all(path.startswith(str(tmp_path / "site")) for path in where.split())
    assert "accuracy" in run("-m", "rsmeta_cli.main", "demo", "--output", "demo").lower()
    assert (home / "demo" / "east_map.tif").stat().st_size > 0
