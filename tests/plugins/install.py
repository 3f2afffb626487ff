"""Install the example package into a folder as pip would, without a network."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def install(site: Path) -> Path:
    """Copy the package and write its metadata; the folder belongs on ``sys.path``."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shutil.copytree(HERE / "rsmeta_example", site / "rsmeta_example")
    write_metadata(site, project["name"], project["version"], project["entry-points"])
    return site


def write_metadata(
    site: Path, name: str, version: str, entry_points: dict[str, dict[str, str]]
) -> None:
    """Write the ``dist-info`` folder of a package."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, points in entry_points.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()), "")
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
