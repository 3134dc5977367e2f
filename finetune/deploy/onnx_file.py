"""A program of torch's as an ONNX file that tells nothing of the machine it was made on."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

IMAGE = "image"
_SIZES = ("N", "H", "W")


def content(
    program: torch.export.ExportedProgram,
    opset: int,
    facts: Mapping[str, str],
    output: str = "probabilities",
) -> bytes:
    """The bytes of the file: `image` uint8[N,H,W,3] → `probabilities` float32[N,C].

    Args:
        program: From `whole_network.program`.
        opset: Version of the operators.
        facts: Written as its metadata.
        output: What the output is called, where it is another.

    Raises:
        ValueError: it is too large for one file (2 GB).
        Exception: torch cannot express it; it raises all sorts of things.
    """
    import torch  # noqa: PLC0415 - seconds

    logger = logging.getLogger("torch.onnx")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of what torch itself does in an old way
        before = logger.disabled
        logger.disabled = True
        try:
            made = torch.onnx.export(
                program,
                (torch.zeros(2, 301, 203, 3, dtype=torch.uint8),),
                input_names=[IMAGE],
                output_names=[output],
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
        finally:
            logger.disabled = before
    assert made is not None
    model = made.model_proto
    _bare(model)
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString())


def _bare(model: Any) -> None:
    """Leave out what is for those who debug the exporter: lines and paths of this machine."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    graph.doc_string = ""
    graph.name = "finetune"
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*graph.input, *graph.output, *graph.initializer]:
        value.doc_string = ""
        del value.metadata_props[:]
    for place, size in zip(graph.input[0].type.tensor_type.shape.dim, _SIZES, strict=False):
        place.dim_param = size
    graph.output[0].type.tensor_type.shape.dim[0].dim_param = _SIZES[0]
