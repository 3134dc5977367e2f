"""An export as OpenVINO reads it, with what its ModelAPI wants to know; torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.backbones import inference
from finetune.records.run import RunFacts
from finetune.storage.arrays import Array


def write(onnx: bytes, file: Path, facts: RunFacts, about: Mapping[str, str]) -> None:
    """Write `file` and the constants beside it: `image` uint8[1,?,?,3] → `probabilities`.

    One picture at a time: a fixed first dimension runs twice as fast (docs/log.md, 2026-11-23).
    ModelAPI hands pictures over as they are, since all preprocessing is in the graph.

    Args:
        onnx: From `onnx_file.content`.
        file: Its name ends in `.xml`.
        facts: Of the run.
        about: More of them, as text.
    """
    package = inference.openvino()
    graph = package.Core().read_model(onnx)
    graph.reshape([1, -1, -1, 3])
    # of several labels ModelAPI would take our probabilities for logits, numbers it has none
    for key, value in _model_info(facts).items() if facts.target is None else ():
        graph.set_rt_info(value, ["model_info", key])
    for key, value in about.items():
        graph.set_rt_info(value, ["finetune", key])
    package.save_model(graph, str(file), compress_to_fp16=False)


def _model_info(facts: RunFacts) -> dict[str, str]:
    """What ModelAPI reads; a label with a blank would be two, so it becomes a low line."""
    labels = [label.replace(" ", "_") for label in facts.classes]
    return {
        "model_type": "Classification",
        "labels": " ".join(labels),
        "embedded_processing": "YES",
        "resize_type": "standard",
        "reverse_input_channels": "NO",
        "mean_values": "0.0 0.0 0.0",
        "scale_values": "1.0 1.0 1.0",
        "topk": "1",
        "multilabel": "False",
        "hierarchical": "False",
        "output_raw_scores": "True",
    }


def answer(file: Path, read: Callable[[Path], npt.NDArray[np.uint8]]) -> Callable[[Path], Array]:
    """A picture's file → probabilities float64[C], by a file of OpenVINO's."""
    package = inference.openvino()
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    ready = package.Core().compile_model(str(file), "CPU", settings)

    def probabilities(path: Path) -> Array:
        return np.asarray(ready(read(path)[None])[0][0], np.float64)

    return probabilities
