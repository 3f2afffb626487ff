"""Only the sites with most Fisher information are trained, and they are chosen anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from rsmeta.errors import TunerError
from rsmeta.training.fit import fit
from rsmeta.training.meta import TopSites
from tests.integration.conftest import write_data
from tests.integration.meta_runs import killed_and_resumed, make_module, settings_of

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.models.network import Network
    from rsmeta.training.module import TaskModule
    from tests.conftest import MakeScene

#: Six steps; q and v of two blocks are adapted.
FIXED = ("meta={strategy: fixed}", "data.split.validation=0")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene) -> Path:
    return write_data(tmp_path_factory.mktemp("top") / "data", make_scene)


def adapters(network: Network) -> dict[str, torch.Tensor]:
    """Return all weights of each site's adapter, by block and position."""
    found: dict[str, list[torch.Tensor]] = {}
    for name, value in network.trained_state().items():
        if ".adapters." in name:
            block, position = name.split(".blocks.")[1].split(".")[0], name.split(".")[-2]
            found.setdefault(f"{block}.{position}", []).append(value.detach().flatten().clone())
    return {site: torch.cat(values) for site, values in found.items()}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("keep", [1, 3])
def test_between_choices_the_other_sites_stay_as_they_are(
    keep: int, optimizer: str, scenes: Path, tmp_path: Path
) -> None:
    settings = settings_of(
        scenes, *FIXED, f"meta.top_sites={keep}", f"trainer.optimizer.name={optimizer}"
    )
    module, data = make_module(settings)
    before = adapters(module.network)
    fit(module, data, output=tmp_path)
    after = adapters(module.network)
    assert len(before) == 4
    assert sum(not torch.equal(before[site], after[site]) for site in before) == keep


def test_those_with_the_largest_mean_squared_gradient_are_chosen_anew(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, float]] = []
    chosen: list[set[str]] = []
    choose = TopSites.on_before_optimizer_step

    def watched(self: TopSites, trainer: Any, module: TaskModule, *given: Any) -> None:
        squares: dict[str, list[torch.Tensor]] = {}
        for name, p in module.network.named_parameters():
            if ".adapters." in name:
                site = f"{name.split('.blocks.')[1].split('.')[0]}.{name.split('.')[-2]}"
                assert p.grad is not None
                squares.setdefault(site, []).append(p.grad.square().flatten())
        seen.append({site: float(torch.cat(each).mean()) for site, each in squares.items()})
        choose(self, trainer, module, *given)
        chosen.append({
            f"{name.split('.blocks.')[1].split('.')[0]}.{name.split('.')[-2]}"
            for name, p in module.network.named_parameters()
            if ".adapters." in name and p.grad is not None
        })  # fmt: skip

    monkeypatch.setattr(TopSites, "on_before_optimizer_step", watched)
    module, data = make_module(settings_of(scenes, *FIXED, "meta.top_sites=2", "meta.top_every=3"))
    fit(module, data, output=tmp_path)
    expected = []
    for steps in (seen[:1], seen[1:4]):
        total = {site: sum(step[site] for step in steps) for site in steps[0]}
        expected += [set(sorted(total, key=lambda site: -total[site])[:2])] * 3
    assert chosen == expected


def test_a_killed_run_resumes_with_the_sites_that_were_chosen(scenes: Path, tmp_path: Path) -> None:
    settings = settings_of(
        scenes, *FIXED, "meta.top_sites=2", "meta.top_every=4", "trainer.max_epochs=2"
    )
    whole, resumed = killed_and_resumed(settings, tmp_path, after=7)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.mark.parametrize("tuner", ["{method: lora, rank: 2}", "full"])
def test_more_sites_than_there_are_is_refused(tuner: str, scenes: Path) -> None:
    settings = settings_of(scenes, *FIXED, "meta.top_sites=5", f"tuner={tuner}")
    with pytest.raises(TunerError, match=r"meta.top_sites=5 is more than the \d sites"):
        make_module(settings)
