"""Every error that a user can cause, each writing its own one-line sentence.

    RsmetaError
    ├── ConfigError             a settings file or KEY=VALUE that cannot be used
    ├── UnknownNameError        a name that no registry holds
    ├── MissingExtraError       an optional dependency that is not installed
    ├── PluginError             something that another package offers and that cannot be loaded
    ├── SceneError              a raster that cannot be read as a scene
    │   ├── SceneNotFoundError
    │   ├── SceneUnreadableError
    │   ├── SceneUnreachableError
    │   ├── BandsUnrecognisedError
    │   ├── BandsMissingError
    │   └── GridMismatchError
    ├── ScenesFailedError       some of several scenes that could not be mapped
    ├── AoiError                polygons that cannot be used as an area of interest
    ├── RunsFailedError         some runs of a sweep that did not end; the others are kept
    ├── LabelsError             labels that do not fit the scenes or the class list
    ├── ImagesError             images with one label each, or their index, that cannot be used
    ├── SplitError              a train/validation/test split that leaves a part empty
    ├── CheckpointError         backbone weights that do not fit or cannot be trusted
    ├── TunerError              a tuner that the backbone cannot take
    ├── BundleError             a bundle folder that cannot be used
    ├── ExportError             a model that cannot take a form
    ├── OutputError             a place that cannot be written
    └── TrainingError           a run that cannot continue (NaN, nothing to learn from)

A message says what is wrong, the value, and what to do. The command line prints it on one
line and exits with status 1; anything that is not an ``RsmetaError`` is a defect of rsmeta.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

logger = logging.getLogger(__name__)


class RsmetaError(Exception):
    """Base of all errors that are reported to the user in one line."""


class ConfigError(RsmetaError):
    """A settings file or an override that cannot be used."""


class UnknownNameError(RsmetaError):
    """A name that is not registered; suggests the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        super().__init__(
            f"unknown {kind} {name!r}{did_you_mean(name, known)}; known: {enumerate_names(known)}"
        )


class MissingExtraError(RsmetaError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; install it with: pip install 'rsmeta[{extra}]'"
        )


class PluginError(RsmetaError):
    """Something that another package offers through an entry point and that cannot be loaded."""

    def __init__(self, kind: str, name: str, package: str, reason: object) -> None:
        super().__init__(
            f"cannot load the {kind} {name!r} of the package {package} ({one_line(reason)}); "
            f"update or uninstall {package}"
        )


class SceneError(RsmetaError):
    """A raster that cannot be used as a scene."""


class SceneNotFoundError(SceneError):
    """A path or pattern that leads to no raster."""

    def __init__(self, source: object) -> None:
        super().__init__(f"no scene at {source}; check the path")


class SceneUnreadableError(SceneError):
    """A file that GDAL cannot open or read."""

    def __init__(self, source: object, reason: object) -> None:
        super().__init__(f"cannot read {source} as a raster ({one_line(reason)}); is it complete?")


class SceneUnreachableError(SceneError):
    """A raster behind a network that is unavailable."""

    def __init__(self, source: object, reason: object) -> None:
        super().__init__(f"cannot reach {source}: {one_line(reason)}")


class BandsUnrecognisedError(SceneError):
    """A raster whose bands are unknown, or mean different things in the sensors ``fits``."""

    def __init__(
        self,
        source: object,
        found: Sequence[str | None],
        fits: Sequence[str] = (),
        advice: str = "name them in file order with data.bands=[...]",
    ) -> None:
        named = [f"{i}: {name}" for i, name in enumerate(found, 1) if name]
        bare = len(found) - len(named)
        parts = [enumerate_names(named)] if named else []
        if bare:
            parts.append(f"{bare} of {len(found)} without description")
        unclear = f"; they mean different bands in {enumerate_names(fits)}" if fits else ""
        self.source, self.found, self.fits, self.advice = source, tuple(found), tuple(fits), advice
        super().__init__(
            f"cannot recognise the bands of {source} ({'; '.join(parts)}){unclear}; {advice}"
        )


#: So many bands are named in a message.
_MOST_BANDS = 16


class BandsMissingError(SceneError):
    """A scene that lacks bands which are needed."""

    def __init__(
        self, source: object, missing: Sequence[str], found: Sequence[str], reason: str = ""
    ) -> None:
        several = f"s ({len(missing)})" if len(missing) > _MOST_BANDS else "s"
        super().__init__(
            f"{source} lacks the band{several if len(missing) > 1 else ''} "
            f"{enumerate_names(missing, _MOST_BANDS)}{f' ({reason})' if reason else ''}; "
            f"it has {enumerate_names(found, _MOST_BANDS)}"
        )


class GridMismatchError(SceneError):
    """Rasters that should share one grid and do not."""


class ScenesFailedError(RsmetaError):
    """Some of several scenes that could not be mapped; the others are.

    Attributes:
        failed: Scene -> why.
        results: Results of the others.
    """

    def __init__(self, failed: Mapping[str, RsmetaError], results: Sequence[Any]) -> None:
        self.failed = dict(failed)
        self.results = list(results)
        reasons = "; ".join(str(error) for error in failed.values())
        count = len(failed) + len(results)
        super().__init__(f"{len(failed)} of {count} scenes could not be mapped: {reasons}")


class AoiError(RsmetaError):
    """Polygons that cannot be used as an area of interest."""


AreaError = AoiError  # its former name


class RunsFailedError(RsmetaError):
    """Some runs of a sweep that did not end; what the others reached is in its table.

    Attributes:
        failed: Run -> why.
        result: Result of the sweep.
    """

    def __init__(self, failed: Mapping[str, str], result: Any, count: int) -> None:
        self.failed = dict(failed)
        self.result = result
        first, reason = next(iter(failed.items()))
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        super().__init__(
            f"{len(failed)} of {count} runs failed: {first}: {reason}{more}; the others are kept: "
            f"correct the cause and continue with --resume"
        )


class LabelsError(RsmetaError):
    """Labels that do not fit the scenes or the class list."""


class ImagesError(RsmetaError):
    """Images with one label each, or what lists them, that cannot be used."""


class SplitError(RsmetaError):
    """A train/validation/test split that leaves a part empty."""


class CheckpointError(RsmetaError):
    """Backbone weights that do not fit or cannot be trusted."""


class TunerError(RsmetaError):
    """A tuner that the backbone cannot take."""


class BundleError(RsmetaError):
    """A bundle folder that cannot be used."""


class ExportError(RsmetaError):
    """A model that cannot take the form that is asked for."""


class OutputError(RsmetaError):
    """A place that cannot be written, or that holds something already."""


class TrainingError(RsmetaError):
    """A training run that cannot continue."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or nothing when no known name is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def enumerate_names(names: Sequence[str], most: int = 12) -> str:
    """Return names separated by commas, cut after ``most`` with the count of the rest."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def counted(number: int, noun: str) -> str:
    """Return a number with what it counts: "1 scene", "1,204 scenes"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def one_line(reason: object) -> str:
    """Return the text of an exception without line breaks."""
    return " ".join(str(reason).split())


@contextlib.contextmanager
def optional(what: str) -> Iterator[None]:
    """Do what a trained model can do without: any failure is a warning, not an error.

    Args:
        what: What is made: ``"the picture curves.png"``.
    """
    try:
        yield
    except Exception as error:  # drawing and describing lean on many libraries
        reason = one_line(error)[:200] or type(error).__name__
        logger.warning("could not make %s (%s); the trained model is complete", what, reason)
        logger.debug("could not make %s", what, exc_info=True)
