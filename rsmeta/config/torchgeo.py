"""Classification datasets of TorchGeo that a configuration may name: bands, parts, options.

Numbers and orders: TorchGeo 0.8.1 and 0.10, ``torchgeo/datasets``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rsmeta.errors import ConfigError, UnknownNameError, did_you_mean, enumerate_names

if TYPE_CHECKING:
    from collections.abc import Mapping

_RGB = ("red", "green", "blue")
_S1 = ("VH", "VV")  # files in alphabetical order
_S2_L2A = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12",
)  # fmt: skip
_EUROSAT = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A",
)  # fmt: skip
_SO2SAT_S1 = tuple(f"S1_B{i}" for i in range(1, 9))
_SO2SAT_S2 = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
_TREES_S2 = (
    "B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12", "B01", "B09",
)  # fmt: skip

#: Digital numbers of Sentinel-2 products to reflectance.
_TO_REFLECTANCE = 1e-4

_THREE = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class BandSet:
    """Bands of the images under one choice of options.

    Attributes:
        sensor: Sensor that the band names belong to; none: they are common names, or own ones.
        names: Bands in the order of the images.
        scale: Physical units per number in the images.
        nodata: Number without data; none: every number is data.
        arguments: Arguments of TorchGeo's class that give these bands.
    """

    sensor: str | None
    names: tuple[str, ...]
    scale: float = 1.0
    nodata: float | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class KnownDataset:
    """A dataset of TorchGeo.

    Attributes:
        name: Name of its class.
        title: What it is, for people.
        several: Whether an image may have several labels.
        bands: The band sets by the value of the option ``bands``; the first is the default.
        splits: Name of each part that it has.
        options: Further options with the values that they may have; the first is the default.
        package: Package that reading it needs beside rsmeta's own; none: no further one.
    """

    name: str
    title: str
    several: bool
    bands: Mapping[str, BandSet]
    splits: Mapping[str, str] = field(default_factory=lambda: _THREE)
    options: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    package: str | None = None

    @property
    def task(self) -> Literal["classification", "multilabel"]:
        """What a label of it is."""
        return "multilabel" if self.several else "classification"

    def chosen(self, options: Mapping[str, object]) -> tuple[BandSet, dict[str, object]]:
        """Return the band set and the further arguments that options stand for.

        Raises:
            ConfigError: An option is unknown, or has a value that it may not have.
        """
        known = {"bands": tuple(self.bands), **self.options}
        for key, value in options.items():
            if key not in known:
                raise ConfigError(
                    f"data.options.{key}: {self.name} has no such option"
                    f"{did_you_mean(key, known)}; it has {enumerate_names(list(known))}"
                )
            if value not in known[key]:
                raise ConfigError(
                    f"data.options.{key}={value!r}: {self.name} takes "
                    f"{enumerate_names([str(one) for one in known[key]])}"
                )
        bands = self.bands[str(options.get("bands", next(iter(self.bands))))]
        further = {key: options[key] for key in self.options if key in options}
        return bands, further


def _eurosat(name: str, title: str) -> KnownDataset:
    bands = BandSet("sentinel2_l1c", _EUROSAT, _TO_REFLECTANCE, nodata=0)
    return KnownDataset(name, title, several=False, bands={"all": bands})


def _pictures(name: str, title: str, splits: Mapping[str, str] = _THREE) -> KnownDataset:
    return KnownDataset(
        name, title, several=False, bands={"rgb": BandSet("rgb", _RGB)}, splits=splits
    )


def _bigearthnet(name: str, title: str, **options: tuple[object, ...]) -> KnownDataset:
    return KnownDataset(
        name, title, several=True, options=options,
        bands={
            "s2": BandSet(
                "sentinel2_l2a", _S2_L2A, _TO_REFLECTANCE, nodata=0, arguments={"bands": "s2"}
            ),
            "s1": BandSet("sentinel1_grd", _S1, arguments={"bands": "s1"}),
        },
    )  # fmt: skip


_TREES = {"train": "train", "test": "test"}

_KNOWN = (
    _eurosat("EuroSAT", "27 000 Sentinel-2 L1C chips of 64 px, 10 kinds of land use in Europe"),
    _eurosat("EuroSATSpatial", "EuroSAT, its parts divided by longitude"),
    _eurosat("EuroSAT100", "100 chips of EuroSAT, to try things out"),
    _bigearthnet(
        "BigEarthNet", "590 326 Sentinel-2 chips of 120 px, land cover in several classes each",
        num_classes=(19, 43),
    ),
    _bigearthnet("BigEarthNetV2", "BigEarthNet with mended labels and parts divided in space"),
    KnownDataset(
        "So2Sat", "Sentinel-1 and -2 chips of 32 px of 42 cities, 17 local climate zones",
        several=False, package="h5py",
        splits={"train": "train", "validation": "validation", "test": "test"},
        options={"version": ("2", "3_random", "3_block", "3_culture_10")},
        bands={
            "s2": BandSet(
                "sentinel2_l2a", _SO2SAT_S2,
                arguments={"bands": tuple(f"S2_{name}" for name in _SO2SAT_S2)},
            ),
            "s1": BandSet(None, _SO2SAT_S1, arguments={"bands": _SO2SAT_S1}),
        },
    ),
    _pictures("RESISC45", "31 500 aerial pictures of 256 px, 45 kinds of scenes"),
    _pictures("UCMerced", "2 100 aerial pictures of 256 px, 21 kinds of land use"),
    _pictures(
        "PatternNet", "30 400 aerial pictures of 256 px, 38 classes; not divided", {"train": ""}
    ),
    _pictures(
        "FireRisk", "91 872 NAIP pictures of 320 px, 7 fire risks",
        {"train": "train", "validation": "val"},
    ),
    KnownDataset(
        "TreeSatAI", "50 381 places in Germany, tree species; aerial pictures or Sentinel-2",
        several=True, splits=_TREES,
        bands={
            "aerial": BandSet(None, ("nir", "green", "blue", "red"),
                              arguments={"sensors": ("aerial",)}),
            "s2": BandSet("sentinel2_l2a", _TREES_S2, _TO_REFLECTANCE,
                          arguments={"sensors": ("s2",)}),
        },
    ),
)  # fmt: skip

KNOWN_DATASETS = {known.name: known for known in _KNOWN}


def known_dataset(name: str) -> KnownDataset:
    """Return a dataset by its name, in any case.

    Raises:
        UnknownNameError: There is no such dataset here.
    """
    for known in _KNOWN:
        if known.name.casefold() == name.casefold():
            return known
    raise UnknownNameError("dataset of TorchGeo", name, KNOWN_DATASETS)
