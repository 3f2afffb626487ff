"""Runs an algorithm of the plugin as QGIS does; for the Python of QGIS, not for that of the tests.

``python3 qgis_session.py PARAMETERS.json RESULT.json``: loads what comes out into a project and
writes what a user would see. Among the parameters, ``algorithm`` names it; ``scene`` and
``polygons`` are files that are opened as layers, the latter in memory, with its polygons
``selected`` by an expression; ``cancel_after`` presses Cancel once a line that contains it came.
"""

import json
import os
import sys
from pathlib import Path

import qgis
from qgis.core import (
    QgsApplication,
    QgsFeatureRequest,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

# Where Debian, and where the installers put the plugins.
sys.path.append("/usr/share/qgis/python/plugins")
sys.path.append(str(Path(qgis.__file__).parents[1] / "plugins"))
# Where a user's plugins are.
PROFILE = Path(os.environ["QGIS_CUSTOM_CONFIG_PATH"], "profiles", "default")
sys.path.append(str(PROFILE / "python" / "plugins"))


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
    elif renderer.type() == "singleSymbol":
        legend = [["", renderer.symbol().symbolLayer(0).strokeColor().name()]]
    elif renderer.type() != "categorizedSymbol":
        legend = []
    else:
        legend = [[c.label(), c.symbol().color().name()] for c in renderer.categories()]
    return {"valid": layer.isValid(), "crs": layer.crs().authid(), "legend": legend,
            "renderer": renderer.type(), "title": layer.name(),
            "labelled": isinstance(layer, QgsVectorLayer) and layer.labelsEnabled()}  # fmt: skip


def in_memory(file, selected):
    """Return the polygons of a file as a layer in memory, some of them selected."""
    request = QgsFeatureRequest()
    layer = QgsVectorLayer(file, "polygons").materialize(request)
    layer.selectByExpression(selected)
    QgsProject.instance().addMapLayer(layer)
    return QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True)


def run(parameters):
    from processing.core.Processing import Processing
    from processing.tools.general import runAndLoadResults

    Processing.initialize()
    import rsmeta_qgis

    plugin = rsmeta_qgis.classFactory(None)
    plugin.initProcessing()
    feedback = Feedback(parameters.pop("cancel_after", None))
    context = QgsProcessingContext()
    project = QgsProject.instance()
    context.setProject(project)
    scene = QgsRasterLayer(parameters.pop("scene"), "scene")
    project.addMapLayer(scene)
    given = {"INPUT": scene.id(), **parameters}
    algorithm = given.pop("algorithm")
    if "polygons" in given:
        given["LABELS"] = in_memory(given.pop("polygons"), given.pop("selected"))
    before = set(project.mapLayers())
    told = {"complaint": "", "layers": {}}
    try:
        runAndLoadResults(algorithm, given, feedback, context)
    except QgsProcessingException as error:
        told["complaint"] = str(error)
    others = [layer for name, layer in project.mapLayers().items() if name not in before]
    told["layers"] = {Path(layer.source().split("|")[0]).name: seen(layer) for layer in others}
    told |= {"lines": feedback.lines, "shares": feedback.shares}
    plugin.unload()
    Path(sys.argv[2]).write_text(json.dumps(told))
    # Without a window QGIS falls over the Python objects that it is left with in the end.
    os._exit(0)


application = QgsApplication([], False)
application.initQgis()
run(json.loads(Path(sys.argv[1]).read_text()))
