"""The QGIS plugin: rsmeta in the Processing toolbox.

``rsmeta qgis --install`` copies this folder into a profile of QGIS, whose Python may be as old as
3.9 and holds neither rsmeta nor its packages: these files import QGIS and the standard library
alone, and rsmeta is run as a program of its own environment.
"""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:
    """Return the plugin, as QGIS asks for it; the interface is none in ``qgis_process``."""
    from .provider import Plugin

    return Plugin()
