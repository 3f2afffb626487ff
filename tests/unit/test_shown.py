"""How results look: a short line, and in a notebook a table with the map as a picture."""

from __future__ import annotations

import dataclasses
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import rsmeta
from rsmeta.gis.outputs.thumbnail import thumbnail
from rsmeta.metrics.segmentation import SegmentationMetrics
from rsmeta.shown import Shown, View
from tests.unit.mapping_bundles import bundle_of, random_scene

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

RESULTS = [
    name for name in rsmeta.__all__
    if name.endswith(("Result", "Accuracy")) or name in ("Draft", "DryRun", "ModelBundle")
]  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_every_public_result_is_shown_in_its_own_way(name: str) -> None:
    cls = getattr(rsmeta, name)
    assert issubclass(cls, Shown)
    assert dataclasses.is_dataclass(cls)
    assert cls.__repr__ is Shown.__repr__, "not the one of dataclasses, which prints everything"
    assert cls.view is not Shown.view


class Three(torch.nn.Module):
    """Scores of three classes from two bands."""

    def forward(self, image: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return torch.cat([image, image.mean(1, keepdim=True)], 1)


def test_a_map_is_a_line_and_a_picture(make_scene: MakeScene, tmp_path: Path) -> None:
    random_scene(make_scene, tmp_path / "scene.tif", (75, 53), 3, holes=True)
    bundle = bundle_of(Three(), classes=3)
    made = rsmeta.predict(tmp_path / "scene.tif", bundle, output=tmp_path / "map.tif")
    [result] = made if isinstance(made, list) else [made]
    line = repr(result)
    assert line.startswith("PredictResult(scene=")
    assert "size=53 x 75 px" in line
    assert len(line) < 400
    page = result._repr_html_()
    assert page.count("<img") == 1
    assert all(f"<td>{name}</td>" in page for name in result.class_pixels)
    assert repr(bundle).startswith("ModelBundle(task=segmentation")
    (tmp_path / "map.tif").unlink()
    assert "<img" not in result._repr_html_(), "a map that is gone is no error"


def test_scores_are_a_line_and_a_table() -> None:
    metrics = SegmentationMetrics(("water & ice", "<b>"))
    metrics.update(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]))
    result = metrics.compute()
    assert repr(result).startswith("SegmentationResult(accuracy=0.667, miou=")
    page = result._repr_html_()
    assert "water &amp; ice" in page
    assert "&lt;b&gt;" in page
    assert pickle.loads(pickle.dumps(result)) == result


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.12345, "0.123"), (1234567, "1,234,567"), (12345.6, "12,346"), (True, "True"),
     (np.float64(0.5), "0.500")],
)  # fmt: skip
def test_numbers_are_short(value: object, text: str) -> None:
    @dataclasses.dataclass(frozen=True, repr=False)
    class One(Shown):
        def view(self) -> View:
            return View({}, ("a",), [(value,)], text="x < y")

    page = One()._repr_html_()
    assert f"<td>{text}</td>" in page
    assert "<pre>x &lt; y</pre>" in page
    assert repr(One()).endswith("One()")


def test_many_rows_are_cut() -> None:
    class Long(Shown):
        def view(self) -> View:
            return View({}, ("n",), [(n,) for n in range(100)])

    assert Long()._repr_html_().count("<td>") == 40
    assert "60 more" in Long()._repr_html_()


@pytest.mark.parametrize("name", ["nowhere.tif", "None"])
def test_what_cannot_be_read_has_no_picture(name: str, tmp_path: Path) -> None:
    assert thumbnail(str(tmp_path / name)) is None
