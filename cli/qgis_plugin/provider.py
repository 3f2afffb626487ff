"""The plugin: adds the algorithms of rsmeta to the Processing toolbox."""

from __future__ import annotations

from qgis.core import QgsApplication, QgsProcessingProvider

from .predict import Predict
from .suggest import Suggest
from .train import Train


class Provider(QgsProcessingProvider):
    """The algorithms of rsmeta."""

    def id(self) -> str:
        """Return the first part of the algorithms' identifiers."""
        return "rsmeta"

    def name(self) -> str:
        """Return the title in the toolbox."""
        return "rsmeta"

    def loadAlgorithms(self) -> None:
        """Add the algorithms."""
        for algorithm in (Train, Predict, Suggest):
            self.addAlgorithm(algorithm())


class Plugin:
    """What QGIS loads and unloads."""

    def __init__(self) -> None:
        self._provider: Provider | None = None

    def initProcessing(self) -> None:
        """Register the provider; all that ``qgis_process`` calls."""
        self._provider = Provider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        """Register the provider when QGIS starts with its windows."""
        self.initProcessing()

    def unload(self) -> None:
        """Remove the provider."""
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
