"""Kinds of image data: one file each, in one registry that others add to."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from pydantic import Field

from rsmeta.config.data_kinds import DATASETS, data_kinds, kind_help
from rsmeta.config.describe import describe_keys, json_schema
from rsmeta.config.images import ImageSettings
from rsmeta.config.load import dump_settings, load_settings
from rsmeta.data.images import ImageDataModule
from rsmeta.data.images.image_set import Found, ImageSet, Pixels, Wanted
from rsmeta.errors import ConfigError
from rsmeta.geo.bands import Band
from rsmeta.workflows.listing import listing


class Stripes(ImageSet):
    """Images of one value, which is their class."""

    @property
    def bands(self) -> tuple[Band, ...]:
        return (Band("grey"),)

    def name(self, index: int) -> str:
        return f"stripe {index}"

    def read(self, index: int) -> Pixels:
        data = np.full((1, 16, 16), self.labels[index], np.float32)
        return Pixels(data, np.ones((16, 16), np.bool_))

    def _keep(self, indices: np.ndarray) -> None: ...


class StripeSettings(ImageSettings):
    """Stripes, made up."""

    kind: Literal["stripes"] = Field(description="made-up stripes")
    classes: None = None
    target: None = None
    chip_px: int = Field(default=16, ge=16, description="side of a stripe")
    count: int = Field(default=12, ge=2, description="number of stripes")

    def find(self, wanted: Wanted) -> Found:
        """Make the stripes."""
        return Found(("a", "b"), {"train": Stripes(np.arange(self.count) % 2)}, {"validation": 0.5})


@pytest.fixture
def _stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    data_kinds()  # its own kinds are there before
    monkeypatch.setattr(DATASETS, "_things", dict(DATASETS._things))
    DATASETS.register("stripes")(StripeSettings)


@pytest.mark.usefixtures("_stripes")
def test_a_kind_of_ones_own_is_checked_listed_described_and_trained_on() -> None:
    settings = load_settings({"data": {"kind": "stripes", "count": 8}})
    assert isinstance(settings.data, StripeSettings)
    assert load_settings({"data": settings.data.model_dump()}) == settings
    assert "count: 8" in dump_settings(settings)
    assert ("stripes", "made-up stripes") in listing("datasets")
    assert "data.count" in {
        key.path for section, keys in describe_keys() if "stripes" in section for key in keys
    }
    assert '"StripeSettings"' in json_schema()
    data = ImageDataModule(settings.data, task="classification", seed=0)
    batch = next(iter(data.val_dataloader()))
    assert (batch["image"].mean(dim=(1, 2, 3)) == batch["label"]).all()
    assert data.class_counts.tolist() == [2, 2]


@pytest.mark.usefixtures("_stripes")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"kind": "stripe"}, "did you mean 'stripes'"),
        ({"kind": "stripes", "cuont": 3}, "unknown key 'data.cuont'; did you mean 'count'"),
        ({"kind": "stripes", "count": 1}, "data.count=1"),
        ({"kind": "stripes", "augment": {"flop": True}}, "did you mean 'flip'"),
        ({"kind": ["stripes"]}, "is no kind of data"),
        ([1, 2], r"data: \[1, 2\] is no section"),
    ],
)
def test_its_mistakes_are_said_as_those_of_other_kinds(data: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_settings({"data": data})
    assert "\n" not in str(caught.value)


def test_every_kind_says_what_it_is() -> None:
    kinds = data_kinds()
    assert next(iter(kinds)) == "scenes"
    assert {"folder", "index", "torchgeo", "chips", "boxes", "cifar"} <= set(kinds)
    assert all(kind_help(model) for model in kinds.values())
