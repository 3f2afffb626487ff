"""Export a trained model: a self-contained bundle, LoRA files for HF peft, ONNX, a backbone."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch

from rsmeta.bundle import BundleRecord, ModelBundle, load_bundle, rebuild, save_bundle
from rsmeta.bundle.as_backbone import standalone
from rsmeta.bundle.find import RECORD_FILE
from rsmeta.config.meta import MetaSettings
from rsmeta.config.tuner import TunerSpec, tuner_specs
from rsmeta.errors import ExportError, OutputError, one_line
from rsmeta.files import write_atomically
from rsmeta.geo.inputs import check_not_an_input
from rsmeta.peft import AdaptedModule, merge, scales_of, strip_merged
from rsmeta.peft.lora import LoRAOnOutput, lora_parts, low_rank_pair
from rsmeta.workflows.export_backbone import export_backbone
from rsmeta.workflows.export_onnx import export_onnx

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rsmeta.models.network import Network

PEFT_WEIGHTS = "adapter_model.safetensors"
PEFT_CONFIG = "adapter_config.json"


def export(
    bundle: str | Path | ModelBundle,
    output: str | Path,
    *,
    form: str,
    overwrite: bool = False,
    licence: str | None = None,
) -> Path:
    """Export a model.

    Args:
        bundle: A bundle, or its folder.
        output: Folder to write; for ``onnx`` and ``backbone`` a file.
        form: ``merged`` (one self-contained bundle), ``peft`` (LoRA files for HF peft),
            ``onnx`` (one file for the QGIS plugin Deepness) or ``backbone`` (a weights file that
            other models can start from).
        overwrite: Replace an existing output.
        licence: Of the exported weights, for ``backbone``; none: that of the weights that they
            started from.

    Returns:
        The folder or file.

    Raises:
        ExportError: The model cannot be exported in this format.
        BundleError: The bundle cannot be loaded.
        OutputError: The output exists, or cannot be written.
    """
    if form not in FORMS:
        raise ExportError(f"unknown export format {form!r}; use {' or '.join(FORMS)}")
    if licence is not None and form != "backbone":
        raise ExportError(f"--licence={licence} applies to --format backbone, not to {form}")
    folder = Path(output)
    if folder.exists() and not overwrite:
        raise OutputError(f"{folder} exists; choose another name, or use --overwrite")
    ending = _FILES.get(form)
    if ending is not None and (folder.suffix.lower() != ending or folder.is_dir()):
        raise OutputError(
            f"--format {form} cannot write to {folder}; name a file that ends in {ending}"
        )
    if folder.is_dir() and any(folder.iterdir()) and not _is_export(folder):
        raise OutputError(f"{folder} holds other files than an export; choose another folder")
    loaded = bundle if isinstance(bundle, ModelBundle) else load_bundle(bundle)
    used = [loaded.path] if loaded.path is not None else []
    check_not_an_input([folder], [*used, *loaded.record.model.checkpoints])
    options = {} if licence is None else {"licence": licence}
    FORMS[form](loaded, folder, **options)
    return folder


def _is_export(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (RECORD_FILE, PEFT_CONFIG))


# -- one self-contained bundle ---------------------------------------------------------------------


def _export_merged(bundle: ModelBundle, folder: Path) -> None:
    members = bundle.record.model.average
    if any(one.checkpoint is not None or one.pretrained for one in members):
        raise ExportError(
            "an average whose members have a backbone's weights cannot be merged; copy the bundle "
            "folder, with the weights file in it"
        )
    whole = copy.deepcopy(bundle.network)
    merge(whole)
    strip_merged(whole)
    record = _standalone(bundle, whole)
    network, state = rebuild(record), whole.state_dict()
    new = sorted(state.keys() - network.state_dict().keys())
    record = record.model_copy(
        update={"added_biases": tuple(n.removesuffix(".bias") for n in new if n.endswith(".bias"))}
    )
    network.add_biases(record.added_biases)
    network.load_trained_state(state)
    save_bundle(folder, record, network.eval())


def _standalone(bundle: ModelBundle, whole: Network) -> BundleRecord:
    """Return the record of the merged model, without checkpoint and merged adapters.

    Args:
        bundle: The model.
        whole: Its network after merging.
    """
    record, backbone = bundle.record, bundle.network.backbone
    left = [module for module in whole.modules() if isinstance(module, AdaptedModule)]
    stay = tuple(s for s in tuner_specs(record.tuner) if s.method in {m.name for m in left})
    for module in left:
        module.among_others = len(stay) > 1
    return record.model_copy(
        update={
            "model": standalone(record.model, backbone),
            "tuner": stay if len(stay) > 1 else stay[0] if stay else TunerSpec(method="head"),
            "meta": record.meta if stay else MetaSettings(),
            "scales": scales_of(whole.backbone),
            "kept_sites": tuple(scales_of(whole.backbone)),
        }
    )


# -- HF peft ---------------------------------------------------------------------------------------


def _export_peft(bundle: ModelBundle, folder: Path) -> None:
    _check_for_peft(bundle)
    state: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for path, (module, parts) in lora_parts(bundle.network.backbone).items():
        name = path.partition(".")[2]  # timm's name
        down, up = low_rank_pair(parts, module.out_features)
        state[f"base_model.model.{name}.lora_A.weight"] = down.T.detach()
        state[f"base_model.model.{name}.lora_B.weight"] = up.T.detach()
        ranks[name] = down.shape[1]
    stem = bundle.network.backbone.patch_embed.get_submodule("proj")
    for leaf, tensor in stem.state_dict().items():
        state[f"base_model.model.patch_embed.proj.{leaf}"] = tensor
    files = {
        PEFT_WEIGHTS: safetensors.torch.save({k: t.contiguous() for k, t in state.items()}),
        PEFT_CONFIG: (json.dumps(_peft_config(bundle, ranks), indent=2) + "\n").encode(),
        "README.md": _read_me(bundle).encode(),
    }
    _write_folder(folder, files)


def _check_for_peft(bundle: ModelBundle) -> None:
    backbone = bundle.network.backbone
    others = sorted({s.method for s in tuner_specs(bundle.record.tuner)} - {"lora"})
    if others:
        raise ExportError(
            f"--format peft supports lora only, and this model was tuned with "
            f"{', '.join(others)}; use --format merged"
        )
    if backbone.record.family != "timm":
        raise ExportError(
            f"--format peft needs a timm backbone, and {backbone.record.name} is not one; use "
            f"--format merged"
        )
    if not backbone.has_weights:
        raise ExportError(
            f"the frozen weights of {backbone.record.name} are random and in no file, so peft "
            f"files would be useless; use --format merged"
        )
    if backbone.projection is not None:
        raise ExportError(
            "model.stem.strategy=project adds a layer before the timm model, which HF peft files "
            "cannot hold; use --format merged"
        )
    if any(isinstance(module, LoRAOnOutput) for module in backbone.modules()):
        raise ExportError(
            "lora with out_reads=output changes a bias, which HF peft does not support; use "
            "--format merged"
        )


def _peft_config(bundle: ModelBundle, ranks: dict[str, int]) -> dict[str, Any]:
    """Return HF peft's settings; scales are folded into the matrices (alpha = rank)."""
    common = max(ranks.values())
    others = {name: rank for name, rank in ranks.items() if rank != common}
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": bundle.network.backbone.record.name,
        "target_modules": list(ranks),
        "modules_to_save": ["patch_embed.proj"],
        "r": common,
        "lora_alpha": common,
        "rank_pattern": others,
        "alpha_pattern": others,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }


