"""Promises of two networks as one: the same pictures, the same features, in every runtime."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from finetune.backbones import engine, inference, joined
from finetune.backbones.joined import Half
from finetune.backbones.stages import Backbone
from finetune.storage import untrusted_files


@pytest.mark.parametrize("side", [128, 100, 31])
def test_a_picture_is_shrunk_as_decoding_does_it(side: int) -> None:
    """Of noise, the hardest picture, each pixel is the one that Pillow's filter gives."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)

    found = joined.shrunk(pixels, side)

    for before, after in zip(pixels, found, strict=True):
        wanted = Image.fromarray(before).resize((side, side), Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(wanted).astype(int) - after).max() <= 1
        assert (np.asarray(wanted) == after).mean() > 0.999
    assert joined.shrunk(pixels, 224) is pixels


def pair(tiny: Backbone, sides: tuple[int, int]) -> tuple[tuple[Half, Half], list[object]]:
    """A network with another last stage, and itself."""
    other = copy.deepcopy(tiny)
    with torch.no_grad():
        for parameter in other.stage_parameters(other.stages[-1]):
            parameter.add_(0.1)
    made = [
        engine.make(net, torch.device("cpu"), side, None)
        for net, side in zip((other, tiny), sides, strict=True)
    ]
    taps = (("top",), (tiny.stages[1], "top"))
    halves = tuple(
        Half(name=name, engine=one, taps=read, side_px=side)
        for name, one, read, side in zip(joined.NAMES, made, taps, sides, strict=True)
    )
    graphs = [engine.convert(net, side) for net, side in zip((other, tiny), sides, strict=True)]
    return halves, graphs  # type: ignore[return-value]


@pytest.mark.parametrize("sides", [(64, 64), (48, 64), (64, 48)], ids=str)
def test_one_graph_computes_what_both_engines_do(tiny: Backbone, sides: tuple[int, int]) -> None:
    """Features side by side, by their names; the file is one that this program would read."""
    halves, graphs = pair(tiny, sides)
    both = joined.join(halves)
    pixels = inference.noise(64, 3)

    graph = joined.join_graphs(graphs, halves)
    rows = both.forward(pixels)

    assert list(both.layout) == ["tuned/top", f"original/{tiny.stages[1]}", "original/top"]
    assert rows.shape[1] == both.layout["original/top"][1]
    assert inference.gap(rows, inference.compiled(graph)(pixels)) < inference.PARITY
    xml, constants = inference.serialised(graph)
    untrusted_files.check_topology(xml, len(constants))
    untrusted_files.check_work(graph)


def test_stages_that_both_have_are_computed_once(tiny: Backbone) -> None:
    """At one size the layers before the stage that differs stand in the graph once, else twice."""

    def layers(sides: tuple[int, int]) -> int:
        halves, graphs = pair(tiny, sides)
        kinds = [n.get_type_name() for n in joined.join_graphs(graphs, halves).get_ordered_ops()]
        return kinds.count("Convolution")

    every = 2 * sum(isinstance(m, torch.nn.Conv2d) for m in tiny.net.modules())
    assert layers((48, 64)) == every
    assert layers((64, 64)) < 0.8 * every
