"""The tiled engine: a network over a scene of any size."""
