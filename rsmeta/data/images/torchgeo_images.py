"""Classification datasets of TorchGeo, with bands by name and validity."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rsmeta.config.torchgeo import known_dataset
from rsmeta.data.images.image_set import Found, ImageSet, Pixels
from rsmeta.data.torchgeo_compat import NOT_FOUND_ERRORS, dataset_class, target_of
from rsmeta.errors import (
    ConfigError,
    ImagesError,
    MissingExtraError,
    SceneUnreadableError,
    one_line,
)
from rsmeta.geo.bands import COMMON_NAMES, Band, generic_band, match_bands
from rsmeta.geo.handles import GDAL_ERRORS
from rsmeta.geo.sensors import load_sensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.torchgeo import BandSet, KnownDataset
    from rsmeta.data.images.image_set import Wanted
    from rsmeta.data.images.kinds.torchgeo import TorchgeoSettings
    from rsmeta.data.splits import Part

#: Threads that read labels from small files.
_THREADS = 4


class TorchgeoImages(ImageSet):
    """Images of a TorchGeo dataset.

    Args:
        dataset: The dataset.
        labels: See ``ImageSet``; one for each of its images.
        bands: Bands to give, and all that it has.
        settings: Scale, offset, value without data and its rule, where the user overrules.
        given: What is known of its numbers.
    """

    def __init__(
        self,
        dataset: Any,
        labels: np.ndarray,
        *,
        bands: tuple[Sequence[Band], Sequence[Band]],
        settings: TorchgeoSettings,
        given: BandSet,
    ) -> None:
        super().__init__(labels)
        self.dataset = dataset
        self.indices = np.arange(len(labels))
        wanted, available = bands
        self._places = match_bands(wanted, available, type(dataset).__name__)
        self._bands = tuple(available[i] for i in self._places)
        self._scale = given.scale if settings.scale is None else settings.scale
        self._offset = settings.offset or 0.0
        self._nodata = given.nodata if settings.nodata is None else settings.nodata
        self._valid_if = settings.valid_if

    @property
    def bands(self) -> tuple[Band, ...]:
        """The bands to read."""
        return self._bands

    def name(self, index: int) -> str:
        """Return dataset and number of an image."""
        return f"{type(self.dataset).__name__}, image {self.indices[index]}"

    def read(self, index: int) -> Pixels:
        """Read an image."""
        try:
            sample = self.dataset[int(self.indices[index])]
        except (*GDAL_ERRORS, ValueError, KeyError, SyntaxError) as error:
            raise SceneUnreadableError(self.name(index), error) from error
        parts = [sample[key] for key in sorted(sample) if key.startswith("image")]
        raw = torch.cat(parts)[self._places].numpy().astype(np.float32)
        has_data = np.isfinite(raw) & (raw != self._nodata)
        valid = has_data.all(0) if self._valid_if == "all" else has_data.any(0)
        values = raw * np.float32(self._scale) + np.float32(self._offset)
        return Pixels(np.where(has_data, values, np.float32(0)), valid)

    def _keep(self, indices: np.ndarray) -> None:
        self.indices = self.indices[indices]


def find_in_torchgeo(settings: TorchgeoSettings, wanted: Wanted) -> Found:
    """Open a TorchGeo dataset's parts.

    Args:
        settings: The ``data`` section.
        wanted: Task and bands.

    Raises:
        ConfigError: It has no such option, or its labels are of another kind.
        ImagesError: It is not there, or not complete.
        MissingExtraError: A package that it needs is not installed.
    """
    known = known_dataset(settings.dataset)
    if known.task != wanted.task:
        raise ConfigError(
            f"{known.name} is for task={known.task}, not task={wanted.task}; set task={known.task}"
        )
    given, options = known.chosen(settings.options)
    available = _bands(given)
    chosen = wanted.bands or (
        tuple(Band(name, name if name in COMMON_NAMES else None) for name in settings.use_bands)
        if settings.use_bands
        else available
    )
    sets: dict[Part, ImageSet] = {}
    classes: tuple[str, ...] = ()
    for part in ("train", "validation", "test"):
        if part in known.splits:
            dataset = _opened(known, settings, known.splits[part], {**given.arguments, **options})
            classes = classes or _classes(dataset, known)
            labels = _labels(dataset, known, len(classes))
            sets[part] = TorchgeoImages(
                dataset, labels, bands=(chosen, available), settings=settings, given=given
            )
    if settings.classes:
        classes = _renamed(settings, classes)
    shares: dict[Part, float] = {"validation": settings.validation, "test": settings.test}
    return Found(classes, sets, {p: share for p, share in shares.items() if p not in sets})


def _opened(
    known: KnownDataset, settings: TorchgeoSettings, split: str, arguments: dict[str, object]
) -> Any:
    if split:
        arguments = {"split": split, **arguments}
    # What is fetched is checked. Sums of tens of GB at each start would take minutes, and the
    # default of TorchGeo differs between its versions.
    arguments = {"checksum": settings.download, **arguments}
    if settings.download:
        arguments = {"download": True, **arguments}
    try:
        return dataset_class(known.name)(root=str(settings.root), **arguments)
    except NOT_FOUND_ERRORS as error:
        if known.package is not None and known.package in str(error):
            raise MissingExtraError(known.package, "torchgeo") from None
        raise ImagesError(
            f"TorchGeo's {known.name} is not there, or not complete, in data.root={settings.root} "
            f"({one_line(error)[:200]}); data.download=true fetches it{settings.origin_hint}"
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise ImagesError(f"cannot open TorchGeo's {known.name} ({one_line(error)})") from error


def _bands(given: BandSet) -> tuple[Band, ...]:
    if given.sensor is None:
        return tuple(
            generic_band(name) if name in COMMON_NAMES else Band(name) for name in given.names
        )
    return load_sensor(given.sensor).select(given.names).bands


def _classes(dataset: Any, known: KnownDataset) -> tuple[str, ...]:
    if known.name == "BigEarthNet":
        return tuple(dataset.class_sets[dataset.num_classes])
    if known.name == "BigEarthNetV2":
        return tuple(dataset.class_set)
    return tuple(map(str, dataset.classes))


def _renamed(settings: TorchgeoSettings, classes: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(spec.name for spec in settings.classes or ())
    if len(names) != len(classes):
        raise ConfigError(
            f"data.classes names {len(names)} classes, but {settings.dataset} has {len(classes)}; "
            f"name each, in its order, or omit data.classes"
        )
    return names


def _labels(dataset: Any, known: KnownDataset, classes: int) -> np.ndarray:
    """Return the labels of all images; no pixel is read."""
    try:
        return _read_labels(dataset, known, classes)
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise ImagesError(f"cannot read the labels of {known.name} ({one_line(error)})") from error


def _read_labels(dataset: Any, known: KnownDataset, classes: int) -> np.ndarray:
    if known.name == "So2Sat":
        import h5py

        with h5py.File(dataset.fn, "r") as file:
            zones: np.ndarray = file["label"][:].argmax(axis=1)
        return zones
    if not known.several:
        return np.asarray(dataset.targets, np.int64)
    if known.name == "TreeSatAI":
        number = {name: i for i, name in enumerate(dataset.classes)}
        hot = np.zeros((len(dataset), classes), np.float32)
        for row, file in enumerate(dataset.files):
            hot[row, [number[genus] for genus, _ in dataset.labels[file]]] = 1.0
        return hot
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(lambda i: target_of(dataset, i), range(len(dataset))))
    return np.stack([target.numpy() for target in found]).astype(np.float32)
