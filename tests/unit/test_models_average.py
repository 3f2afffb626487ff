"""An average of members that share their features says the mean of what they say alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch

from rsmeta.config.model import HeadSpec, ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.bands import Band
from rsmeta.models.build import average_network, build_network

if TYPE_CHECKING:
    from rsmeta.heads import SolvedHead

BANDS, CLASSES, SIDE = tuple(Band(f"b{i}") for i in range(3)), 4, 24
MEMBERS = (
    ("logistic", {"strength": 1.0}, {"ratios": True}),
    ("lda", {}, {"ratios": True}),
    ("lda", {}, {"context": (3, 7)}),
    ("logistic", {"strength": 1.0}, {"ratios": "local", "context": (3, 7), "deviations": False}),
    ("extra_trees", {"trees": 5}, {"ratios": True, "context": (3,)}),
)


@pytest.mark.parametrize(("offset", "unit"), [(0.0, 1.0), (30_000.0, 500.0)])
@pytest.mark.parametrize("apart", [False, True], ids=["same labels", "labels of their own"])
def test_shared_features_give_the_mean_of_the_members(
    offset: float, unit: float, *, apart: bool
) -> None:
    draw = np.random.default_rng(0)
    cover = draw.integers(0, CLASSES, (SIDE, SIDE)).repeat(2, 0).repeat(2, 1)[:SIDE, :SIDE]
    values = (draw.normal(size=(3, SIDE, SIDE)) * 0.3 + cover / 4 + 1) * unit + offset
    image = torch.from_numpy(values.astype(np.float32))[None]
    valid = torch.from_numpy(draw.random((1, SIDE, SIDE)) > 0.1)
    settings = {"bands": BANDS, "classes": CLASSES, "mean": np.zeros(3), "std": np.ones(3)}
    specs = [ModelSpec(backbone="pixels", options=dict(options), head=HeadSpec(name=name, **head))
             for name, head, options in MEMBERS]  # fmt: skip
    members = [build_network(spec, TunerSpec(), **settings).eval() for spec in specs]
    with torch.inference_mode():
        for number, one in enumerate(members):
            rows = np.arange(SIDE) % 3 == (number % 3 if apart else 0)
            seen = one.pixel_features(image, valid)[0].numpy()[:, rows].reshape(-1, SIDE**2 // 3)
            label, group = cover[rows].ravel(), np.arange(SIDE**2 // 3) // SIDE
            cast("SolvedHead", one.head).solve(seen.T.copy(), label, group, seed=0)
        alone = [one(image, valid).softmax(dim=1) for one in members]
        given = ModelSpec(average=tuple(specs))
        said = average_network(given, TunerSpec(), members, **settings)(image, valid).exp()
    np.testing.assert_allclose(said.numpy(), torch.stack(alone).mean(0).numpy(), atol=3e-6)
