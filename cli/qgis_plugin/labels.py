"""Polygons of a layer as a file that rsmeta reads, whatever the layer is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgis.core import (
    QgsFeature,
    QgsField,
    QgsFields,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSource,
    QgsProcessingFeedback,
    QgsVectorFileWriter,
)
from qgis.PyQt.QtCore import QVariant

if TYPE_CHECKING:
    from pathlib import Path

#: Name of the file, and of the column of classes in it.
FILE, COLUMN = "labels.gpkg", "class"


def drawn_polygons(
    source: QgsProcessingFeatureSource,
    folder: Path,
    context: QgsProcessingContext,
    feedback: QgsProcessingFeedback,
    field: str = "",
) -> str:
    """Write the polygons of a layer, as they are shown: edits, filter and selection count.

    Args:
        source: The layer.
        folder: Where the file is written.
        context: Of the algorithm.
        feedback: Of the algorithm.
        field: Field of the classes; polygons without a class are left out. Empty: none.

    Returns:
        The file.
    """
    column = source.fields().indexOf(field) if field else -1
    if field and column < 0:
        raise QgsProcessingException(f"the polygons have no field {field!r}; choose another")
    fields = QgsFields()
    if field:
        is_number = source.fields().at(column).isNumeric()
        fields.append(QgsField(COLUMN, QVariant.Double if is_number else QVariant.String))
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName, options.layerName, options.fileEncoding = "GPKG", "labels", "UTF-8"
    file = str(folder / FILE)
    writer = QgsVectorFileWriter.create(
        file, fields, source.wkbType(), source.sourceCrs(), context.transformContext(), options
    )
    unnamed = 0
    for feature in source.getFeatures():
        row = QgsFeature(fields)
        row.setGeometry(feature.geometry())
        if field:
            value = feature[column]
            if value is None or (hasattr(value, "isNull") and value.isNull()) or value == "":
                unnamed += 1
                continue
            row.setAttributes([float(value) if is_number else str(value)])
        if not writer.addFeature(row):
            raise QgsProcessingException(f"the polygons cannot be written: {writer.errorMessage()}")
    message = writer.errorMessage()
    del writer  # closes the file
    if message:
        raise QgsProcessingException(f"the polygons cannot be written to {file}: {message}")
    if unnamed:
        feedback.pushWarning(f"{unnamed} polygons have no {field!r} and are left out")
    return file
