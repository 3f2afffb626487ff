"""Evolution: no gradient; candidates are tried, and the better ones say where to search next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from rsmeta.config.meta import EvolutionOptions
from rsmeta.errors import MissingExtraError, TrainingError
from rsmeta.training.meta.processes import averaged
from rsmeta.training.meta.strategy import STRATEGIES, MetaStrategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from rsmeta.config.base import Strict
    from rsmeta.training.meta.task import MetaTask

#: How far from its start a ``rho`` may be tried: far enough to switch a site off (1 becomes
#: 0.004), and near enough that the search finds back from where nothing changes any more.
_REACH = 6.0


@STRATEGIES.register("evolution")
class Evolution(MetaStrategy):
    """CMA-ES over all ``rho``: each meta step tries one population on the same batches.

    Costs a forward pass per candidate, 4 + 3 ln(number of scales) of them by default. The
    scales are set to the mean of the search distribution.

    Raises:
        MissingExtraError: ``cmaes`` is not installed.
        TrainingError: There is a single scale, which CMA-ES cannot search.

    Source: "The CMA Evolution Strategy: A Tutorial", Hansen, 2016, by the package ``cmaes``.
    """

    Options: ClassVar[type[Strict]] = EvolutionOptions

    def __init__(self, rhos: Sequence[nn.Parameter], options: Any, *, seed: int = 0) -> None:
        super().__init__(rhos, options, seed=seed)
        if sum(rho.numel() for rho in self.rhos) < 2:
            raise TrainingError(
                "meta.strategy=evolution needs two scales or more; choose another "
                "meta.granularity, or meta.strategy=first_order"
            )
        self._start = _flat(self.rhos)
        #: Losses of each population; with start and seed they determine the search.
        self._losses: list[list[float]] = []
        self._search = self._new_search()

    def update(self, task: MetaTask) -> None:
        """Try one population, and move the scales to the new mean."""
        candidates = self._ask()
        losses = []
        with torch.no_grad():
            for candidate in candidates:
                self._set(candidate)
                losses.append(torch.stack([task.loss_of(batch) for batch in task.batches]).mean())
        (means,) = averaged([torch.stack(losses).float()])
        self._record(candidates, torch.nan_to_num(means, nan=torch.inf).tolist())
        self._set(self._search.mean)

    def state_dict(self) -> dict[str, Any]:
        """Return start and losses, from which the search is repeated."""
        return {
            "start": torch.from_numpy(self._start),
            "losses": torch.tensor(self._losses, dtype=torch.float64),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Repeat the search up to where it was; the scales themselves stay as they are."""
        self._start = state["start"].numpy()
        self._losses = []
        self._search = self._new_search()
        for losses in state["losses"].tolist():
            self._record(self._ask(), losses)

    def _new_search(self) -> Any:
        try:
            import cmaes
        except ImportError:
            raise MissingExtraError("cmaes", "evolution") from None
        return cmaes.CMA(
            self._start, self.options.sigma, seed=self.seed,
            bounds=self._start[:, None] + np.array([-_REACH, _REACH]),
            population_size=self.options.population,
        )  # fmt: skip

    def _ask(self) -> list[np.ndarray]:
        return [self._search.ask() for _ in range(self._search.population_size)]

    def _record(self, candidates: Sequence[np.ndarray], losses: list[float]) -> None:
        self._search.tell(list(zip(candidates, losses, strict=True)))
        self._losses.append(losses)

    def _set(self, values: np.ndarray) -> None:
        with torch.no_grad():
            parts = torch.split(torch.from_numpy(values), [rho.numel() for rho in self.rhos])
            for rho, part in zip(self.rhos, parts, strict=True):
                rho.copy_(part.view_as(rho))


def _flat(rhos: Sequence[Tensor]) -> np.ndarray:
    """Return all values in one array, (N,) float64."""
    flat = torch.cat([rho.detach().reshape(-1) for rho in rhos])
    values: np.ndarray = flat.double().cpu().numpy()
    return values
