"""The files of a map: rasters, styles, tables, pictures, STAC items, and where they go."""
