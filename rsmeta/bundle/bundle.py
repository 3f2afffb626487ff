"""Save and load a trained model, whole or not at all."""

from __future__ import annotations

import logging
import shutil
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.torch
import yaml

from rsmeta.bundle.find import RECORD_FILE, WEIGHTS_FILE, bundle_folder
from rsmeta.bundle.mlm import model_item
from rsmeta.bundle.no_draws import NoDraws
from rsmeta.bundle.record import FORMAT, READABLE, BundleRecord
from rsmeta.config.load import validate
from rsmeta.config.yaml_files import parse_yaml
from rsmeta.errors import BundleError, ConfigError, OutputError, RsmetaError, one_line, optional
from rsmeta.files import file_sha256, write_atomically
from rsmeta.models.build import build_network
from rsmeta.models.weights import is_local
from rsmeta.shown import Shown, View, pictures_in

if TYPE_CHECKING:
    from rsmeta.config.model import ModelSpec
    from rsmeta.models.network import Network

logger = logging.getLogger(__name__)

QUICKLOOK_FILE = "quicklook.png"
MODEL_ITEM_FILE = "mlm.json"


@dataclass(frozen=True, repr=False)
class ModelBundle(Shown):
    """A trained network and everything that says how to use it.

    Attributes:
        record: What ``bundle.yaml`` says.
        network: The network with its trained weights, in evaluation mode.
        path: The folder; none before it is saved.
    """

    record: BundleRecord
    network: Network
    path: Path | None = None

    def view(self) -> View:
        """Return model, bands and classes, with chips of its training."""
        record = self.record
        facts = {"path": self.path, "task": record.task, "backbone": record.backbone.name,
                 "bands": len(record.bands), "classes": len(record.classes) or None}  # fmt: skip
        rows = [("band", band.name, band.wavelength_nm) for band in record.bands]
        rows += [("class", spec.name, spec.value) for spec in record.classes]
        pictures = [] if self.path is None else pictures_in(self.path, QUICKLOOK_FILE)
        return View(facts, ("", "name", "nm, value"), rows, pictures)


def save_bundle(folder: Path, record: BundleRecord, network: Network) -> ModelBundle:
    """Write a bundle folder, replacing the one that is there.

    The folder appears under its name only when it is complete. ``record.weights_sha256`` is
    filled in here.

    Raises:
        OutputError: The folder cannot be written.
    """
    state = {name: t.detach().cpu().contiguous() for name, t in network.trained_state().items()}
    try:
        with write_atomically(folder) as hidden:
            hidden.mkdir()
            weights = hidden / WEIGHTS_FILE
            weights.write_bytes(safetensors.torch.save(state))
            record = record.model_copy(update={"weights_sha256": file_sha256(weights)})
            _write_record(hidden, record)
    except (OSError, safetensors.SafetensorError) as error:
        raise OutputError(f"cannot write the bundle {folder} ({one_line(error)})") from error
    return ModelBundle(record, network, folder)


def annotate_bundle(
    bundle: ModelBundle, training: dict[str, Any], *, quicklook: Path | None = None
) -> ModelBundle:
    """Add to a saved bundle what is known only later: the scores, and a picture.

    Args:
        bundle: The saved bundle.
        training: Seed, steps, parameters, metrics.
        quicklook: A picture to copy, if it exists.

    Raises:
        OutputError: The folder cannot be written.
    """
    folder = bundle.path
    assert folder is not None
    record = bundle.record.model_copy(update={"training": training})
    try:
        _write_record(folder, record)
    except OSError as error:
        raise OutputError(f"cannot write the bundle {folder} ({one_line(error)})") from error
    if quicklook is not None and quicklook.exists():
        with optional(f"the picture {QUICKLOOK_FILE}"):
            shutil.copyfile(quicklook, folder / QUICKLOOK_FILE)
    return replace(bundle, record=record)


def _write_record(folder: Path, record: BundleRecord) -> None:
    """Write ``bundle.yaml``, and the STAC item beside it."""
    text = yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    with write_atomically(folder / RECORD_FILE) as hidden:
        hidden.write_text(text, encoding="utf-8")
    item = folder / MODEL_ITEM_FILE
    with optional(f"the STAC item {item.name}"):
        made = model_item(record, folder / WEIGHTS_FILE, folder / RECORD_FILE, item)
        with write_atomically(item) as hidden:
            hidden.write_text(made, encoding="utf-8")


