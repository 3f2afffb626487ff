"""A loss, a tuner, a backbone, a sensor and a data set for rsmeta, one small module each."""