def _read_me(bundle: ModelBundle) -> str:
    record = bundle.record
    bands = "\n".join(f"| {b.name} | {b.mean:.6g} | {b.std:.6g} |" for b in record.bands)
    options = "".join(f", {key}={value!r}" for key, value in record.model.options.items())
    name = record.backbone.name
    return (
        f"# LoRA for {name}\n\n"
        f"Trained with rsmeta {record.rsmeta}. Load it onto the same timm model with the weights "
        f"it was trained on (SHA-256 {record.backbone.sha256 or 'as published'}):\n\n"
        f"```python\n"
        f"vit = timm.create_model({name!r}, in_chans={len(record.bands)}, num_classes=0, "
        f"dynamic_img_size=True{options})\n"
        f"model = peft.PeftModel.from_pretrained(vit, '.')\n"
        f"```\n\n"
        f"Input bands, in this order, each standardised as (value - mean) / std:\n\n"
        f"| band | mean | std |\n|---|---|---|\n{bands}\n\n"
        f"The stem is included because it was fitted to these bands; rsmeta's head is not.\n"
    )


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write files to a folder that gets its name only when it is complete.

    Raises:
        OutputError: The folder cannot be written.
    """
    try:
        with write_atomically(folder) as hidden:
            hidden.mkdir()
            for name, content in files.items():
                (hidden / name).write_bytes(content)
    except OSError as error:
        raise OutputError(f"cannot write {folder} ({one_line(error)})") from error


FORMS: dict[str, Callable[..., None]] = {
    "merged": _export_merged,
    "peft": _export_peft,
    "onnx": export_onnx,
    "backbone": export_backbone,
}

#: Ending of the formats that are one file.
_FILES = {"onnx": ".onnx", "backbone": ".safetensors"}
