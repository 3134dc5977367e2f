"""Stage features of many images: one decode and one forward pass each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune import batches
from finetune.errors import ImageError
from finetune.inference import Engine, Layout

BATCH = 32  # larger batches gain nothing on a CPU and hold more pixels


@dataclass(frozen=True)
class Table:
    """Features of the images that decoded.

    `rows` is float32[N, F]; `kept` int64[N] holds each row's position in the list asked for;
    `layout` says which columns belong to which stage; `faults` names the others.
    """

    rows: npt.NDArray[np.float32]
    kept: npt.NDArray[np.int64]
    layout: Layout
    faults: tuple[tuple[int, ImageError], ...]

    def columns(self, taps: Sequence[str]) -> npt.NDArray[np.float32]:
        """The features of the named stages side by side, float32[N, F']."""
        return select(self.rows, self.layout, taps)


def select(
    rows: npt.NDArray[np.float32], layout: Layout, taps: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Columns of the named stages, in the order of the names."""
    return np.concatenate([rows[:, slice(*layout[tap])] for tap in taps], axis=1)


def extract(
    paths: Sequence[Path],
    engine: Engine,
    side_px: int,
    progress: Callable[[int, int], None],
) -> Table:
    """Run every image once through the backbone.

    Args:
        paths: Image files.
        engine: What `engine.make` chose.
        side_px: Side of the network's input.
        progress: Called with (done, total) after each batch.
    """
    width = max(stop for _, stop in engine.layout.values())
    rows = np.empty((len(paths), width), np.float32)
    kept: list[int] = []
    faults: list[tuple[int, ImageError]] = []
    for good, pixels, bad in batches.stream(paths, side_px, BATCH, os.cpu_count() or 1):
        if good:
            rows[len(kept) : len(kept) + len(good)] = engine.forward(pixels)
            kept += good
        faults += bad
        progress(len(kept) + len(faults), len(paths))
    return Table(rows[: len(kept)], np.array(kept, np.int64), engine.layout, tuple(faults))