def load_bundle(path: str | Path, *, to_apply: bool = False) -> ModelBundle:
    """Load a bundle folder and rebuild its network.

    Args:
        path: The folder, as ``rsmeta train`` leaves it in ``DIR/bundle``; ``DIR`` itself; or
            ``hf:owner/name[@revision]``.
        to_apply: It is loaded sooner, and the random numbers that follow are not those that would
            follow otherwise; for what needs none.

    Returns:
        The bundle; its network is in evaluation mode, on the CPU, adapters not merged.

    Raises:
        BundleError: The folder is missing, incomplete, damaged, or of another version; or the
            backbone's weights are not those that it was trained on.
    """
    folder = bundle_folder(path)
    record = read_record(folder)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise BundleError(f"{folder} lacks {WEIGHTS_FILE}; copy the whole bundle folder")
    if file_sha256(weights) != record.weights_sha256:
        raise BundleError(f"{weights} is damaged (its SHA-256 is not the bundle's); copy it again")
    record = find_backbone(record, folder)
    with NoDraws() if to_apply else nullcontext():
        network = rebuild(record)
    try:
        network.load_trained_state(safetensors.torch.load_file(weights))
    except safetensors.SafetensorError as error:
        raise BundleError(f"cannot read {weights} ({one_line(error)})") from error
    network.eval()
    return ModelBundle(record, network, folder)


def rebuild(record: BundleRecord) -> Network:
    """Build the network that a record describes; its trained tensors are still to be loaded.

    Raises:
        RsmetaError: The weights of the backbone are unavailable, or differ from those of training.
    """
    network = build_network(
        _as_trained(record),
        record.tuner,
        bands=[band.band for band in record.bands],
        classes=record.output.scores,
        mean=np.array([band.mean for band in record.bands]),
        std=np.array([band.std for band in record.bands]),
        meta=record.meta,
        form=record.stem.form,
        per_pixel=record.per == "pixel",
    )
    if record.kept_sites is not None:
        network.keep_sites(record.kept_sites)
    if record.target is not None:
        network.set_target(record.target.mean, record.target.std)
    network.add_biases(record.added_biases)
    return network


def read_record(folder: Path) -> BundleRecord:
    """Read ``bundle.yaml`` alone.

    Raises:
        BundleError: It is missing, unreadable, or of another version.
    """
    file = folder / RECORD_FILE
    if not file.is_file():
        raise BundleError(f"no bundle at {folder}; give the folder that holds {RECORD_FILE}")
    try:
        tree = parse_yaml(file.read_bytes())
    except (OSError, ConfigError) as error:
        raise BundleError(f"cannot read {file} ({one_line(error)})") from error
    version = tree.get("format") if isinstance(tree, dict) else None
    if version not in READABLE:
        wrote = tree.get("rsmeta", "?") if isinstance(tree, dict) else "?"
        raise BundleError(
            f"{folder} has bundle format {version} (written by rsmeta {wrote}), this rsmeta reads "
            f"format {FORMAT}; use the rsmeta that wrote it, or train again"
        )
    try:
        return validate(BundleRecord, tree | {"format": FORMAT}, str(file))
    except RsmetaError as error:
        raise BundleError(str(error)) from None


def find_backbone(record: BundleRecord, folder: Path) -> BundleRecord:
    """Return the record with the path of the backbone's weights, where they are a file.

    They are looked for under the path that training had, then beside the bundle and its run. Only
    the file of training is accepted. Weights that ship, or come from a cache or the network, are
    checked where they are located.

    Raises:
        BundleError: The file is missing, or differs from that of training.
    """
    model = _found(record.model, record.backbone.sha256, folder)
    if model.average:
        members = (_found(one, one.checkpoint_sha256, folder) for one in model.average)
        model = model.model_copy(update={"average": tuple(members)})
    return record.model_copy(update={"model": model})


def _found(model: ModelSpec, sha256: str | None, folder: Path) -> ModelSpec:
    """Return a model's settings with the path of the file that holds its backbone's weights."""
    checkpoint = model.checkpoint
    if checkpoint is None or not is_local(checkpoint):
        return model
    given = Path(checkpoint)
    beside = [place / name for place in (folder, folder.parent) for name in (given, given.name)]
    files = [path for path in (given, *beside) if path.is_file()]
    if not files:
        raise BundleError(
            f"{folder} needs the backbone weights {given} (SHA-256 {sha256}); "
            f"put the file there or into {folder}"
        )
    for file in files:
        if file_sha256(file) == sha256:
            return model.model_copy(update={"checkpoint": str(file)})
    raise BundleError(
        f"{files[0]} is not the file that {folder} was trained on (SHA-256 "
        f"{file_sha256(files[0])}, expected {sha256}); put the right file there"
    )


def _as_trained(record: BundleRecord) -> ModelSpec:
    """Return the model's settings, which take no other weights than those of training."""
    needs = record.model.checkpoint is not None or record.model.pretrained
    if record.backbone.sha256 is None or not needs:
        return record.model
    return record.model.model_copy(update={"checkpoint_sha256": record.backbone.sha256})
