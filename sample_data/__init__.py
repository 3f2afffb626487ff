"""A small make-believe landscape with labels as Sentinel-2, Landsat 8 or Sentinel-1 see it.

For demos, documentation and tests. It stands alone: numpy, rasterio and geopandas, nothing else
of rsmeta. Run it with ``python -m rsmeta.sample_data FOLDER``.
"""

from __future__ import annotations

from rsmeta.sample_data.landscape import SENSORS, SampleData, make_landscape
from rsmeta.sample_data.materials import BANDS, CLASSES, LandClass

__all__ = ["BANDS", "CLASSES", "SENSORS", "LandClass", "SampleData", "make_landscape"]
