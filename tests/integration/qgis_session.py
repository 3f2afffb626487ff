"""Runs the Processing script as QGIS does; for the Python of QGIS, not for that of the tests.

``python3 qgis_session.py PARAMETERS.json RESULT.json``: loads what comes out into a project and
writes what a user would see. ``cancel_after`` among the parameters presses Cancel when a line
that contains it has come.
"""

import json
import os
import sys
from pathlib import Path

import qgis
from qgis.core import (
    QgsApplication,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
)

# Where Debian, and where the installers put the plugins.
sys.path.append("/usr/share/qgis/python/plugins")
sys.path.append(str(Path(qgis.__file__).parents[1] / "plugins"))


class Feedback(QgsProcessingFeedback):
    """Remembers what it is told, and cancels on request."""

    def __init__(self, cancel_after=None):
        super().__init__(False)
        self.lines, self.shares, self._cancel_after = [], [], cancel_after
        self.progressChanged.connect(self.shares.append)

    def pushInfo(self, info):
        self.lines.append(info)
        if self._cancel_after and self._cancel_after in info:
            self.cancel()

    def pushWarning(self, warning):
        self.lines.append(warning)

    def reportError(self, error, fatalError=False):
        self.lines.append(error)


def seen(layer):
    """What a user sees of a layer: its legend and whether it is there."""
    renderer = layer.renderer()
    if isinstance(layer, QgsRasterLayer) and renderer.type() == "paletted":
        legend = [[entry.label, entry.color.name()] for entry in renderer.classes()]
    elif renderer.type() != "categorizedSymbol":
        legend = []
    else:
        legend = [[c.label(), c.symbol().color().name()] for c in renderer.categories()]
    return {"valid": layer.isValid(), "crs": layer.crs().authid(), "legend": legend,
            "renderer": renderer.type()}  # fmt: skip


def run(parameters):
    from processing.core.Processing import Processing
    from processing.tools.general import runAndLoadResults

    Processing.initialize()
    feedback = Feedback(parameters.pop("cancel_after", None))
    context = QgsProcessingContext()
    project = QgsProject.instance()
    context.setProject(project)
    scene = QgsRasterLayer(parameters.pop("scene"), "scene")
    project.addMapLayer(scene)
    given = {"INPUT": scene.id(), **parameters}
    told = {"complaint": "", "layers": {}}
    try:
        runAndLoadResults("script:rsmeta_predict", given, feedback, context)
    except QgsProcessingException as error:
        told["complaint"] = str(error)
    others = [layer for layer in project.mapLayers().values() if layer is not scene]
    told["layers"] = {Path(layer.source().split("|")[0]).name: seen(layer) for layer in others}
    told |= {"lines": feedback.lines, "shares": feedback.shares}
    Path(sys.argv[2]).write_text(json.dumps(told))
    # Without a window QGIS falls over the Python objects that it is left with in the end.
    os._exit(0)


application = QgsApplication([], False)
application.initQgis()
run(json.loads(Path(sys.argv[1]).read_text()))
