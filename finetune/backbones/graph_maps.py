"""The maps that a run's inference file pools, as further outputs of it; torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.backbones import inference, pooled
from finetune.backbones.inference import PARITY, Pixels
from finetune.backbones.pooled import Evidence, Leaf, Pooling
from finetune.storage.arrays import Array

_MOVES = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Convert"})
_SPATIAL = (3, 4)  # dimensions of tokens and of maps, with that of the pictures
_MAP = 3  # without it


class NotPooledError(ValueError):
    """A feature that is no pooled map, as that of a class token: torch has to explain it."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Columns of what the head reads, and the output that they are pooled from."""

    columns: slice
    port: Any


class GraphMaps:
    """A converted network with its head: the logits and the evidence for a class in each place.

    How each feature is pooled is found with the first picture and checked on every one.
    """

    def __init__(self, xml: bytes, weights: bytes) -> None:
        """Read the two files of a run's network.

        Raises:
            NotPooledError: what the head reads has no map before it.
            ValueError: they are none that finetune writes.
            Exception: OpenVINO is not here or cannot read it; it raises all sorts of things.
        """
        graph = inference.read(xml, weights)
        added, product = inference.classifier(graph)
        self.weight, self.bias = _constant(product, 1), _constant(added, 1).reshape(-1)
        self._places = list(_places(product.input_value(0)))
        ports = [graph.output(0).get_node().input_value(0)]
        ports += [product.input_value(0), *(place.port for place in self._places)]
        whole = inference.openvino().Model(ports, graph.get_parameters(), "maps")
        self._ready = inference.openvino().Core().compile_model(whole, "CPU", inference.SETTINGS)
        self._poolings: list[tuple[Pooling, int]] | None = None

    def __call__(self, image: Pixels, label: int | None = None) -> Evidence:
        """What speaks for a class in one picture uint8[S,S,3]; for the likeliest where None.

        Raises:
            NotPooledError: a map does not give the feature by any pooling.
        """
        logits, leaves = self._seen(image)
        chosen = int(logits.argmax()) if label is None else label
        places = pooled.summed(leaves, self.weight[chosen])
        return Evidence(
            logits=logits, label=chosen, bias=self.bias[chosen], places=places, method="cam"
        )

    def _seen(self, image: Pixels) -> tuple[Array, list[Leaf]]:
        found = self._ready(image[None])
        logits, row, *maps = (found[i] for i in range(len(found)))
        if self._poolings is None:
            parts = [row[0, place.columns] for place in self._places]
            self._poolings = [_pooling(p, m) for p, m in zip(parts, maps, strict=True)]
        leaves = []
        for place, values, (how, axis) in zip(self._places, maps, self._poolings, strict=True):
            leaf = Leaf(columns=place.columns, how=how, maps=_arranged(values, axis))
            if not _close(row[0, leaf.columns], pooled.pooled(how, leaf.maps)):
                raise NotPooledError("a feature is not what its map is pooled to")
            leaves.append(leaf)
        return np.asarray(logits[0], np.float64), leaves


def _constant(node: Any, number: int) -> Array:
    return np.asarray(node.input_value(number).get_node().data, np.float64)


def _places(port: Any, start: int = 0) -> Iterator[_Place]:
    """What is side by side in the row that the head reads, in its order."""
    node, width = port.get_node(), int(port.get_shape()[1])
    if node.get_type_name() == "Concat":
        for number in range(node.get_input_size()):
            inner = node.input_value(number)
            yield from _places(inner, start)
            start += int(inner.get_shape()[1])
        return
    yield _Place(columns=slice(start, start + width), port=_map_before(port))


def _map_before(port: Any) -> Any:
    """The output with more than one place that features come from."""
    wide = int(port.get_shape()[1])
    while True:
        node, shape = port.get_node(), list(port.get_shape())
        places = np.prod(shape) // max(shape) if len(shape) in _SPATIAL else 1
        grid = node.get_type_name() == "AvgPool" and wide == int(np.prod(shape))
        if places > 1 and not grid and node.get_type_name() not in _MOVES:
            return port
        inputs = [node.input_value(i) for i in range(node.get_input_size())]
        computed = [p for p in inputs if p.get_node().get_type_name() != "Constant"]
        if not computed or node.get_type_name() == "Parameter":
            raise NotPooledError("a feature comes from no map")
        port = computed[0]


def _pooling(part: npt.NDArray[np.float32], values: pooled.Map) -> tuple[Pooling, int]:
    """How a map gives features, and which of its axes are the channels."""
    for axis in range(1, values.ndim):
        try:
            arranged = _arranged(values, axis)
        except NotPooledError:
            continue
        for how in pooled.POOLINGS:
            if _close(part, pooled.pooled(how, arranged)):
                return how, axis
    raise NotPooledError("a feature is no pooled map")


def _arranged(values: pooled.Map, axis: int) -> pooled.Map:
    """float[1,…] with the channels at an axis → float[F,H,W]; tokens are rows of a square."""
    x: pooled.Map = np.moveaxis(values[0], axis - 1, 0)
    if x.ndim == _MAP:
        return x
    side = math.isqrt(x.shape[1])
    if side * side != x.shape[1]:
        raise NotPooledError("its tokens are no square")
    square: pooled.Map = x.reshape(len(x), side, side)
    return square


def _close(one: npt.NDArray[np.floating], two: npt.NDArray[np.floating]) -> bool:
    return one.shape == two.shape and inference.gap(one, two) <= PARITY
