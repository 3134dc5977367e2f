"""How pixels become features: the engine's record, and OpenVINO as it runs here; torch-free."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.errors import RunError
from finetune.records import Reason

Features = npt.NDArray[np.float32]
Forward = Callable[[npt.NDArray[np.uint8]], Features]
Layout = dict[str, tuple[int, int]]
# The whole network of a run as OpenVINO reads it: topology and constants.
FILES = ("inference.xml", "inference.bin")
DELETE = (
    f"Train again, or delete {FILES[0]} and {FILES[1]} there: the run then answers from "
    "model.safetensors, with torch."
)
SCORES = "scores"


@dataclass(frozen=True)
class Engine:
    """A way to turn pixels into features.

    `forward` takes uint8[B,S,S,3] and gives float32[B,F]; `layout` says which columns belong to
    which stage; `reason` why this runtime was taken; `graph` is OpenVINO's model where it runs one.
    """

    forward: Forward
    layout: Layout
    runtime: str
    reason: Reason
    graph: Any = None


def openvino() -> Any:
    """The OpenVINO package: a quarter of a second to import, so only where it is used."""
    # OpenVINO's converter reports its use over the network through this module, and waits for it;
    # without the module it takes its own empty stand-in.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as package  # noqa: PLC0415

    return package


def compiled(graph: Any) -> Forward:
    """Prepare an OpenVINO model of uint8[1,S,S,3] → float32[1,F] for this machine's CPU."""
    # One image at a time with all cores on it was the fastest of ten settings, needs no warm-up,
    # and gives an image the same features whatever its neighbours (docs/log.md, 2026-11-23).
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    ready = openvino().Core().compile_model(graph, "CPU", settings)

    def forward(pixels: npt.NDArray[np.uint8]) -> Features:
        return np.concatenate([ready(image[None])[0] for image in pixels])

    return forward


def scorer(xml: bytes, weights: bytes, side_px: int, classes: int, name: str) -> Engine:
    """The whole network of a run, head included: its one "stage" is the scores float32[B,C].

    Args:
        xml: What OpenVINO calls the topology.
        weights: Its constants.
        side_px: Side of the input that the run promises.
        classes: Number of scores that the run promises.
        name: Path of the file, for the message.

    Raises:
        RunError: the network has other inputs or outputs than the run promises.
        Exception: OpenVINO is not here or cannot read it; it raises all sorts of things.
    """
    graph = openvino().Core().read_model(model=xml, weights=weights)
    found = [_form(port) for port in (*graph.inputs, *graph.outputs)]
    wanted = [f"u8[1,{side_px},{side_px},3]", f"f32[1,{classes}]"]
    if found != wanted:
        raise RunError(
            f"{name} takes and gives {' and '.join(found)}, not {' and '.join(wanted)}",
            hint=DELETE,
        )
    reason = Reason("engine", "the run has an inference file")
    return Engine(compiled(graph), {SCORES: (0, classes)}, "openvino", reason)


def _form(port: Any) -> str:
    return f"{port.get_element_type().get_type_name()}{port.get_partial_shape()}"
