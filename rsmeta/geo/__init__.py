"""Sensors, grids, scenes, tiles and raster files; knows no torch."""
