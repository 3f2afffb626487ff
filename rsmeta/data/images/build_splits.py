"""From the ``data`` section to the images of every part, with their classes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rsmeta.config.data import class_specs
from rsmeta.data.images.check import check_band_counts, without_corrupt
from rsmeta.data.images.sampler import class_counts
from rsmeta.data.images.subsets import divide, few, thinned
from rsmeta.data.open_scenes import check_root
from rsmeta.data.splits import PARTS, Part
from rsmeta.data.streams import random_stream
from rsmeta.errors import ConfigError, ImagesError, SplitError, enumerate_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.data import ClassSpec
    from rsmeta.config.images import ImageSettings
    from rsmeta.data.images.image_set import ImageSet, ImageTask, Wanted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageParts:
    """The images of a run.

    Attributes:
        classes: The classes in the order of their numbers; empty for regression.
        sets: The images of each part that there is.
        held_out: Training images by which only the scales of the adapters are judged.
        skipped: Names of the images of each part that could not be read and were left out.
    """

    classes: tuple[ClassSpec, ...]
    sets: dict[Part, ImageSet]
    held_out: ImageSet | None = None
    skipped: dict[Part, tuple[str, ...]] = field(default_factory=dict)


def build_image_splits(settings: ImageSettings, wanted: Wanted) -> ImageParts:
    """Find the images of every part, and divide what has to be divided.

    Raises:
        RsmetaError: Images, labels or parts cannot be used.
    """
    check_root(settings)
    _check_options(settings, wanted.task)
    found = settings.find(wanted)
    count = len(found.classes)
    sets, skipped = dict(found.sets), {}
    if settings.corrupt == "skip":
        for part, images in sets.items():
            sets[part], skipped[part] = without_corrupt(part, images)
    else:
        check_band_counts(sets)
    _check_not_empty(sets)
    rng = random_stream("split", wanted.seed)
    whole = sets["train"]
    for part, indices in divide(whole, found.shares, count, rng).items():
        sets[part] = whole.take(indices)
    _check_not_empty(sets)
    if wanted.to_train and count:
        _check_classes(settings, found.classes, sets["train"])
    sets["train"] = _subset(settings, sets["train"], count, wanted.seed)
    held_out = found.held_out
    if held_out is None:
        sets["train"], held_out = _held_out(sets["train"], count, wanted)
    parts = ImageParts(_specs(settings, found.classes), sets, held_out, skipped)
    _log_counts(parts)
    return parts


def _check_options(settings: ImageSettings, task: ImageTask) -> None:
    given = [
        name
        for name, there in (
            ("imbalance", settings.imbalance is not None and task != "classification"),
            ("shots", settings.shots is not None and task == "regression"),
            ("sampling", settings.sampling != "instance" and task == "regression"),
            ("groups", settings.groups is not None and task != "classification"),
        )
        if there
    ]
    if given:
        raise ConfigError(f"data.{given[0]} goes by classes, which task={task} lacks; drop it")


def _check_not_empty(sets: dict[Part, ImageSet]) -> None:
    for part, images in sets.items():
        if not len(images):
            raise SplitError(
                f"the {part} part has no images; check data.{part}, data.corrupt and the shares"
            )


def _check_classes(settings: ImageSettings, classes: Sequence[str], images: ImageSet) -> None:
    counts = class_counts(images.labels, len(classes))
    without = [name for name, count in zip(classes, counts, strict=True) if not count]
    if without:
        raise ImagesError(
            f"{len(without)} class(es) have no training images: {enumerate_names(without)}; "
            f"{settings.fix_for_empty_class}"
        )


def _subset(settings: ImageSettings, images: ImageSet, classes: int, seed: int) -> ImageSet:
    """Return the training images that ``imbalance`` and ``shots`` leave."""
    rng = random_stream("subset", seed)
    if settings.imbalance is not None:
        images = images.take(thinned(images.labels, settings.imbalance, classes, rng))
    if settings.shots is not None:
        images = images.take(few(images.labels, settings.shots, classes, rng))
    return images


def _held_out(images: ImageSet, classes: int, wanted: Wanted) -> tuple[ImageSet, ImageSet | None]:
    """Return what is left for training, and what is held out for the scales, if anything."""
    meta = wanted.meta
    if meta is None or not meta.learned or meta.source != "held_out":
        return images, None
    rng = random_stream("held_out", wanted.seed)
    parts = divide(images, {"validation": meta.held_out}, classes, rng)
    if not len(parts["validation"]):
        raise SplitError(
            "no class has two training images, one of which meta.source=held_out could take; use "
            "meta.source=train"
        )
    return images.take(parts["train"]), images.take(parts["validation"])


def _specs(settings: ImageSettings, names: Sequence[str]) -> tuple[ClassSpec, ...]:
    if settings.classes:
        return settings.classes
    specs: tuple[ClassSpec, ...] = class_specs(list(names))
    return specs


def _log_counts(parts: ImageParts) -> None:
    """Log the images per part, and how unequal the classes of training are."""
    counts = ", ".join(f"{part} {len(parts.sets[part])}" for part in PARTS if part in parts.sets)
    held = f", held out {len(parts.held_out)}" if parts.held_out is not None else ""
    logger.info("images: %s%s", counts, held)
    if parts.classes:
        of_class = class_counts(parts.sets["train"].labels, len(parts.classes))
        logger.info(
            "%d classes, of %d to %d training images", len(of_class), of_class.min(), of_class.max()
        )
