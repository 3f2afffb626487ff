"""The version, in its one place: the build reads it from here as well."""

__version__ = "0.1.0"
