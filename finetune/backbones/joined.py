"""Two networks as one: one picture in, the features of both side by side out; torch-free.

A picture is decoded once, at the larger of the two sides; the network that takes smaller ones gets
it shrunk by the same filter that decoding uses, in plain numbers that every runtime has.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from finetune.backbones import inference
from finetune.backbones.inference import Engine, Features, Layout, Pixels
from finetune.records.analysis import Reason
from finetune.records.run import BlendPart
from finetune.storage import atomic_files

NAMES = ("tuned", "original")
_PIXEL = (0.0, 255.0)


@dataclass(frozen=True, kw_only=True)
class Half:
    """One of two networks: its engine, the features of it that are read, and its pictures' side.

    `name` stands before its features where both are side by side.
    """

    name: str
    engine: Engine
    taps: tuple[str, ...]
    side_px: int

    @property
    def names(self) -> tuple[str, ...]:
        """What its features are called where both are side by side."""
        return tuple(f"{self.name}/{tap}" for tap in self.taps)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First and last column but one of each stage that is read."""
        return [self.engine.layout[tap] for tap in self.taps]


def halves(parts: Sequence[BlendPart], engines: Sequence[Engine]) -> tuple[Half, ...]:
    """The two networks of a blend, the tuned one first."""
    return tuple(
        Half(name=name, engine=engine, taps=part.taps, side_px=part.side_px)
        for name, part, engine in zip(NAMES, parts, engines, strict=True)
    )


def join(halves: Sequence[Half]) -> Engine:
    """The engine of both: uint8[B,S,S,3] of the larger side → float32[B,F], in their order.

    Its layout has the features that are read and no others, by the names of the halves.
    """

    def forward(pixels: Pixels) -> Features:
        found = []
        for half in halves:
            rows = half.engine.forward(shrunk(pixels, half.side_px))
            found += [rows[:, start:stop] for start, stop in half.spans]
        return np.concatenate(found, axis=1)

    layout: Layout = {}
    end = 0
    for half in halves:
        for name, (start, stop) in zip(half.names, half.spans, strict=True):
            layout[name] = (end, end + stop - start)
            end += stop - start
    runtime = " and ".join(dict.fromkeys(half.engine.runtime for half in halves))
    return Engine(forward, layout, runtime, Reason("engine", "two networks answer together"))


def shrunk(pixels: Pixels, side_px: int) -> Pixels:
    """Pictures uint8[B,S,S,3] at a smaller side, uint8[B,s,s,3]."""
    side = pixels.shape[1]
    if side == side_px:
        return pixels
    weights = filter_weights(side, side_px)
    across = _rounded(weights @ pixels.astype(np.float32))  # each line, then each column
    down = weights @ across.reshape(len(pixels), side, -1)
    return _rounded(down).reshape(len(pixels), side_px, side_px, 3).astype(np.uint8)


def _rounded(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """To whole numbers that a pixel may have, as Pillow does after each of the two."""
    out: npt.NDArray[np.float32] = np.floor(values + np.float32(0.5)).clip(*_PIXEL)
    return out


@functools.lru_cache(maxsize=4)
def filter_weights(side_px: int, smaller_px: int) -> npt.NDArray[np.float32]:
    """What each pixel of a line gives to each of a shorter one, float32[s,S]: Pillow's bicubic."""
    line = Image.fromarray(np.eye(side_px, dtype=np.float32))
    return np.array(line.resize((side_px, smaller_px), Image.Resampling.BICUBIC))


def parts(graph: Any, spans: Sequence[tuple[int, int]]) -> list[Any]:
    """The outputs of a converted network that hold some of its features.

    Args:
        graph: From `engine.convert`, whose first output is one row of all stages side by side.
        spans: First and last column but one of each stage that is wanted, in its order.

    Raises:
        ValueError: the stages cannot be found in it.
    """
    row = graph.output(0).get_node().input_value(0).get_node()
    if row.get_type_name() != "Concat":
        raise ValueError("the stages cannot be found in the converted model")
    found = [row.input_value(i) for i in range(row.get_input_size())]
    stops = np.cumsum([part.get_shape()[1] for part in found])
    wanted = [np.flatnonzero((start < stops) & (stops <= stop)) for start, stop in spans]
    return [found[i] for i in np.concatenate(wanted)]


def join_graphs(graphs: Sequence[Any], halves: Sequence[Half]) -> Any:
    """OpenVINO's model of what `join` computes; layers that both have are computed once.

    Args:
        graphs: The converted network of each half, as `engine.convert` makes it; left as they are.
        halves: As for `join`.
    """
    inference.openvino()
    from openvino import Type  # noqa: PLC0415 - a quarter of a second to import
    from openvino import opset13 as ops  # noqa: PLC0415

    side = max(half.side_px for half in halves)
    images = ops.parameter([1, side, side, 3], Type.u8)
    wanted = []
    for graph, half in zip(graphs, halves, strict=True):
        copy = graph.clone()
        wanted += parts(copy, half.spans)
        smaller = _shrinking(images, side, half.side_px)
        copy.get_parameters()[0].output(0).replace(smaller.output(0))
    joined = inference.openvino().Model([ops.concat(wanted, 1)], [images], "finetune")
    _share(joined)
    return joined


def number(graph: Any) -> None:
    """Name the layers by their order: OpenVINO's own names count what else the process has made."""
    for place, node in enumerate(graph.get_ordered_ops()):
        node.set_friendly_name(f"{node.get_type_name()}_{place}")


def _shrinking(images: Any, side: int, side_px: int) -> Any:
    """`shrunk` as OpenVINO computes it."""
    from openvino import Type  # noqa: PLC0415 - as above
    from openvino import opset13 as ops  # noqa: PLC0415

    if side == side_px:
        return images
    weights = ops.constant(filter_weights(side, side_px))

    def rounded(values: Any) -> Any:
        return ops.clamp(ops.floor(ops.add(values, ops.constant(np.float32(0.5)))), *_PIXEL)

    across = rounded(ops.matmul(weights, ops.convert(images, Type.f32), False, False))
    lines = _shaped(across, 1, side, 3 * side_px)
    down = rounded(ops.matmul(weights, lines, False, False))
    return ops.convert(_shaped(down, 1, side_px, side_px, 3), Type.u8)


def _shaped(node: Any, *shape: int) -> Any:
    from openvino import opset13 as ops  # noqa: PLC0415 - as above

    return ops.reshape(node, ops.constant(np.array(shape, np.int64)), False)


def _share(graph: Any) -> None:
    """Compute once what two branches compute alike: same layers, same constants, same inputs."""
    known: dict[tuple[Any, ...], Any] = {}
    for node in graph.get_ordered_ops():
        kind = node.get_type_name()
        if kind in ("Parameter", "Result"):
            continue
        inputs = [node.input_value(i) for i in range(node.get_input_size())]
        told = repr(sorted(node.get_attributes().items(), key=lambda item: item[0]))
        if kind == "Constant":
            told += atomic_files.digest(node.data.tobytes())
        key = (kind, told, *((port.get_node().get_name(), port.get_index()) for port in inputs))
        first = known.setdefault(key, node)
        if first is not node:
            for mine, other in zip(node.outputs(), first.outputs(), strict=True):
                mine.replace(other)
