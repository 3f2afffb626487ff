"""The network: prepare, backbone and head, and which of its tensors were trained."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.errors import BundleError, TunerError, enumerate_names
from rsmeta.heads.solved import SolvedHead
from rsmeta.models.backbone import Backbone, pad_to_multiple
from rsmeta.models.prepare import Prepare
from rsmeta.peft import AdaptedModule, TunedSites, is_merged, keep_sites, scale_parameters

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from rsmeta.config.model import ModelSpec, Pool
    from rsmeta.heads import Classifier, Head, LinearPixelHead, PixelHead
    from rsmeta.models.normalise import Normalisation


class TargetScale(nn.Module):
    """Takes a head's numbers, which lie around 0, into the unit of the labels.

    Args:
        mean: Mean of the training labels.
        std: Their standard deviation, above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(float(mean)))
        self.register_buffer("std", torch.tensor(float(std)))

    def forward(self, standardised: Tensor) -> Tensor:
        """Return numbers in the labels' unit, of the same shape, float32."""
        return standardised.float() * self.std + self.mean


class Network(nn.Module):
    """From physical pixels to one score per class and pixel, or to one number per pixel.

    Args:
        normalisation: How the bands are normalised.
        backbone: Backbone with its adapters in place.
        head: Head for this backbone.
        tuned: What the tuner did.
        zoom: The backbone sees the image so many times larger; scores are of its own pixels.
    """

    def __init__(
        self,
        normalisation: Normalisation,
        backbone: Backbone,
        head: Head,
        *,
        tuned: TunedSites,
        zoom: int = 1,
    ) -> None:
        super().__init__()
        self.zoom = zoom
        self.normalisation = normalisation
        self.prepare = Prepare(normalisation.mean, normalisation.std, normalisation.form)
        self.backbone = backbone
        self.head = head
        self.target: TargetScale | None = None
        #: Settings that rebuild the network, where they are not those that it was built by.
        self.rebuilt_by: ModelSpec | None = None
        self.tuned = tuned
        self._trained = self._names_to_save()

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return logits (B, K, H, W).

        Args:
            image: Bands in physical units, (B, C, H, W) float32.
            valid: True where a pixel counts, (B, H, W) bool.
        """
        x, _ = self.enter(image, valid)
        head, large = cast("PixelHead", self.head), self.enlarge(x)
        maps = self.backbone.dense(large, head.depths)
        solved = isinstance(head, SolvedHead)
        logits = cast("Tensor", head(maps, x if solved else large))
        if self.zoom > 1 and not solved:
            logits = functional.avg_pool2d(logits, self.zoom)
        return self.leave(logits[..., : image.shape[-2], : image.shape[-1]])

    def pixel_features(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return what a ``SolvedHead`` or ``LinearPixelHead`` takes of every pixel, (B, F, H, W).

        Args:
            image: Bands in physical units, (B, C, H, W) float32.
            valid: True where a pixel counts, (B, H, W) bool.
        """
        x, _ = self.enter(image, valid)
        head, large = cast("SolvedHead | LinearPixelHead", self.head), self.enlarge(x)
        found = head.features(
            self.backbone.dense(large, head.depths), x if self.solvable else large
        )
        if self.zoom > 1 and not self.solvable:
            found = functional.avg_pool2d(found, self.zoom)
        return found[..., : image.shape[-2], : image.shape[-1]]

    @property
    def solvable(self) -> bool:
        """Whether its head is solved for, without gradient steps."""
        return isinstance(self.head, SolvedHead)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.prepare.mean.device

    def enter(self, image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return prepared images, to be enlarged, and where they are valid; padded to fit."""
        # Padded before it is normalised, so that the margin is invalid like any other.
        multiple_px = self.backbone.multiple_px // math.gcd(self.backbone.multiple_px, self.zoom)
        image, valid = (pad_to_multiple(one, multiple_px) for one in (image, valid))
        return self.prepare(image, valid), valid

    def enlarge(self, x: Tensor) -> Tensor:
        """Return prepared images as the backbone sees them."""
        if self.zoom == 1:
            return x
        # After bands are normalised: what is not valid is the mean by then.
        return functional.interpolate(x, scale_factor=self.zoom, mode="bilinear")

    def leave(self, scores: Tensor) -> Tensor:
        """Return a head's scores as they are, or numbers in the unit of the labels."""
        return scores if self.target is None else cast("Tensor", self.target(scores))

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that an optimizer of the weights takes; never the scales'."""
        scales = {id(rho) for rho in self.scale_parameters()}
        return [p for p in self.parameters() if p.requires_grad and id(p) not in scales]

    def scale_parameters(self) -> list[nn.Parameter]:
        """Return what the adapters' scales are computed from: each rho once, shared or not."""
        return scale_parameters(self)

    def keep_sites(self, names: Collection[str]) -> None:
        """Drop the adapters of all sites but these; the rest is as if their scale were 0.

        Args:
            names: The sites that stay, as ``peft.site_modulators`` names them.

        Raises:
            TunerError: A name is of no adapted site, or the adapters are merged.
        """
        if is_merged(self):
            raise TunerError("the network's adapters are merged; unmerge it before dropping sites")
        keep_sites(self.backbone, names)
        left = [m for m in self.backbone.modules() if isinstance(m, AdaptedModule)]
        sites = [site for module in left for site in module.sites.values()]
        self.tuned = replace(
            self.tuned,
            sites=tuple(sorted(sites, key=lambda site: site.block)),
            adapter_parameters=sum(p.numel() for m in left for p in m.adapters.parameters()),
        )
        self._trained = self._names_to_save()

    def set_target(self, mean: float, std: float) -> None:
        """Estimate a number in the unit of the labels, instead of scoring classes.

        Args:
            mean: Mean of the training labels.
            std: Their standard deviation, above 0.
        """
        self.target = TargetScale(mean, std)
        self._trained = self._names_to_save()

    def keep_in_bundle(self, spec: ModelSpec) -> None:
        """Save the whole backbone with what is trained: its weights are in no other file.

        Args:
            spec: Settings that build the network without a checkpoint.
        """
        self.backbone.in_bundle = True
        self.rebuilt_by = spec
        self._trained = self._names_to_save()

    def add_biases(self, modules: Collection[str]) -> None:
        """Give modules a bias of 0 where they have none, as merged adapters may need one.

        Args:
            modules: Names of linear maps or normalisations inside the network.
        """
        for name in modules:
            module = self.get_submodule(name)
            if cast("Tensor | None", module.bias) is None:
                weight = cast("Tensor", module.weight)
                module.bias = nn.Parameter(weight.new_zeros(len(weight)), requires_grad=False)
        self._trained = self._names_to_save()

    def trained_state(self) -> dict[str, Tensor]:
        """Return the tensors that must be saved to have this network again.

        Adapters, modulators, head, stem, normalisation and whatever else learned; the whole
        network where the backbone's weights came from chance.

        Raises:
            BundleError: The adapters are merged.
        """
        if is_merged(self):
            raise BundleError("the network's adapters are merged; unmerge it before saving")
        state = self.state_dict()
        return {name: state[name].detach() for name in state if name in self._trained}

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``trained_state`` returned; all of it is checked before any is taken.

        Raises:
            BundleError: A tensor is missing, left over or of another shape, or the adapters are
                merged.
        """
        if is_merged(self):
            raise BundleError("the network's adapters are merged; unmerge it before loading")
        self.fit_shapes(state)
        own = self.state_dict()
        missing = sorted(self._trained - state.keys())
        extra = sorted(state.keys() - self._trained)
        for names, what in ((missing, "lack"), (extra, "hold unknown")):
            if names:
                raise BundleError(
                    f"the weights {what} {len(names)} tensors ({enumerate_names(names, 3)}); "
                    f"they belong to another network or version"
                )
        for name, tensor in state.items():
            if tensor.shape != own[name].shape:
                raise BundleError(
                    f"the weight {name} has shape {tuple(tensor.shape)}, this network needs "
                    f"{tuple(own[name].shape)}; it belongs to another network"
                )
        with torch.no_grad():
            for name, tensor in state.items():
                own[name].copy_(tensor)

    def fit_shapes(self, state: Mapping[str, Tensor]) -> None:
        """Make room for saved tensors whose shapes depend on what was solved.

        Args:
            state: Tensors by their names in this network.
        """
        if isinstance(self.head, SolvedHead):
            prefix = "head."
            self.head.fit_shapes(
                {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
            )

    def names_to_save(self) -> frozenset[str]:
        """Return the names of the tensors in ``trained_state``."""
        return self._trained

    def _names_once(self) -> frozenset[str]:
        """Return the names of the state without the second names of shared parameters."""
        every = {name for name, _ in self.named_parameters(remove_duplicate=False)}
        once = {name for name, _ in self.named_parameters()}
        return frozenset(self.state_dict()) - (every - once)

    def _names_to_save(self) -> frozenset[str]:
        names = self._names_once()
        if self.backbone.in_bundle or not self.backbone.has_weights:
            return names
        learned = {name for name, p in self.named_parameters() if p.requires_grad}
        kept = ["prepare.", "head.", "target.", "backbone.projection."]
        for path, module in self.named_modules():
            if isinstance(module, AdaptedModule):
                kept += [f"{path}.adapters.", f"{path}.modulators."]
            elif module is self.backbone.stem:
                kept.append(f"{path}.")
        return frozenset(n for n in names if n in learned or n.startswith(tuple(kept)))


class ImageNetwork(Network):
    """From physical pixels to one score per class and image, or to one number per image.

    Args:
        normalisation: How the bands are normalised.
        backbone: Backbone with its adapters in place.
        head: Scores one vector per image.
        pool: How that vector is made.
        tuned: What the tuner did.
        zoom: The backbone sees the image so many times larger.
    """

    def __init__(
        self,
        normalisation: Normalisation,
        backbone: Backbone,
        head: Classifier,
        *,
        pool: Pool,
        tuned: TunedSites,
        zoom: int = 1,
    ) -> None:
        super().__init__(normalisation, backbone, head, tuned=tuned, zoom=zoom)
        self.pool = pool

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return logits (B, K).

        Args:
            image: Bands in physical units, (B, C, H, W) float32.
            valid: True where a pixel counts, (B, H, W) bool.
        """
        return self.leave(cast("Tensor", self.head(self.features(image, valid))))

    def features(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return one vector per image (B, D); arguments as those of ``forward``."""
        x, seen = self.enter(image, valid)
        features = self.backbone(self.enlarge(x))
        if self.pool == "token":
            return cast("Tensor", features.cls)
        return mean_of_valid(features.map, seen)


def mean_of_valid(maps: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of features, (B, D), each weighted by how much of its ground is valid.

    Args:
        maps: Features (B, D, h, w).
        valid: (B, H, W) bool, on the same ground; where nothing is, all patches count alike.
    """
    size = (maps.shape[-2], maps.shape[-1])
    shares = functional.adaptive_avg_pool2d(valid.to(maps.dtype)[:, None], size)
    shares = torch.where(shares.sum(dim=(2, 3), keepdim=True) > 0, shares, 1.0)
    return (maps * shares).sum(dim=(2, 3)) / shares.sum(dim=(2, 3))
