"""Show which places of a scene are worth labelling next."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterRasterLayer,
)

from . import parameters as declared
from .algorithm import Algorithm
from .labels import drawn_polygons
from .workplace import workplace


class Suggest(Algorithm):
    """Runs ``rsmeta suggest``."""

    NAME = "suggest"
    TITLE = "Next places to label"
    HELP = (
        "Runs rsmeta suggest: squares that a model is unsure of and that differ in what the scene "
        "shows, the most uncertain first. Draw polygons there and train again. With the "
        "confidence of a finished map this takes seconds; without it, the scene is mapped first."
    )

    def parameters(self) -> list[QgsProcessingParameterDefinition]:
        """Return the parameters."""
        return [
            declared.scene(),
            declared.model(),
            QgsProcessingParameterRasterLayer(
                "CONFIDENCE", "Confidence of a finished map", optional=True
            ),
            declared.polygons("Polygons drawn already", optional=True),
            declared.count("Places"),
            *declared.program("Further options of rsmeta suggest"),
            declared.places(),
        ]

    def processAlgorithm(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        """Write the places."""
        outputs = self.outputs(parameters, context, "PLACES")
        words = [
            "suggest", self.scene(parameters, context, "INPUT"),
            "--model", self.parameterAsFile(parameters, "MODEL", context),
            "--count", str(self.parameterAsInt(parameters, "COUNT", context)),
            "--output", outputs["PLACES"], "--overwrite",
        ]  # fmt: skip
        if parameters.get("CONFIDENCE"):
            words += ["--confidence", self.scene(parameters, context, "CONFIDENCE")]
        source = self.parameterAsSource(parameters, "LABELS", context)
        with workplace(outputs["PLACES"]) as folder:
            if source is not None and source.featureCount():
                words += ["--labels", drawn_polygons(source, folder, context, feedback)]
            words += self.further(parameters, context)
            if not self.rsmeta(words, parameters, context, feedback):
                return {}
        self.style(outputs, context)
        return dict(outputs)
