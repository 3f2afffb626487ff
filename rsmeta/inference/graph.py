"""A network as an ONNX graph, and the engines that run it on a CPU instead of torch.

They fuse what torch computes layer by layer, in float32 as well: what that gains, and how far
probabilities move, is measured by ``benchmarks/bench_onnx.py``.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.errors import ExportError, MissingExtraError, RsmetaError, one_line
from rsmeta.heads.forest import ForestHead
from rsmeta.inference import sizing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rsmeta.inference.scoring import Model

    #: (image (B, C, h, w) float32, valid (B, h, w) bool) -> scores.
    Run: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]

logger = logging.getLogger(__name__)

Engine: TypeAlias = Literal["torch", "onnx", "openvino"]

_OPSET = 18
#: The most that one message of the file format holds.
_MOST_BYTES = 2**31 - 2**20
_PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}


def onnx_graph(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    output: str,
    *,
    name: str,
    any_batch: bool = True,
) -> Any:
    """Return a module in ONNX form.

    Args:
        module: In evaluation mode, on the CPU.
        inputs: Examples of its arguments, by name, in order; at least two of a batch.
        output: Name of what it returns.
        name: What it is called in errors.
        any_batch: Whether it takes batches of any size, or those of the examples alone.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        ExportError: ONNX does not support an operation of the module.
    """
    need("onnx", "onnxscript", extra="onnx")  # torch's exporter uses the latter
    if any(isinstance(part, ForestHead) for part in module.modules()):
        raise ExportError(
            "a forest cannot be exported as ONNX: its trees end at different depths; use "
            "--format merged, or model.head=logistic, lda or mlp"
        )
    dynamic = ({0: torch.export.Dim("batch")},) * len(inputs) if any_batch else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about its own internals
            program = torch.onnx.export(
                module.eval(), tuple(inputs.values()), dynamo=True, opset_version=_OPSET,
                verbose=False, input_names=list(inputs), output_names=[output],
                dynamic_shapes=dynamic,
            )  # fmt: skip
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise ExportError(
            f"{name} cannot be exported as ONNX ({one_line(error)[:200]}); use --format merged"
        ) from error
    if program is None:
        raise ExportError(f"{name} cannot be exported as ONNX; use --format merged")
    return program.model_proto


def need(*packages: str, extra: str) -> None:
    """Raise an error where packages are missing.

    Raises:
        MissingExtraError: One is not installed.
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            raise MissingExtraError(package, extra) from None


class _Meant(nn.Module):
    """A network with what its scores mean."""

    def __init__(self, network: nn.Module, activate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self._activate = activate

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return probabilities or numbers."""
        return self._activate(self.network(image, valid))


def run_by(
    engine: Engine,
    network: nn.Module,
    activate: Callable[[Tensor], Tensor],
    *,
    shape: tuple[int, int, int, int],
    name: str,
) -> Model:
    """Return a function that gives what a network's scores mean, float32, by another engine.

    Args:
        engine: ``onnx``: ONNX Runtime; or ``openvino``.
        network: Maps (B, C, h, w) and valid (B, h, w) to scores; on the CPU, adapters merged.
        activate: Makes of scores what they mean.
        shape: (B, C, h, w) of a batch; smaller ones are filled up, larger ones divided.
        name: What the network is called in errors.

    Raises:
        MissingExtraError: A package is not installed.
        ExportError: The network has no form as a graph.
    """
    need(_PACKAGES[engine], extra="engines")
    held = sum(one.nbytes for one in [*network.parameters(), *network.buffers()])
    if held > _MOST_BYTES:
        raise ExportError(
            f"{name} has {held / 2**30:.1f} GB of weights, and an ONNX graph holds 2; omit engine"
        )
    started = time.monotonic()
    size, _, *side = shape
    inputs = {"image": torch.zeros(shape), "valid": torch.ones(size, *side, dtype=torch.bool)}
    graph = onnx_graph(_Meant(network, activate), inputs, "scores", name=name, any_batch=False)
    run = {"onnx": _by_onnx_runtime, "openvino": _by_openvino}[engine](graph.SerializeToString())
    logger.info("made a graph for %s in %.0f s", _PACKAGES[engine], time.monotonic() - started)

    def meant(image: Tensor, valid: Tensor) -> Tensor:
        parts = []
        for part in zip(torch.split(image, size), torch.split(valid, size), strict=True):
            filled = (
                functional.pad(one, (0, 0) * (one.ndim - 1) + (0, size - len(one))) for one in part
            )
            scores = run(*(np.ascontiguousarray(one.numpy()) for one in filled))
            parts.append(torch.from_numpy(scores)[: len(part[0])])
        return torch.cat(parts)

    return meant


def check_engine(engine: Engine, device: torch.device, *, reduced: bool) -> None:
    """Refuse an engine that could not compute as asked.

    Raises:
        RsmetaError: It is to compute on a GPU, or in bfloat16.
    """
    if engine != "torch" and device.type != "cpu":
        raise RsmetaError(f"engine={engine} computes on the CPU; give --device cpu, or omit it")
    if engine != "torch" and reduced:
        raise RsmetaError(
            f"engine={engine} computes in float32; omit it, or optimize and precision"
        )


def _by_onnx_runtime(graph: bytes) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _threads_of_a_lane()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        found: np.ndarray = session.run(None, {"image": image, "valid": valid})[0]
        return found

    return run


def _by_openvino(graph: bytes) -> Run:
    import openvino

    core, lanes = openvino.Core(), sizing.choose_lanes(torch.device("cpu"))
    hints = {
        "INFERENCE_PRECISION_HINT": "f32",  # a CPU with bfloat16 would use it unasked
        "NUM_STREAMS": lanes, "INFERENCE_NUM_THREADS": lanes * _threads_of_a_lane(),
    }  # fmt: skip
    compiled = core.compile_model(core.read_model(graph), "CPU", hints)
    own = threading.local()  # what is under way belongs to one thread

    def run(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        found: np.ndarray = own.request.infer({"image": image, "valid": valid})[0]
        return found

    return run


def _threads_of_a_lane() -> int:
    return max(torch.get_num_threads() // sizing.choose_lanes(torch.device("cpu")), 1)
