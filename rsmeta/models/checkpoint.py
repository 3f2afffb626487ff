"""Read checkpoints without running code, and load them into a module without silence."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from rsmeta.errors import CheckpointError, enumerate_names, one_line

StateDict: TypeAlias = dict[str, Tensor]

#: What numpy calls to make a number again, as each pickle of one says.
_scalar = cast("Callable[..., Any]", np.float64(0).__reduce__()[0])

#: Keys under which training programs store a model's tensors beside other things.
_WRAPPERS = ("model", "state_dict")

#: What training programs put beside the tensors and cannot run code: their own arguments.
_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    PurePosixPath,
    PureWindowsPath,
    (PurePosixPath, "pathlib.PosixPath"),
    (PureWindowsPath, "pathlib.WindowsPath"),
    # numbers of numpy, under the names that numpy 1 and 2 have for what makes them
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(code)) for code in "?bhilqBHILQefdg"),
]


#: How torch says what a pickle needs beside tensors.
_WANTED = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Args:
        tensors: Of the network, by name, on the CPU.
        notes: Plain values beside them: the epoch, the training program's arguments; the
            metadata of a safetensors file.
    """

    tensors: StateDict
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class LoadReport:
    """Which tensors of a checkpoint were loaded.

    Args:
        source: File, address or hub name.
        sha256: Of the file.
        matched: How many tensors of the network were filled from the checkpoint.
        missing: Tensors of the network that the checkpoint lacks (they keep random values).
        unexpected: Tensors of the checkpoint that the network has no place for.
        reshaped: Tensors that were resampled to fit (position and patch embeddings).
    """

    source: str
    sha256: str | None
    matched: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    def summary(self) -> str:
        """Return a one-line summary."""
        parts = [f"{self.matched} matched"]
        for kind in ("reshaped", "missing", "unexpected"):
            names = getattr(self, kind)
            listed = f" ({enumerate_names(names, 4)})" if names else ""
            parts.append(f"{len(names)} {kind}{listed}")
        return f"{self.source}: {', '.join(parts)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def read_checkpoint(path: str | Path) -> StateDict:
    """Read the tensors of a checkpoint file; see ``open_checkpoint``."""
    return open_checkpoint(path).tensors


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint file; nothing in it is executed.

    Args:
        path: ``.safetensors``, or a file of ``torch.save`` that holds a state dict, by itself or
            under ``model`` or ``state_dict``, beside an optimizer, arguments and the like.

    Raises:
        CheckpointError: The file is missing, damaged, holds more than tensors and plain values,
            or no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; check model.checkpoint")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        content = _read_pickle(path)
    except Exception as error:  # a damaged file can make the readers raise anything
        reason = _reason(error)
        if "TorchScript" in reason:
            raise CheckpointError(
                f"{path} is refused: it is a TorchScript program, not tensors alone; convert it to "
                f"safetensors where you trust it"
            ) from error
        if isinstance(error, pickle.UnpicklingError) and "nsupported operand" not in reason:
            raise CheckpointError(
                f"{path} is refused: it holds more than tensors ({reason}); convert it to "
                f"safetensors where you trust it"
            ) from error
        raise CheckpointError(
            f"cannot read {path} as a checkpoint ({reason}); is it complete?"
        ) from error
    return Checkpoint(_tensors_in(content, path), _notes_in(content))


def _read_safetensors(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt", device="cpu") as file:
        notes = dict(file.metadata() or {})
    return Checkpoint(load_file(path, device="cpu"), notes)


def _reason(error: Exception) -> str:
    """Return what torch or safetensors complain of, without torch's advice around it."""
    text = one_line(error).rpartition("WeightsUnpickler error: ")[2]
    wanted = _WANTED.search(text)
    if wanted:
        return f"it would call {wanted[1]}"
    return text.partition(" Check the documentation")[0][:160] or type(error).__name__


def _read_pickle(path: Path) -> Any:
    with torch.serialization.safe_globals(_HARMLESS):
        # Mapped, an optimizer beside the network costs no memory; old files cannot be mapped.
        mapped = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _notes_in(content: Any) -> dict[str, Any]:
    """Return the plain values at the top of a checkpoint, and its program's arguments."""
    if not isinstance(content, Mapping):
        return {}
    args = content.get("args")
    told = dict(vars(args)) if isinstance(args, argparse.Namespace) else {}
    told |= {str(key): value for key, value in content.items()}
    told = {k: v.item() if isinstance(v, np.generic) else v for k, v in told.items()}
    return {k: v for k, v in told.items() if isinstance(v, str | int | float | bool)}


def load_strictly(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    report: LoadReport,
    optional: Iterable[str] = (),
) -> LoadReport:
    """Fill a module from a checkpoint that fits it, and report every tensor.

    Args:
        module: What to fill.
        state: Tensors by the module's names, resampled where that is needed.
        report: What is known already: source, hash, what was resampled.
        optional: Beginnings of names that may be missing (``"patch_embed."``).

    Returns:
        ``report`` completed.

    Raises:
        CheckpointError: A tensor is missing or has another shape.
    """
    own = module.state_dict()
    wrong = {k: v for k, v in state.items() if k in own and own[k].shape != v.shape}
    if wrong:
        key, value = next(iter(wrong.items()))
        raise CheckpointError(
            f"{report.source} does not fit the backbone: {key} has shape {tuple(value.shape)}, "
            f"the backbone needs {tuple(own[key].shape)}; check model.backbone and model.options"
        )
    missing = tuple(key for key in own if key not in state)
    needed = [key for key in missing if not key.startswith(tuple(optional))]
    if needed:
        raise CheckpointError(
            f"{report.source} does not fit the backbone: it lacks {len(needed)} of "
            f"{len(own)} tensors ({enumerate_names(needed, 4)}); check model.backbone and "
            f"model.options"
        )
    matched = {key: value for key, value in state.items() if key in own}
    check_numbers(matched, report.source)
    module.load_state_dict(matched, strict=False)
    return LoadReport(
        source=report.source,
        sha256=report.sha256,
        matched=len(matched),
        missing=missing,
        unexpected=tuple(k for k in state if k not in own) + report.unexpected,
        reshaped=report.reshaped,
    )


def check_numbers(state: Mapping[str, Tensor], source: object) -> None:
    """Refuse weights that are NaN or infinite.

    Args:
        state: Tensors by name.
        source: The file that they are from.

    Raises:
        CheckpointError: A tensor holds such a value.
    """
    wrong = [k for k, t in state.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if wrong:
        raise CheckpointError(
            f"{source} holds NaN or infinity in {len(wrong)} of {len(state)} tensors "
            f"({enumerate_names(wrong, 3)}); get the file again, or use other weights"
        )


def _tensors_in(content: Any, path: Path) -> StateDict:
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a state dict")
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointError(
            f"{path} holds no tensors, nor a state dict under 'model' or 'state_dict'; it has "
            f"{enumerate_names([str(key) for key in content])}"
        )
    return tensors
