"""A network in ONNX with its layers in 8 bits, ranges taken from real pictures; torch-free."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.deploy.onnx_file import IMAGE
from finetune.storage.arrays import Array

Pictures = Sequence[npt.NDArray[np.uint8]]
Told = Callable[[int, int], None]
# Layers that multiply by weights: what takes the time and the room. What is between them is in 8
# bits, too, or else every value is unpacked and packed again there: with sums in 32 bits a pass of
# EfficientNet-Lite0 spent as long on that as on the layers (docs/log.md, 2026-11-26).
_LAYERS = ("Conv", "Gemm", "MatMul")
_BETWEEN = ("Clip", "Relu", "MaxPool")
_LARGEST = 127  # of a weight, whose range is symmetric
_FILE = "network.onnx"


def quantized(content: bytes, pictures: Pictures, told: Told) -> bytes:
    """The same network, weights int8 by channel and what goes between layers uint8.

    Quantizing and dequantizing are operators of their own around each layer, as onnxruntime and
    OpenVINO both read. A range is the mean over pictures of their smallest and largest values, as
    NNCF takes it, which single outliers move little.

    Args:
        content: From `onnx_file.content`.
        pictures: Each uint8[S,S,3] of the network's own side, as decoded.
        told: Hears how many passes are done, of how many.

    Raises:
        ValueError: there is no layer to quantize.
        Exception: onnxruntime cannot quantize it; it raises all sorts of things.
    """
    import onnx  # noqa: PLC0415 - optional
    from onnxruntime import quantization  # noqa: PLC0415

    model = onnx.load_from_string(content)
    nodes = chosen(model.graph)
    if not nodes:
        raise ValueError("it has no layers after its first convolution")
    passes = 2 * len(pictures)
    _correct(model, nodes, pictures, lambda done, _: told(done, passes))
    with tempfile.TemporaryDirectory(prefix="finetune-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = logging.getLogger()
        before = root.level  # onnxruntime's tool tells there what could be prepared
        root.setLevel(logging.ERROR)
        try:
            quantization.quantize_static(
                model,
                Path(scratch) / _FILE,
                _Reader(pictures, lambda done, _: told(len(pictures) + done, passes)),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                nodes_to_quantize=[node.name for node in nodes],
                extra_options={"CalibMovingAverage": True},
            )
        finally:
            root.setLevel(before)
        made = onnx.load(Path(scratch) / _FILE)
    facts = onnx.load_from_string(content).metadata_props
    del made.metadata_props[:]
    made.metadata_props.extend(facts)
    return bytes(made.SerializeToString())


def chosen(graph: Any) -> list[Any]:
    """The nodes that are quantized.

    From the first convolution on, so that the preprocessing stays as it is, bit for bit; up to the
    layer before the last. That is the classifier: it is small, was fitted to exact features, and
    its errors are the answer's.
    """
    constants = {tensor.name for tensor in graph.initializer}
    behind: set[str] = set()
    found: list[Any] = []
    last = 0
    for node in graph.node:
        if node.op_type != "Conv" and not behind.intersection(node.input):
            continue
        behind.update(node.output)
        fixed = constants.intersection(node.input[1:])
        if node.op_type in _LAYERS and fixed:
            last = len(found)
            found.append(node)
        elif node.op_type in _BETWEEN or (node.op_type == "Add" and behind.issuperset(node.input)):
            found.append(node)
    return found[:last]


def _correct(model: Any, nodes: Sequence[Any], pictures: Pictures, told: Told) -> None:
    """Take from each convolution's bias what rounding its weights adds to its output on average.

    The mean of an output is shifted by the rounding errors of the weights times the mean of the
    inputs (Nagel and others 2019, section 4.2). Convolutions of few weights, as depthwise ones are,
    shift most: without this 9 of 10 labels of EfficientNet-Lite0 stayed the same.
    """
    from onnx import numpy_helper  # noqa: PLC0415 - optional

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = [n for n in nodes if n.op_type == "Conv" and n.input[1] in constants]
    means = _means(model, sorted({node.input[0] for node in layers}), pictures, told)
    for node in layers:
        weight = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        shift = _shift(weight, means[node.input[0]], groups)
        if len(node.input) == 2:
            node.input.append(f"bias of {node.name}")
            bias = np.zeros(len(weight))
            constants[node.input[2]] = model.graph.initializer.add()
        elif node.input[2] in constants:
            bias = numpy_helper.to_array(constants[node.input[2]]).astype(np.float64)
        else:
            continue
        made = numpy_helper.from_array((bias - shift).astype(np.float32), node.input[2])
        constants[node.input[2]].CopyFrom(made)


def _shift(weight: Array, mean: Array, groups: int) -> Array:
    """What rounding weights float64[O,I/groups,…] adds to an output on average, float64[O]."""
    flat = weight.reshape(len(weight), -1)
    step = np.maximum(np.abs(flat).max(axis=1), 1e-30) / _LARGEST
    rounded = np.rint(flat / step[:, None]) * step[:, None]
    error = (rounded - flat).reshape(*weight.shape[:2], -1).sum(axis=2)
    inputs = mean.reshape(groups, -1).repeat(len(weight) // groups, axis=0)
    shift: Array = (error * inputs).sum(axis=1)
    return shift


def _means(model: Any, names: Sequence[str], pictures: Pictures, told: Told) -> dict[str, Array]:
    """The mean by channel, float64[C], of values float32[N,C,H,W] inside the network."""
    import onnx  # noqa: PLC0415 - optional
    import onnxruntime  # noqa: PLC0415

    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    del asked.graph.output[:]
    outputs = [f"mean of {name}" for name in names]
    for name, output in zip(names, outputs, strict=True):
        asked.graph.node.append(onnx.helper.make_node("GlobalAveragePool", [name], [output]))
        asked.graph.output.append(
            onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)
        )
    session = onnxruntime.InferenceSession(
        asked.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    total: dict[str, Array] = {}
    for number, pixels in enumerate(pictures, start=1):
        for name, found in zip(names, session.run(outputs, {IMAGE: pixels[None]}), strict=True):
            mean = np.asarray(found, np.float64).reshape(-1) / len(pictures)
            total[name] = total[name] + mean if name in total else mean
        told(number, len(pictures))
    return total


class _Reader:
    """The pictures in the form in which onnxruntime asks for them, one at a time."""

    def __init__(self, pictures: Pictures, told: Told) -> None:
        self._pictures, self._told, self._next = pictures, told, 0

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> dict[str, npt.NDArray[np.uint8]]:
        found = self.get_next()
        if found is None:
            raise StopIteration
        return found

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """The next one; None after the last."""
        if self._next == len(self._pictures):
            return None
        self._next += 1
        self._told(self._next, len(self._pictures))
        return {IMAGE: self._pictures[self._next - 1][None]}
