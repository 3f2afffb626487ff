"""Parameters that several algorithms have: made here, so that they are called and act alike."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
)

#: An output that is made only if the user names it.
ON_REQUEST: dict[str, Any] = {"optional": True, "createByDefault": False}


def advanced(parameter: QgsProcessingParameterDefinition) -> QgsProcessingParameterDefinition:
    """Return a parameter that is folded away."""
    parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
    return parameter


def scene() -> QgsProcessingParameterDefinition:
    """Return the scene."""
    return QgsProcessingParameterRasterLayer("INPUT", "Scene")


def model() -> QgsProcessingParameterDefinition:
    """Return the folder of a trained model."""
    folder = QgsProcessingParameterFile.Folder
    return QgsProcessingParameterFile("MODEL", "Model (folder of a run)", behavior=folder)


def polygons(title: str, **options: Any) -> QgsProcessingParameterDefinition:
    """Return a layer of polygons."""
    return QgsProcessingParameterFeatureSource(
        "LABELS", title, [QgsProcessing.TypeVectorPolygon], **options
    )


def count(title: str) -> QgsProcessingParameterDefinition:
    """Return how many places to label are shown."""
    return QgsProcessingParameterNumber("COUNT", title, defaultValue=20, minValue=1)


def map_and_confidence() -> list[QgsProcessingParameterDefinition]:
    """Return the map, and how certain it is."""
    return [
        QgsProcessingParameterRasterDestination("OUTPUT", "Map"),
        QgsProcessingParameterRasterDestination("CONFIDENCE", "Confidence", **ON_REQUEST),
    ]


def places(**options: Any) -> QgsProcessingParameterDefinition:
    """Return the layer of the next places to label."""
    return QgsProcessingParameterVectorDestination("PLACES", "Next places to label", **options)


def program(options: str) -> list[QgsProcessingParameterDefinition]:
    """Return the program, and its further options under a title."""
    return [
        advanced(QgsProcessingParameterString(name, title, optional=True))
        for name, title in (
            ("PROGRAM", "Program rsmeta, if not the installed one"), ("OPTIONS", options),
        )
    ]  # fmt: skip
