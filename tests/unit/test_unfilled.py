"""Networks whose weights are loaded anyway are built without drawing random ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rsmeta.config.model import ModelSpec
from rsmeta.models import build_backbone
from rsmeta.models.unfilled import Unfilled

OPTIONS = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}


def test_nothing_is_drawn_for_a_network_to_be_loaded() -> None:
    spec = ModelSpec.model_validate({"backbone": "vit_tiny_patch16_224", "options": OPTIONS})
    drawn = build_backbone(spec)
    before = torch.get_rng_state()
    with Unfilled():
        empty = build_backbone(spec)
    assert torch.equal(torch.get_rng_state(), before)
    empty.load_state_dict(drawn.state_dict())
    image = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(empty.eval()(image).cls, drawn.eval()(image).cls)


@pytest.mark.parametrize("fill", [nn.init.ones_, nn.init.zeros_, nn.init.eye_])
def test_what_is_no_chance_is_filled(fill: object) -> None:
    with Unfilled():
        filled = fill(torch.empty(3, 3))  # type: ignore[operator]  # one of torch's functions
    assert torch.equal(filled, fill(torch.empty(3, 3)))  # type: ignore[operator]
