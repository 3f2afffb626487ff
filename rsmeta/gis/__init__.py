"""Files of a map, post-processing, polygons and the report page; independent of models."""
