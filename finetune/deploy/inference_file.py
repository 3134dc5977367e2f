"""A run's inference file: the head put on the converted network; torch-free."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finetune.backbones import inference, joined
from finetune.backbones.inference import PARITY
from finetune.deploy.predictor import Predictor
from finetune.heads import calibration, ridge
from finetune.records.errors import first_line
from finetune.records.file_names import NETWORK


def inference_file(
    graph: Callable[[], Any], model: Predictor, scratch: Path | None = None
) -> tuple[tuple[bytes, bytes] | None, str]:
    """The whole network, head included, as the bytes of `NETWORK`.

    Args:
        graph: Gives the network as `engine.convert` makes it, of a blend as `joined.join_graphs`.
        model: What the run was tested with; the file must agree with it.
        scratch: A folder for files that are removed again; None for the system's.

    Returns:
        The bytes, or None and why there are none.
    """
    head, side_px = model.head, model.side_px
    assert head is not None  # only one that was read from such files has none
    pixels = inference.noise(side_px)
    try:
        spans = [model.engine.layout[tap] for tap in model.taps]
        files = inference.serialised(_with_head(graph(), head, spans), scratch)
        ready = inference.scorer(*files, side_px, len(head.bias), NETWORK[0])
        one = model.logits(pixels)
        two = Predictor(ready, side_px, model.scales, model.temperature).logits(pixels)
        likely = [calibration.probabilities(logits, model.temperature) for logits in (one, two)]
        # the larger of the two gaps; one that is no number stays so
        gap = float(np.max([inference.gap(one, two), inference.gap(*likely)]))
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            place = scratch or tempfile.gettempdir()
            return None, f"it cannot be written below {place}: {error.strerror}"
        return None, f"OpenVINO could not take this network: {first_line(error)}"
    if not gap <= PARITY:  # so that no number at all fails, too
        return None, f"OpenVINO's answers differ by {gap:.1e} of their size, more than {PARITY:.0e}"
    return files, ""


def _with_head(graph: Any, head: ridge.Head, spans: Sequence[tuple[int, int]]) -> Any:
    """The converted model cut off at some stages' features, and the classifier put on these.

    Args:
        graph: From `engine.convert`, whose first output is one row of all stages side by side.
        head: The classifier.
        spans: First and last column but one of each stage that it reads, in its order.
    """
    inference.openvino()
    from openvino import opset13 as ops  # noqa: PLC0415 - a quarter of a second to import

    copy = graph.clone()
    features = ops.concat(joined.parts(copy, spans), 1)
    weight, bias = (ops.constant(x.astype(np.float32)) for x in (head.weight, head.bias[None]))
    logits = ops.add(ops.matmul(features, weight, False, True), bias)
    logits.output(0).get_tensor().set_names({"logits"})
    whole = inference.openvino().Model([logits], copy.get_parameters(), "finetune")
    joined.number(whole)
    return whole
