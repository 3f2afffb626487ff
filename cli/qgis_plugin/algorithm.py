"""What the algorithms have in common: finding and running rsmeta, layers in and out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsMapLayer,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingParameterDefinition,
    QgsProviderRegistry,
    QgsRasterLayer,
)

from .process import ProgramError, installed_program, run, why_not_there


class Styled(QgsProcessingLayerPostProcessorInterface):
    """Applies the style stored beside a raster or inside a GeoPackage.

    Processing loads results without their styles.
    """

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        """Load the style of a layer that has just been added."""
        message, done = layer.loadDefaultStyle()
        if not done:
            feedback.pushWarning(f"{layer.name()}: its style could not be loaded: {message}")
        layer.triggerRepaint()


# Must outlive the algorithms: layers are loaded after they have been deleted.
STYLED = Styled()


class Algorithm(QgsProcessingAlgorithm):
    """An algorithm that runs rsmeta."""

    #: Name, title and help; each algorithm has its own.
    NAME = TITLE = HELP = ""

    def createInstance(self) -> Algorithm:
        """Return a new one."""
        return type(self)()

    def name(self) -> str:
        """Return the last part of its identifier."""
        return self.NAME

    def displayName(self) -> str:
        """Return its title in the toolbox."""
        return self.TITLE

    def shortHelpString(self) -> str:
        """Return the text beside its dialog."""
        return self.HELP

    def parameters(self) -> list[QgsProcessingParameterDefinition]:
        """Return the parameters, in the order of the dialog; each algorithm has its own."""
        raise NotImplementedError

    def initAlgorithm(self, config: dict[str, Any] | None = None) -> None:
        """Declare the parameters."""
        for parameter in self.parameters():
            self.addParameter(parameter)

    def checkParameterValues(
        self, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> tuple[bool, str]:
        """Complain before any work where rsmeta is not found."""
        why = why_not_there(self._program(parameters, context)[0])
        return (False, why) if why else super().checkParameterValues(parameters, context)

    def further(self, parameters: dict[str, Any], context: QgsProcessingContext) -> list[str]:
        """Return the further options as words."""
        return shlex.split(self.parameterAsString(parameters, "OPTIONS", context))

    def rsmeta(
        self,
        words: list[str],
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        cwd: str | None = None,
    ) -> bool:
        """Run a command of rsmeta; return whether it has finished, and was not cancelled."""
        command, environment = self._program(parameters, context)
        feedback.pushCommandInfo(shlex.join(["rsmeta", *words]))
        try:
            return run([*command, *words], feedback, environment=environment, cwd=cwd)
        except ProgramError as error:
            raise QgsProcessingException(str(error)) from error

    def outputs(
        self, parameters: dict[str, Any], context: QgsProcessingContext, *names: str
    ) -> dict[str, str]:
        """Return the files of the layers that are asked for, by the names of the parameters."""
        found = {name: self.parameterAsOutputLayer(parameters, name, context) for name in names}
        return {name: path for name, path in found.items() if path}

    def style(self, outputs: dict[str, str], context: QgsProcessingContext) -> None:
        """Have layers loaded with their styles."""
        for path in outputs.values():
            if context.willLoadLayerOnCompletion(path):
                context.layerToLoadOnCompletionDetails(path).setPostProcessor(STYLED)

    def scene(self, parameters: dict[str, Any], context: QgsProcessingContext, name: str) -> str:
        """Return the name under which rsmeta opens what a raster layer shows."""
        layer = self.parameterAsRasterLayer(parameters, name, context)
        if layer is None:
            raise QgsProcessingException(self.invalidRasterError(parameters, name))
        return address(layer)

    def _program(
        self, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> tuple[list[str], dict[str, str]]:
        given = self.parameterAsString(parameters, "PROGRAM", context)
        return ([given], {}) if given else installed_program(Path(__file__).parent)


def address(layer: QgsRasterLayer) -> str:
    """Return the name under which rsmeta opens what a layer shows."""
    if layer.providerType() != "gdal":
        raise QgsProcessingException(
            f"{layer.name()} is a layer of the kind {layer.providerType()!r}, not a raster file: "
            "save it as GeoTIFF first (Export, Save As)"
        )
    parts = QgsProviderRegistry.instance().decodeUri("gdal", layer.source())
    # A part of a container (NetCDF, GeoPackage) is known by its whole name.
    name = str(layer.source() if parts.get("layerName") else parts["path"])
    return str(Path(name).absolute()) if Path(name).exists() else name
