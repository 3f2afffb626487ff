"""Presets in YAML, shipped with the package; see ``rsmeta list presets``."""
