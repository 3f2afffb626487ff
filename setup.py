"""List the packages to install; everything else about the project stands in ``pyproject.toml``.

The library lies in ``rsmeta/`` and three packages beside it (see ``package-dir`` there). Found
here rather than listed, so that a new sub-package cannot be forgotten.
"""

from __future__ import annotations

from setuptools import find_packages, setup

FOLDERS = {
    "rsmeta": "rsmeta",
    "rsmeta.configs": "configs",
    "rsmeta.sample_data": "sample_data",
    "rsmeta_cli": "cli",
}

setup(
    packages=[
        package
        for name, folder in FOLDERS.items()
        for package in (name, *(f"{name}.{below}" for below in find_packages(folder)))
    ]
)
