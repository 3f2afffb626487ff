"""Settings: YAML and KEY=VALUE overrides become frozen, strict models here."""

from rsmeta.config.load import dump_settings, load_settings
from rsmeta.config.settings import Settings

__all__ = ["Settings", "dump_settings", "load_settings"]
