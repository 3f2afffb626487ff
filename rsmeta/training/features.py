"""Features of images, kept in a cache under all that determines them.

A file holds the features that one network gives; in it each image goes by the hash of its pixels
as the network sees them. So another split, another order or a few more images cost only what is
new, and nothing old is ever taken for what it is not.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch

from rsmeta._version import __version__
from rsmeta.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from rsmeta.config.model import ModelSpec
    from rsmeta.models.network import ImageNetwork

logger = logging.getLogger(__name__)

#: Bytes of the hash of an image.
_HASH_BYTES = 32


def features_of(
    network: ImageNetwork, batches: Iterable[dict[str, Any]], *, model: ModelSpec, device: str
) -> tuple[Tensor, Tensor]:
    """Return the features of images, as the network gives them without adapters.

    Args:
        network: Its backbone, stem and normalisation; it is not changed.
        batches: With ``image``, ``valid`` and ``label``, each image as it is to be seen.
        model: Settings of the backbone, which its tensors alone do not show.
        device: Where to compute.

    Returns:
        Features (N, D) float32 and labels (N, …), on the CPU, in the order of the batches.
    """
    plain = copy.deepcopy(network).eval()
    plain.keep_sites([])
    plain.to(device)
    store = _Store(network_key(plain, model, device))
    features, labels = [], []
    for batch in batches:
        names = [_hash(image, valid) for image, valid in zip(batch["image"], batch["valid"],
                                                             strict=True)]  # fmt: skip
        new = [i for i, name in enumerate(names) if name not in store.known]
        if new:
            with torch.inference_mode():
                found = plain.features(
                    batch["image"][new].to(device), batch["valid"][new].to(device)
                )
            store.known |= {names[i]: f for i, f in zip(new, found.float().cpu(), strict=True)}
        features.append(torch.stack([store.known[name] for name in names]))
        labels.append(batch["label"])
    store.save()
    return torch.cat(features), torch.cat(labels)


def network_key(network: ImageNetwork, model: ModelSpec, device: str) -> str:
    """Return a hash of all that features depend on beside the image itself."""
    digest = hashlib.sha256()
    said = model.model_dump_json(include={"backbone", "options", "normalise", "stem"})
    kind = torch.device(device).type
    digest.update(f"{__version__} {kind} {said} {network.pool}".encode())
    digest.update(network.prepare.form.encode())
    for part in (network.backbone, network.prepare):
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _hash(image: Tensor, valid: Tensor) -> bytes:
    digest = hashlib.sha256(str(tuple(image.shape)).encode())
    digest.update(image.contiguous().numpy().data)
    digest.update(valid.contiguous().numpy().data)
    return digest.digest()


class _Store:
    """Features by the hash of their image; read at once, written whole or not at all.

    Args:
        key: What the file is called.
    """

    def __init__(self, key: str) -> None:
        self.path = Path(torch.hub.get_dir()) / "rsmeta" / "features" / f"{key}.safetensors"
        self.known: dict[bytes, Tensor] = {}
        if not self.path.is_file():
            self._before = 0
            return
        try:
            kept = safetensors.torch.load_file(self.path)
            names = kept["images"].numpy().tobytes()
            places = range(0, len(names), _HASH_BYTES)
            self.known = {
                names[i : i + _HASH_BYTES]: feature
                for i, feature in zip(places, kept["features"], strict=True)
            }
            logger.debug("%d features are known from %s", len(self.known), self.path)
        except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
            logger.warning("%s cannot be read (%s); features are computed anew", self.path, error)
        self._before = len(self.known)

    def save(self) -> None:
        """Write what is known, if that is more than was read."""
        if len(self.known) == self._before:
            return
        names = torch.frombuffer(bytearray(b"".join(self.known)), dtype=torch.uint8)
        tensors = {"images": names, "features": torch.stack(list(self.known.values()))}
        try:
            with write_atomically(self.path, shared=True) as hidden:
                hidden.write_bytes(safetensors.torch.save(tensors))
        except OSError as error:
            logger.warning("features are not kept: cannot write %s (%s)", self.path, error)
