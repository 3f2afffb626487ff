"""Map a raster layer with a trained model."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterExtent,
    QgsProcessingParameterVectorDestination,
)

from . import parameters as declared
from .algorithm import Algorithm


class Predict(Algorithm):
    """Runs ``rsmeta predict``."""

    NAME = "predict"
    TITLE = "Map a scene with a trained model"
    HELP = (
        "Runs rsmeta predict on a raster layer and loads the map with its colours and class "
        "names. The model is the folder of a training run. Bands are matched by name. "
        "Cancelling keeps finished blocks: run again with the same output file and 'Resume' to "
        "continue."
    )

    def parameters(self) -> list[QgsProcessingParameterDefinition]:
        """Return the parameters."""
        resume = QgsProcessingParameterBoolean("RESUME", "Resume a cancelled run", False)
        return [
            declared.scene(),
            declared.model(),
            QgsProcessingParameterExtent("EXTENT", "Only this part", optional=True),
            *declared.program("Further options of rsmeta predict"),
            declared.advanced(resume),
            *declared.map_and_confidence(),
            QgsProcessingParameterVectorDestination("VECTOR", "Polygons", **declared.ON_REQUEST),
        ]

    def processAlgorithm(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        """Map the scene."""
        outputs = self.outputs(parameters, context, "OUTPUT", "CONFIDENCE", "VECTOR")
        words = self._words(parameters, context, outputs)
        if not self.rsmeta(words, parameters, context, feedback):
            feedback.pushInfo("cancelled; run again with 'Resume' to continue")
            return {}
        self.style(outputs, context)
        return dict(outputs)

    def _words(
        self, parameters: dict[str, Any], context: QgsProcessingContext, outputs: dict[str, str]
    ) -> list[str]:
        """Return the command that makes what is asked for."""
        model = self.parameterAsFile(parameters, "MODEL", context)
        words = ["predict", self.scene(parameters, context, "INPUT"), "--model", model]
        for key, path in outputs.items():
            words += [f"--{key.lower()}", path]
        if parameters.get("EXTENT"):
            degrees = QgsCoordinateReferenceSystem("EPSG:4326")
            part = self.parameterAsExtent(parameters, "EXTENT", context, degrees)
            sides = (part.xMinimum(), part.yMinimum(), part.xMaximum(), part.yMaximum())
            words += ["--bounds", *(f"{side:.9f}" for side in sides)]
        # QGIS has asked whether a file that is there may be replaced.
        resume = self.parameterAsBool(parameters, "RESUME", context)
        return [*words, "--resume" if resume else "--overwrite", *self.further(parameters, context)]
