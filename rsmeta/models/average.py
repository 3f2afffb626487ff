"""A network whose probabilities are the mean of those of other networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from rsmeta.config.base import NoOptions
from rsmeta.config.model import AVERAGE
from rsmeta.heads.base import HeadInput, PixelHead
from rsmeta.heads.logistic import LogisticHead, linear_scores
from rsmeta.heads.solved import LEAST_PROBABILITY
from rsmeta.models.backbone import Backbone, Features
from rsmeta.models.network import Network
from rsmeta.models.pixels import PixelBackbone, Surroundings
from rsmeta.models.records import BackboneRecord
from rsmeta.models.stem import StemFilter, StemReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rsmeta.geo.bands import Band
    from rsmeta.models.normalise import Normalisation
    from rsmeta.peft import TunedSites
    from rsmeta.peft.sites import Site


class AverageBackbone(Backbone):
    """Its features are the logarithms of the mean probabilities of its members, (B, K, H, W).

    It takes bands in physical units, NaN where a pixel is not valid; each member normalises them.

    Args:
        bands: Bands of the input, in its order, C.
        members: Networks for these bands and the same classes.
        classes: Number of classes K.
    """

    def __init__(self, bands: Sequence[Band], members: Sequence[Network], classes: int) -> None:
        names = " + ".join(dict.fromkeys(one.backbone.record.name for one in members))
        record = BackboneRecord(
            name=f"{AVERAGE} of {len(members)}: {names}", family=AVERAGE, source=None,
            bands=None, mean=None, std=None, image_px=1, licence=None, form="physical",
        )  # fmt: skip
        filters = tuple(StemFilter(band.name, "copied", {band.name: 1.0}) for band in bands)
        super().__init__(bands, record=record, stem_report=StemReport(filters), load_report=None)
        self.members = nn.ModuleList(members)
        self._classes = classes
        self._stem = nn.Identity()

    @property
    def has_weights(self) -> bool:
        """Whether no weights of a member came from chance."""
        bare = [cast("Network", one).backbone for one in self.members]
        return all(one.has_weights or not any(True for _ in one.parameters()) for one in bare)

    @property
    def depth(self) -> int:
        """One block, so to speak."""
        return 1

    @property
    def dim(self) -> int:
        """Number of classes K."""
        return self._classes

    @property
    def patch_px(self) -> int:
        """A pixel: members pad what they take."""
        return 1

    @property
    def halo_px(self) -> int | None:
        """The largest halo of a member; none where one looks at the whole image."""
        halos = [cast("Network", one).backbone.halo_px for one in self.members]
        known = [halo for halo in halos if halo is not None]
        return max(known) if len(known) == len(halos) else None

    @property
    def patch_embed(self) -> nn.Module:
        """What meets the bands: nothing but themselves."""
        return self._stem

    def sites(self) -> tuple[Site, ...]:
        """Return none: there is nothing to adapt."""
        return ()

    def forward(self, x: Tensor) -> Features:
        """Return the scores of every pixel, and their mean."""
        scores = self._scores(x)
        return Features(scores, scores.mean(dim=(2, 3)))

    def dense(self, x: Tensor, depths: Sequence[int]) -> list[Tensor]:
        """Return the scores of every pixel, (B, K, H, W), once per depth."""
        scores = self._scores(x)
        return [scores for _ in depths]

    def _scores(self, x: Tensor) -> Tensor:
        valid = x.isfinite().all(dim=1)
        image = torch.where(valid[:, None], x, 0.0)
        # bands and surroundings are computed once for all members that take nothing else
        given = Surroundings(x)
        heads, parts, scores = [], [], []
        for one in cast("Iterable[Network]", self.members):
            if not isinstance(one.backbone, PixelBackbone):
                scores.append(one(image, valid))
            elif isinstance(one.head, LogisticHead):
                heads.append(one.head)
                parts.append(one.backbone.pieces(given))
            else:
                scores.append(one.head([one.backbone.features(given)], given.bands))
        if heads:
            scores += linear_scores(heads, parts)
        total = sum(one.float().softmax(dim=1) for one in scores) / len(scores)
        return cast("Tensor", total).clamp_min(LEAST_PROBABILITY).log()


class GivenScores(PixelHead):
    """The head of an average: its backbone's features are the scores.

    Args:
        shape: What stands before it.
        classes: Number of classes K.
    """

    def __init__(self, shape: HeadInput, classes: int) -> None:
        super().__init__(shape, classes, NoOptions())

    @property
    def depths(self) -> tuple[int, ...]:
        """The only one."""
        return (0,)

    def forward(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Return the scores as they are."""
        return maps[0]


class AverageNetwork(Network):
    """The mean of the probabilities of several networks, as one network.

    What is saved of it is what is saved of its members.

    Args:
        normalisation: Leaves bands in physical units.
        backbone: Holds the members.
        head: Passes their scores on.
        tuned: That nothing is adapted.
    """

    def __init__(
        self,
        normalisation: Normalisation,
        backbone: AverageBackbone,
        head: GivenScores,
        *,
        tuned: TunedSites,
    ) -> None:
        super().__init__(normalisation, backbone, head, tuned=tuned)

    @property
    def members(self) -> list[Network]:
        """The networks whose probabilities are averaged."""
        return [cast("Network", one) for one in cast("AverageBackbone", self.backbone).members]

    @property
    def solvable(self) -> bool:
        """Whether the heads of all members are solved for."""
        return all(one.solvable for one in self.members)

    def fit_shapes(self, state: Mapping[str, Tensor]) -> None:
        """Make room for saved tensors in each member."""
        for prefix, member in self._prefixed():
            member.fit_shapes(
                {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
            )

    def _names_to_save(self) -> frozenset[str]:
        own = {f"prepare.{name}" for name in self.prepare.state_dict()}
        return frozenset(own).union(
            *({prefix + name for name in one.names_to_save()} for prefix, one in self._prefixed())
        )

    def _prefixed(self) -> list[tuple[str, Network]]:
        return [(f"backbone.members.{i}.", one) for i, one in enumerate(self.members)]
