"""How far the cheaper gradients of the scales point where the exact one does.

The cosine between the gradient through K steps of SGD (``unrolled``) and those of
``first_order`` and ``finite_difference`` (which looks one step ahead), as K and the learning
rate grow, on a small transformer with LoRA that has been trained for some steps. Noise as data:
what is compared are derivatives, not models.

    python benchmarks/bench_hypergradients.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from rsmeta.config.meta import MetaSettings
from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.bands import generic_band
from rsmeta.models.build import build_network
from rsmeta.training.meta import MetaTask, build_strategy
from rsmeta.training.meta.isolation import isolated
from rsmeta.training.meta.strategy import GradientStrategy

if TYPE_CHECKING:
    from rsmeta.models.network import Network
    from rsmeta.training.meta.task import Batch

STEPS = (1, 3, 5, 10)
RATES = (0.001, 0.01, 0.1)
SEEDS = 3


def build() -> Network:
    """Return a small network with LoRA."""
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 4}
    bands = [generic_band(name) for name in ("red", "green", "blue")]
    return build_network(
        ModelSpec(options=options, head={"name": "linear"}), TunerSpec(rank=4), bands=bands,
        classes=4, mean=[0.0] * 3, std=[1.0] * 3,
    )  # fmt: skip


def draw() -> Batch:
    """Return a batch whose classes can be told from its first band."""
    image = torch.randn(8, 3, 32, 32)
    mask = torch.bucketize(image[:, 0].contiguous(), torch.tensor([-0.7, 0.0, 0.7]))
    return {"image": image, "valid": torch.ones(8, 32, 32, dtype=torch.bool), "target": mask}


def cosines(rate: float, steps: int, seed: int) -> tuple[float, float]:
    """Return the cosines of first_order and finite_difference to the exact gradient."""
    torch.manual_seed(seed)
    network, loss = build(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.trainable_parameters(), lr=rate, momentum=0.9)
    for _ in range(30):
        optimizer.zero_grad()
        batch = draw()
        loss(network(batch["image"], batch["valid"]), batch["target"]).backward()
        optimizer.step()
    rhos = network.scale_parameters()
    ahead, judged = [draw() for _ in range(steps)], [draw()]
    found = {}
    for name in ("first_order", "finite_difference", "unrolled"):
        strategy = build_strategy(MetaSettings(strategy=name), rhos)
        assert isinstance(strategy, GradientStrategy)
        with isolated(network, rhos):
            task = MetaTask(network, rhos, loss, ahead, judged, optimizer)
            found[name] = torch.stack(strategy.gradients(task))
    exact = found.pop("unrolled")
    first, finite = (float(cosine_similarity(one, exact, dim=0)) for one in found.values())
    return first, finite


def main() -> None:
    """Print the table."""
    print(f"torch {torch.__version__}; means over {SEEDS} seeds\n")
    print("| learning rate | K | first_order | finite_difference |")
    print("|---|---|---|---|")
    for rate in RATES:
        for steps in STEPS:
            found = torch.tensor([cosines(rate, steps, seed) for seed in range(SEEDS)])
            first, finite = found.mean(dim=0).tolist()
            print(f"| {rate:g} | {steps} | {first:.3f} | {finite:.3f} |", flush=True)


if __name__ == "__main__":
    main()
