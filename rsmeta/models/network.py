"""The network: prepare, backbone and head, and which of its tensors were trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from rsmeta.errors import BundleError, TunerError, enumerate_names
from rsmeta.models.backbone import Backbone, pad_to_multiple
from rsmeta.models.prepare import Prepare
from rsmeta.peft import AdaptedModule, Modulator, TunedSites, is_merged, keep_sites

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from rsmeta.heads.base import Head
    from rsmeta.models.normalise import Normalisation


class Network(nn.Module):
    """From physical pixels to one score per class and pixel.

    Args:
        normalisation: How the bands are normalised.
        backbone: Backbone with its adapters in place.
        head: Head for this backbone.
        tuned: What the tuner did.
    """

    def __init__(
        self, normalisation: Normalisation, backbone: Backbone, head: Head, *, tuned: TunedSites
    ) -> None:
        super().__init__()
        self.normalisation = normalisation
        self.prepare = Prepare(normalisation.mean, normalisation.std, normalisation.form)
        self.backbone = backbone
        self.head = head
        self.tuned = tuned
        self._trained = self._names_to_save()

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return logits (B, K, H, W).

        Args:
            image: Bands in physical units, (B, C, H, W) float32.
            valid: True where a pixel counts, (B, H, W) bool.
        """
        # Padded before it is normalised, so that the margin is invalid like any other.
        multiple_px = self.backbone.multiple_px
        x = self.prepare(pad_to_multiple(image, multiple_px), pad_to_multiple(valid, multiple_px))
        logits = cast("Tensor", self.head(self.backbone.dense(x, self.head.depths), x))
        return logits[..., : image.shape[-2], : image.shape[-1]]

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that an optimizer of the weights takes; never the scales'."""
        scales = {id(rho) for rho in self.scale_parameters()}
        return [p for p in self.parameters() if p.requires_grad and id(p) not in scales]

    def scale_parameters(self) -> list[nn.Parameter]:
        """Return what the scales of the adapters are made of: each rho once, shared or not."""
        return [m.rho for m in self.modules() if isinstance(m, Modulator)]

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

    def _names_once(self) -> frozenset[str]:
        """Return the names of the state without the second names of shared parameters."""
        every = {name for name, _ in self.named_parameters(remove_duplicate=False)}
        once = {name for name, _ in self.named_parameters()}
        return frozenset(self.state_dict()) - (every - once)

    def _names_to_save(self) -> frozenset[str]:
        names = self._names_once()
        if not self.backbone.has_weights:
            return names
        learned = {name for name, p in self.named_parameters() if p.requires_grad}
        kept = ["prepare.", "head."]
        for path, module in self.named_modules():
            if isinstance(module, AdaptedModule):
                kept += [f"{path}.adapters.", f"{path}.modulators."]
            elif module is self.backbone.stem:
                kept.append(f"{path}.")
        return frozenset(n for n in names if n in learned or n.startswith(tuple(kept)))
