"""A small make-believe Sentinel-2 landscape with labels, for demos, documentation and tests.

It stands alone: numpy, rasterio and geopandas, nothing else of rsmeta. Run it with
``python -m rsmeta.sample_data FOLDER``.
"""

from __future__ import annotations

from rsmeta.sample_data.landscape import SampleData, make_landscape
from rsmeta.sample_data.materials import BANDS, CLASSES, LandClass

__all__ = ["BANDS", "CLASSES", "LandClass", "SampleData", "make_landscape"]
