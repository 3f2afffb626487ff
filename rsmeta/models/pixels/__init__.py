"""A backbone without weights: the bands themselves, their surroundings, spectral indices."""
