"""QGIS Processing script: maps the selected raster layer with a trained rsmeta model.

It runs ``rsmeta predict`` in the environment where rsmeta is installed; the Python of QGIS needs
no packages. Installation: README.md in this folder.
"""

from __future__ import annotations

import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import threading
from typing import IO, Any

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsMapLayer,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFile,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsProviderRegistry,
    QgsRasterLayer,
    QgsSettings,
)

#: Setting that stores the path of the program.
PROGRAM_KEY = "rsmeta/program"

#: Set by QGIS for its own Python and libraries; another environment must not see them.
FOREIGN = ("PYTHONHOME", "PYTHONPATH", "GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA")

#: Seconds the program has to finish its files after it is asked to stop.
PATIENCE_S = 30


class Styled(QgsProcessingLayerPostProcessorInterface):
    """Applies the style stored beside a raster or inside a GeoPackage.

    Processing loads results without their styles.
    """

    def postProcessLayer(  # noqa: D102
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        message, done = layer.loadDefaultStyle()
        if not done:
            feedback.pushWarning(f"{layer.name()}: its style could not be loaded: {message}")
        layer.triggerRepaint()


# Must outlive the algorithm: layers are loaded after it has been deleted.
STYLED = Styled()


class Predict(QgsProcessingAlgorithm):
    """Maps a raster layer with a trained model."""

    def createInstance(self) -> Predict:  # noqa: D102
        return Predict()

    def name(self) -> str:  # noqa: D102
        return "rsmeta_predict"

    def displayName(self) -> str:  # noqa: D102
        return "Map a scene with a trained model"

    def group(self) -> str:  # noqa: D102
        return "rsmeta"

    def groupId(self) -> str:  # noqa: D102
        return "rsmeta"

    def shortHelpString(self) -> str:  # noqa: D102
        return (
            "Runs rsmeta predict on a raster layer and loads the map with its colours and class "
            "names. The model is the folder 'bundle' of a training run. Bands are matched by "
            "name. Cancelling keeps finished blocks: run again with the same output file and "
            "'Resume' to continue."
        )

    def initAlgorithm(self, config: dict[str, Any] | None = None) -> None:  # noqa: D102
        folder = QgsProcessingParameterFile.Folder
        self.addParameter(QgsProcessingParameterRasterLayer("INPUT", "Scene"))
        self.addParameter(
            QgsProcessingParameterFile("MODEL", "Model (folder bundle)", behavior=folder)
        )
        self.addParameter(QgsProcessingParameterExtent("EXTENT", "Only this part", optional=True))
        program = QgsSettings().value(PROGRAM_KEY, "rsmeta")
        for parameter in (
            QgsProcessingParameterString("PROGRAM", "Program rsmeta (name or path)", program),
            QgsProcessingParameterString(
                "OPTIONS", "Further options, as on the command line", optional=True
            ),
            QgsProcessingParameterBoolean("RESUME", "Resume a cancelled run", defaultValue=False),
        ):
            parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
            self.addParameter(parameter)
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", "Map"))
        on_request = {"optional": True, "createByDefault": False}
        self.addParameter(
            QgsProcessingParameterRasterDestination("CONFIDENCE", "Confidence", **on_request)
        )
        self.addParameter(
            QgsProcessingParameterVectorDestination("VECTOR", "Polygons", **on_request)
        )

    def checkParameterValues(  # noqa: D102
        self, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> tuple[bool, str]:
        program = self.parameterAsString(parameters, "PROGRAM", context)
        if shutil.which(program) is None:
            return False, (
                f"the program {program!r} was not found: give its full path (Advanced "
                "parameters), e.g. /home/me/rsmeta/.venv/bin/rsmeta"
            )
        return super().checkParameterValues(parameters, context)

    def processAlgorithm(  # noqa: D102
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        outputs = {
            key: self.parameterAsOutputLayer(parameters, key, context)
            for key in ("OUTPUT", "CONFIDENCE", "VECTOR")
        }
        outputs = {key: path for key, path in outputs.items() if path}
        words = self._words(parameters, context, outputs)
        feedback.pushCommandInfo(shlex.join(words))
        run(words, feedback)
        if feedback.isCanceled():
            return {}
        QgsSettings().setValue(PROGRAM_KEY, words[0])
        for path in outputs.values():
            if context.willLoadLayerOnCompletion(path):
                context.layerToLoadOnCompletionDetails(path).setPostProcessor(STYLED)
        return outputs

    def _words(
        self, parameters: dict[str, Any], context: QgsProcessingContext, outputs: dict[str, str]
    ) -> list[str]:
        """Return the command that makes what is asked for."""
        scene = address(self.parameterAsRasterLayer(parameters, "INPUT", context))
        words = [
            self.parameterAsString(parameters, "PROGRAM", context),
            *("predict", scene, "--model", self.parameterAsFile(parameters, "MODEL", context)),
        ]
        for key, path in outputs.items():
            words += [f"--{key.lower()}", path]
        if parameters.get("EXTENT"):
            degrees = QgsCoordinateReferenceSystem("EPSG:4326")
            part = self.parameterAsExtent(parameters, "EXTENT", context, degrees)
            sides = (part.xMinimum(), part.yMinimum(), part.xMaximum(), part.yMaximum())
            words += ["--bounds", *(f"{side:.9f}" for side in sides)]
        # QGIS has asked whether a file that is there may be replaced.
        resume = self.parameterAsBool(parameters, "RESUME", context)
        words.append("--resume" if resume else "--overwrite")
        further = self.parameterAsString(parameters, "OPTIONS", context)
        return [*words, *shlex.split(further, posix=os.name == "posix")]


def address(layer: QgsRasterLayer) -> str:
    """Return the name under which rsmeta opens what a layer shows."""
    if layer.providerType() != "gdal":
        raise QgsProcessingException(
            f"{layer.name()} is a layer of the kind {layer.providerType()!r}, not a raster file: "
            "save it as GeoTIFF first (Export, Save As)"
        )
    parts = QgsProviderRegistry.instance().decodeUri("gdal", layer.source())
    # A part of a container (NetCDF, GeoPackage) is known by its whole name.
    return layer.source() if parts.get("layerName") else parts["path"]


def run(words: list[str], feedback: QgsProcessingFeedback) -> None:
    """Run a command, pass on what it says, and stop it when the user cancels."""
    hidden = {} if os.name == "posix" else {"creationflags": subprocess.CREATE_NO_WINDOW}
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={key: value for key, value in os.environ.items() if key not in FOREIGN},
        **hidden,
    )
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        last = _follow(lines, feedback)
    finally:
        if process.poll() is None and feedback.isCanceled():
            _stop(process)
    status = process.wait()
    reader.join(PATIENCE_S)
    if feedback.isCanceled():
        feedback.pushInfo("cancelled; what is finished is kept for another run that goes on")
    elif status != 0:
        raise QgsProcessingException(last or f"{words[0]} ended with status {status}")


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line.rstrip())
    lines.put(None)


def _follow(lines: queue.Queue[str | None], feedback: QgsProcessingFeedback) -> str:
    """Pass lines on until there are no more or the user cancels; return the last complaint."""
    complaint = ""
    while not feedback.isCanceled():
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            continue
        if line is None:
            break
        share = re.search(r": (\d+)%, ", line)
        if share:
            feedback.setProgress(float(share[1]))
        if line.startswith(("rsmeta: ", "Error: ")):
            complaint = line
        tell = feedback.pushWarning if line.startswith("warning: ") else feedback.pushInfo
        tell(line)
    return complaint


def _stop(process: subprocess.Popen[str]) -> None:
    """End the program as Ctrl-C would, where there is such a thing; the map can be resumed."""
    if os.name == "posix":
        process.send_signal(signal.SIGINT)
    else:
        process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
