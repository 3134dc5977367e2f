"""Stage features of many images: one decode and one forward pass each, and that only once."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune import batches, cache
from finetune.errors import BackboneError, ImageError
from finetune.inference import Engine, Layout
from finetune.records import Listener

BATCH = 32  # larger batches gain nothing on a CPU and hold more pixels


@dataclass(frozen=True)
class Table:
    """Features of the images that decoded.

    `rows` is float32[N, F]; `kept` int64[N] holds each row's position in the list asked for;
    `layout` says which columns belong to which stage; `faults` names the others. `fresh` of the
    images were run now, in `seconds`; the features of the others were known.
    """

    rows: npt.NDArray[np.float32]
    kept: npt.NDArray[np.int64]
    layout: Layout
    faults: tuple[tuple[int, ImageError], ...]
    fresh: int = 0
    seconds: float = 0.0

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
    listener: Listener,
    digests: Sequence[str] | None = None,
) -> Table:
    """Run every image once through the backbone, unless its features are known already.

    Args:
        paths: Image files.
        engine: What `engine.make` chose.
        side_px: Side of the network's input.
        listener: Hears of progress, and why where features cannot be kept.
        digests: SHA-256 of each file, where known features may be taken and new ones kept.

    Raises:
        BackboneError: what the network computes are no numbers.
    """
    width = max(stop for _, stop in engine.layout.values())
    rows = np.empty((len(paths), width), np.float32)
    there = np.zeros(len(paths), np.bool_)
    store = cache.Features(listener.note) if digests is not None and engine.key else None
    if store is not None and digests is not None:
        known = store.find(engine.key, digests, width)
        for i, digest in enumerate(digests):
            if digest in known:
                rows[i], there[i] = known[digest], True
    missing = np.flatnonzero(~there).tolist()
    faults: list[tuple[int, ImageError]] = []
    done, began = len(paths) - len(missing), time.perf_counter()
    listener.progress(done, len(paths))
    wanted = [paths[i] for i in missing]
    for good, pixels, bad in batches.stream(wanted, side_px, BATCH, os.cpu_count() or 1):
        chosen = [missing[i] for i in good]
        if chosen:
            rows[chosen], there[chosen] = _numbers(engine.forward(pixels), paths[chosen[0]]), True
            if store is not None and digests is not None:
                store.keep(engine.key, [digests[i] for i in chosen], rows[chosen])
        faults += [(missing[i], fault) for i, fault in bad]
        done += len(good) + len(bad)
        listener.progress(done, len(paths))
    if store is not None:
        store.close()
    kept = np.flatnonzero(there)
    full = rows if len(kept) == len(paths) else rows[kept]
    seconds = time.perf_counter() - began
    return Table(full, kept, engine.layout, tuple(faults), len(wanted), seconds)


def _numbers(rows: npt.NDArray[np.float32], first: Path) -> npt.NDArray[np.float32]:
    """The rows, unless a network with damaged or hostile weights has made something else."""
    if not np.isfinite(rows).all():
        raise BackboneError(
            f"the network's answer for {first} or an image after it is no number",
            hint="Its weights are damaged: give others with --weights, or train again.",
        )
    return rows
