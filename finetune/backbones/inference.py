"""How pixels become features: the engine's record, and OpenVINO as it runs here; torch-free."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.records.analysis import Reason
from finetune.records.errors import RunError
from finetune.records.file_names import MODEL
from finetune.records.file_names import NETWORK as FILES
from finetune.storage import untrusted_files

Pixels = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]
Forward = Callable[[Pixels], Features]
Layout = dict[str, tuple[int, int]]
DELETE = (
    f"Train again, or delete {FILES[0]} and {FILES[1]} there: the run then answers from "
    f"{MODEL}, with torch."
)
SCORES, FEATURES = "scores", "features"
# Largest difference allowed between two runtimes, relative to the features' own size; of a whole
# network: to the scores' and to the probabilities'.
PARITY = 1e-3
_TELEMETRY, _CONVERTER = "openvino_telemetry", "openvino.tools.ovc"
_PROBE_BYTES = 1 << 20  # more than what is left of a disk that a network did not fit on
# One image at a time with all cores on it was the fastest of ten settings, needs no warm-up,
# and gives an image the same features whatever its neighbours (docs/log.md, 2026-11-23).
SETTINGS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
# The features that the ImageNet classifier reads.
TOP = "top"
# Their square root, where they are rectified: it evens out the few large ones, as RootSIFT does
# (Arandjelovic & Zisserman 2012); +1.2 points on average (docs/log.md).
ROOT = "root of top"


@dataclass(frozen=True)
class Engine:
    """A way to turn pixels into features.

    `forward` takes uint8[B,S,S,3] and gives float32[B,F]; `layout` says which columns belong to
    which stage; `reason` why this runtime was taken; `graph` is OpenVINO's model where it runs one.
    `key` names all that a row depends on beside the image; an empty one, that rows are not kept.
    """

    forward: Forward
    layout: Layout
    runtime: str
    reason: Reason
    graph: Any = None
    key: str = ""


def openvino() -> Any:
    """The OpenVINO package, imported where it is used first.

    Its converter is half of the time, and comes when it is called.
    """
    if "openvino" in sys.modules:
        import openvino as package  # noqa: PLC0415

        return package
    with _absent(_TELEMETRY, _CONVERTER):
        import openvino as package  # noqa: PLC0415
    package.convert_model = _convert_model
    return package


def _convert_model(*args: Any, **options: Any) -> Any:
    """OpenVINO's own function of that name, which takes its place.

    It reports its use over the network through a module, and waits for it; without that module it
    takes its own empty stand-in, and keeps it. Its other ways out are a file in the user's home and
    an environment variable, which are not ours.
    """
    with _absent(_TELEMETRY):
        from openvino.tools.ovc import convert_model  # noqa: PLC0415
    package: Any = sys.modules["openvino"]
    package.convert_model = convert_model
    return convert_model(*args, **options)


@contextlib.contextmanager
def _absent(*names: str) -> Iterator[None]:
    """Modules of these names cannot be imported inside."""
    modules: dict[str, Any] = sys.modules
    before = {name: modules[name] for name in names if name in modules}
    modules.update(dict.fromkeys(names))
    try:
        yield
    finally:
        for name in names:
            del modules[name]
        modules.update(before)


def surely_cpu(device: str) -> bool:
    """Whether the device is known to be the CPU without asking torch, which takes seconds."""
    if device != "auto":
        return device == "cpu"
    marks = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, either in WSL
    return sys.platform == "linux" and not any(Path(mark).exists() for mark in marks)


def compiled(graph: Any, output: int | None = 0) -> Forward:
    """Prepare an OpenVINO model of uint8[1,S,S,3] for this machine's CPU.

    Args:
        graph: The model.
        output: Which of its outputs float32[1,F] is wanted; nothing else is computed. None for all
            of them side by side.
    """
    if output is not None and len(graph.outputs) > 1:
        wanted = graph.results[output]
        graph = openvino().Model([wanted], graph.get_parameters(), "one output")
    ready = openvino().Core().compile_model(graph, "CPU", SETTINGS)
    places = range(len(graph.outputs))

    def forward(pixels: Pixels) -> Features:
        return np.concatenate([one(image[None]) for image in pixels])

    def one(image: Pixels) -> Features:
        found = ready(image)
        return np.concatenate([found[i] for i in places], axis=1)

    return forward


def serialised(graph: Any, scratch: Path | None = None) -> tuple[bytes, bytes]:
    """The bytes of the two files of a model, topology and constants, in full precision.

    They are written below `scratch` first, or where temporary files go.

    Raises:
        OSError: nothing can be written there, for instance as the disk is full.
        Exception: OpenVINO cannot write this model; it raises all sorts of things.
    """
    with tempfile.TemporaryDirectory(prefix="finetune-", dir=scratch) as folder:
        first, second = (Path(folder) / name for name in FILES)
        try:
            openvino().save_model(graph, str(first), compress_to_fp16=False)
        except Exception:
            # of a full disk it says "iostream error": the system tells what it is, if it is that
            (Path(folder) / "probe").write_bytes(bytes(_PROBE_BYTES))
            raise
        return first.read_bytes(), second.read_bytes()


def scorer(
    xml: bytes, weights: bytes, side_px: int, classes: int, name: str, *, features: bool = False
) -> Engine:
    """The whole network of a run, head included: its one "stage" is the scores float32[B,C].

    Where features are wanted what the head reads is the second, from the same pass.

    Args:
        xml: What OpenVINO calls the topology.
        weights: Its constants.
        side_px: Side of the input that the run promises.
        classes: Number of scores that the run promises.
        name: Path of the file, for the message.
        features: Whether they are wanted.

    Raises:
        RunError: the network has other inputs or outputs than the run promises, or is none that
            finetune writes.
        Exception: OpenVINO is not here or cannot read it; it raises all sorts of things.
    """
    try:
        graph = read(xml, weights)
    except ValueError as error:
        raise RunError(f"{name} was not written by finetune: {error}", hint=DELETE) from error
    found = [_form(port) for port in (*graph.inputs, *graph.outputs)]
    wanted = [f"u8[1,{side_px},{side_px},3]", f"f32[1,{classes}]"]
    if found != wanted:
        raise RunError(
            f"{name} takes and gives {' and '.join(found)}, not {' and '.join(wanted)}",
            hint=DELETE,
        )
    reason = Reason("engine", "the run has an inference file")
    layout = {SCORES: (0, classes)}
    if not features:
        return Engine(compiled(graph), layout, "openvino", reason)
    try:
        inside = classifier(graph)[1].input_value(0)
        width = int(inside.get_partial_shape()[1].get_length())
    except ValueError as error:
        raise RunError(f"{name} was not written by finetune: {error}", hint=DELETE) from error
    outputs = [graph.results[0].input_value(0), inside]
    both = openvino().Model(outputs, graph.get_parameters(), "both")
    layout[FEATURES] = (classes, classes + width)
    return Engine(compiled(both, None), layout, "openvino", reason)


def read(xml: bytes, weights: bytes) -> Any:
    """OpenVINO's model of such a file.

    Raises:
        ValueError: the file is none that finetune writes.
        Exception: OpenVINO is not here or cannot read it; it raises all sorts of things.
    """
    untrusted_files.check_topology(xml, len(weights))
    graph = openvino().Core().read_model(model=xml, weights=weights)
    untrusted_files.check_work(graph)
    return graph


def classifier(graph: Any) -> tuple[Any, Any]:
    """The last layers of such a model: the sum with the bias, the product with the weights.

    Raises:
        ValueError: there are others.
    """
    added = graph.output(0).get_node().input_value(0).get_node()
    product = added.input_value(0).get_node()
    if (added.get_type_name(), product.get_type_name()) != ("Add", "MatMul"):
        raise ValueError("the classifier is not its last layer")
    return added, product


def before_head(xml: bytes, weights: bytes) -> Forward:
    """What the classifier of such a file reads: its logits are x @ weight.T + bias.

    Raises as `read` and `classifier` do.
    """
    graph = read(xml, weights)
    _, product = classifier(graph)
    features = openvino().Model([product.input_value(0)], graph.get_parameters(), "features")
    return compiled(features)


def gap(one: npt.NDArray[Any], two: npt.NDArray[Any]) -> float:
    """Largest difference between two arrays, relative to the largest value of the first."""
    return float(np.abs(one - two).max() / max(float(np.abs(one).max()), 1e-12))


def noise(side_px: int, count: int = 2) -> Pixels:
    """Pictures of uniform noise, uint8[count,S,S,3], always the same."""
    shape = (count, side_px, side_px, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _form(port: Any) -> str:
    return f"{port.get_element_type().get_type_name()}{port.get_partial_shape()}"
