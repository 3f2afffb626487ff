"""From a raster layer and polygons to a model, a map, and the places to label next."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingMultiStepFeedback,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterField,
    QgsProcessingParameterFolderDestination,
)

from . import parameters as declared
from .algorithm import Algorithm
from .labels import FILE, drawn_polygons
from .workplace import move_into, why_not_new, workplace

#: Configuration that ``rsmeta init`` has guessed, kept in the folder of the model.
GUESSED = "guessed.yaml"


class Train(Algorithm):
    """Runs ``rsmeta init``, ``train``, ``predict`` and ``suggest``."""

    NAME = "train"
    TITLE = "Train a model from polygons and map the scene"
    HELP = (
        "Trains on a raster layer and polygons with a field of their class, maps the layer, and "
        "shows which places to label next: draw polygons there, and train again into another "
        "folder. A few polygons of each class, in different places, are enough to begin with. "
        "The log says how good the model is on polygons that were held out. The folder of the "
        "model holds its configuration, its scores and the polygons; 'Map a scene with a trained "
        "model' uses it for other layers.\n\n"
        "Cancelling leaves nothing behind; a model that is complete is kept."
    )

    def parameters(self) -> list[QgsProcessingParameterDefinition]:
        """Return the parameters."""
        return [
            declared.scene(),
            declared.polygons("Polygons of known places"),
            QgsProcessingParameterField(
                "CLASS", "Field of the class", parentLayerParameterName="LABELS"
            ),
            declared.advanced(declared.count("Next places")),
            *declared.program("Further keys of rsmeta train, e.g. model=pixels"),
            QgsProcessingParameterFolderDestination("MODEL", "Model (a new folder)"),
            *declared.map_and_confidence(),
            declared.places(optional=True, createByDefault=True),
        ]

    def checkParameterValues(
        self, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> tuple[bool, str]:
        """Complain before any work where the model cannot be written."""
        why = why_not_new(self.parameterAsString(parameters, "MODEL", context))
        return (False, why) if why else super().checkParameterValues(parameters, context)

    def processAlgorithm(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        """Train, map and suggest; each step's files appear when it is complete."""
        model = self.parameterAsString(parameters, "MODEL", context)
        outputs = self.outputs(parameters, context, "OUTPUT", "CONFIDENCE", "PLACES")
        scene = self.scene(parameters, context, "INPUT")
        steps = QgsProcessingMultiStepFeedback(3 + ("PLACES" in outputs), feedback)
        with workplace(model) as folder:
            if not self._train(scene, parameters, context, steps, folder, model):
                feedback.pushInfo("cancelled; nothing was left behind")
                return {}
            steps.setCurrentStep(2)
            maps = folder / "maps"
            if not self._map(scene, parameters, context, steps, maps, model, outputs):
                feedback.pushInfo(f"cancelled; the model in {model} is complete")
                return {"MODEL": model}
        self.style(outputs, context)
        return {"MODEL": model, **outputs}

    def _train(
        self,
        scene: str,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        steps: QgsProcessingMultiStepFeedback,
        folder: Path,
        model: str,
    ) -> bool:
        """Train in a hidden folder, and put the model in its place."""
        source = self.parameterAsSource(parameters, "LABELS", context)
        drawn_polygons(source, folder, context, steps, self.parameterAsString(
            parameters, "CLASS", context
        ))  # fmt: skip
        where = str(folder)
        for number, words in enumerate((
            ["init", scene, FILE, "--output", GUESSED],
            ["train", GUESSED, *self.further(parameters, context), "--output", "run"],
        )):  # fmt: skip
            steps.setCurrentStep(number)
            if not self.rsmeta(words, parameters, context, steps, cwd=where):
                return False
        for name in (FILE, GUESSED):
            shutil.move(str(folder / name), str(folder / "run" / name))
        if Path(model).exists():
            Path(model).rmdir()  # it is empty
        (folder / "run").rename(model)
        return True

    def _map(
        self,
        scene: str,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        steps: QgsProcessingMultiStepFeedback,
        folder: Path,
        model: str,
        outputs: dict[str, str],
    ) -> bool:
        """Map the scene, and find the next places; files are moved to their places at the end."""
        places = {name: folder / name / Path(path).name for name, path in outputs.items()}
        sure = places.get("CONFIDENCE", folder / "CONFIDENCE" / "confidence.tif")
        words = ["predict", scene, "--model", model, "--output", str(places["OUTPUT"])]
        commands = [[*words, "--confidence", str(sure)]]
        if "PLACES" in places:
            commands.append([
                "suggest", scene, "--model", model, "--confidence", str(sure),
                "--labels", str(Path(model) / FILE), "--output", str(places["PLACES"]),
                "--count", str(self.parameterAsInt(parameters, "COUNT", context)),
            ])  # fmt: skip
        for number, command in enumerate(commands):
            steps.setCurrentStep(2 + number)
            if not self.rsmeta(command, parameters, context, steps):
                return False
        for name, path in outputs.items():
            move_into(folder / name, str(Path(path).parent))
        return True
