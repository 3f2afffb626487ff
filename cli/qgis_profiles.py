"""Put the QGIS plugin into a profile of QGIS, enable it there, or remove it."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
from configparser import ConfigParser
from configparser import Error as IniError
from dataclasses import dataclass
from pathlib import Path

import rsmeta_cli.qgis_plugin as plugin
from rsmeta.errors import ConfigError, OutputError, enumerate_names, one_line
from rsmeta.files import read_text, write_atomically
from rsmeta_cli.qgis_plugin.process import FOREIGN, PROGRAM_FILE

logger = logging.getLogger(__name__)

#: Name of the plugin's folder, which is the name of its Python package in QGIS.
PLUGIN = "rsmeta_qgis"
_SECTION = "[PythonPlugins]"


@dataclass(frozen=True)
class Profile:
    """A profile of QGIS.

    Attributes:
        folder: Its folder.
        settings: Its settings, which need not exist yet.
    """

    folder: Path
    settings: Path

    @property
    def plugin(self) -> Path:
        """Folder of the plugin in it."""
        return self.folder / "python" / "plugins" / PLUGIN


def install(profile: str | Path | None = None) -> Profile:
    """Put the plugin into a profile of QGIS and enable it; an earlier one is replaced.

    Args:
        profile: Name of the profile, or its folder; none: the one that QGIS starts with.

    Returns:
        The profile.

    Raises:
        ConfigError: There is no such profile.
        OutputError: It cannot be written.
    """
    found = find_profile(profile)
    try:
        with write_atomically(found.plugin) as hidden:
            _fill(hidden)
        _enable(found.settings, enabled=True)
    except OSError as error:
        raise _not_changed(found, error) from error
    return found


def uninstall(profile: str | Path | None = None) -> Profile:
    """Remove the plugin from a profile of QGIS; nothing happens where it is not installed.

    Raises:
        ConfigError: There is no such profile.
        OutputError: It cannot be written.
    """
    found = find_profile(profile)
    try:
        if found.plugin.exists():
            shutil.rmtree(found.plugin)
            _enable(found.settings, enabled=False)
    except OSError as error:
        raise _not_changed(found, error) from error
    return found


def installed_command(profile: Profile) -> list[str] | None:
    """Return the command with which an installed plugin starts rsmeta; none: not installed."""
    file = profile.plugin / PROGRAM_FILE
    if not file.exists():
        return None
    command: list[str] = json.loads(file.read_text(encoding="utf-8"))["command"]
    return command


def find_profile(wanted: str | Path | None = None) -> Profile:
    """Return a profile of QGIS.

    Args:
        wanted: Its name, or its folder; none: the one that QGIS starts with.

    Raises:
        ConfigError: It is not there.
    """
    if wanted is not None and Path(wanted).expanduser().is_dir():
        folder = Path(wanted).expanduser().absolute()
        return _profile(folder)
    for home in _homes():
        folder = home / _default_name(home) if wanted is None else home / wanted
        if folder.is_dir():
            return _profile(folder)
    names = sorted({one.name for home in _homes() for one in home.glob("*/") if one.is_dir()})
    if wanted is not None and names:
        raise ConfigError(f"QGIS has no profile {str(wanted)!r}; it has: {enumerate_names(names)}")
    raise ConfigError(
        f"no profile of QGIS in {enumerate_names([str(home) for home in _homes()])}; start QGIS "
        f"once, or give the folder of a profile with --profile (in QGIS: Settings, User Profiles, "
        f"Open Active Profile Folder)"
    )


def _homes() -> list[Path]:
    """Return where profiles may lie, the newest QGIS first."""
    own = os.environ.get("QGIS_CUSTOM_CONFIG_PATH")
    if own:
        return [Path(own) / "profiles"]
    if sys.platform == "darwin":
        data = Path.home() / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return [data / "QGIS" / name / "profiles" for name in ("QGIS4", "QGIS3")]


def _default_name(home: Path) -> str:
    """Return the name of the profile that QGIS starts with.

    Source: QgsUserProfileManager; ``profiles.ini`` beside the profiles.
    """
    known = ConfigParser(interpolation=None, strict=False)
    try:
        known.read(home / "profiles.ini", encoding="utf-8-sig")
    except (IniError, UnicodeError) as error:
        logger.warning("%s cannot be read (%s)", home / "profiles.ini", one_line(error))
    section = known["core"] if known.has_section("core") else {}
    last = section.get("lastProfile") if section.get("selectionPolicy") == "1" else None
    return last or section.get("defaultProfile") or "default"


def _profile(folder: Path) -> Profile:
    named = (
        "QGIS4.ini"
        if "QGIS4" in folder.parts or (folder / "QGIS" / "QGIS4.ini").exists()
        else "QGIS3.ini"
    )
    return Profile(folder, folder / "QGIS" / named)


def _fill(folder: Path) -> None:
    """Copy the plugin, and note how rsmeta is started from outside its environment."""
    source = Path(str(plugin.__file__)).parent
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
    known = {
        "command": [sys.executable, "-m", "rsmeta_cli.main"],
        "environment": {name: os.environ[name] for name in FOREIGN if name in os.environ},
    }
    (folder / PROGRAM_FILE).write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def _enable(settings: Path, *, enabled: bool) -> None:
    """Switch the plugin on or off in the settings of a profile; every other line stays."""
    lines = read_text(settings).splitlines() if settings.exists() else []
    lines = [line for line in lines if not re.match(rf"{PLUGIN}\s*=", line)]
    if enabled:
        if _SECTION not in lines:
            lines += ["", _SECTION] if lines else [_SECTION]
        lines.insert(lines.index(_SECTION) + 1, f"{PLUGIN}=true")
    elif not settings.exists():
        return
    with write_atomically(settings) as hidden:
        hidden.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _not_changed(profile: Profile, error: OSError) -> OutputError:
    return OutputError(f"cannot change the profile {profile.folder} ({one_line(error)})")
