"""Stage features of many images: one decode and one forward pass each, and that only once."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.backbones import ranks
from finetune.backbones.inference import Engine, Layout
from finetune.pictures import decoding
from finetune.records.backbone import HALF, Box
from finetune.records.dataset import Scale
from finetune.records.errors import BackboneError, ImageError
from finetune.records.events import Listener
from finetune.storage import arrays, atomic_files, feature_cache
from finetune.storage.arrays import Rows, View

BATCH = 32  # larger batches gain nothing on a CPU and hold more pixels


@dataclass(frozen=True)
class Table:
    """Features of the images that decoded.

    `rows` is float32[N, F], in a file where that is large; `kept` int64[N] holds each row's
    position in the list asked for; `layout` says which columns belong to which stage; `faults`
    names the others. `fresh` of the images were run now, in `seconds`; the features of the others
    were known.
    """

    rows: Rows
    kept: npt.NDArray[np.int64]
    layout: Layout
    faults: tuple[tuple[int, ImageError], ...]
    fresh: int = 0
    seconds: float = 0.0

    def columns(self, taps: Sequence[str], numbers: npt.NDArray[np.int64] | None = None) -> View:
        """The features of the named stages side by side, in the order of the names.

        Args:
            taps: The stages.
            numbers: The rows, int64[M]; None for all.
        """
        return View(self.rows, tuple(self.layout[tap] for tap in taps), numbers)


def extract(
    paths: Sequence[Path],
    engine: Engine,
    side_px: int,
    listener: Listener,
    digests: Sequence[str] | None = None,
    scales: Sequence[Scale] | None = None,
    box: Box = HALF,
) -> Table:
    """Run every image once through the backbone, unless its features are known already.

    Of several ranks each runs its share of the images, and has the features of all.

    Args:
        paths: Image files.
        engine: What `engine.make` chose.
        side_px: Side of the network's input.
        listener: Hears of progress, and why where features cannot be kept.
        digests: SHA-256 of each file, where known features may be taken and new ones kept.
        scales: What is black and white in pictures of more than 8 bits, as in `decoding.decode`.
        box: How a picture becomes a square, as there.

    Raises:
        BackboneError: what the network computes are no numbers.
    """
    width = max(stop for _, stop in engine.layout.values())
    rows = arrays.new(len(paths), width)
    there = np.zeros(len(paths), np.bool_)
    store = feature_cache.Features(listener.note) if digests is not None and engine.key else None
    key = kept_by(engine, scales, box)
    own = ranks.share(len(paths))
    if store is not None and digests is not None:
        for i, row in store.find(key, digests[own], width):
            rows[[own.start + i]], there[own.start + i] = row[None], True
    missing = (own.start + np.flatnonzero(~there[own])).tolist()
    faults: list[tuple[int, ImageError]] = []
    done, began = len(paths) - len(missing), time.perf_counter()
    listener.progress(done, len(paths))
    wanted = [paths[i] for i in missing]
    workers = os.cpu_count() or 1
    for good, pixels, bad in decoding.stream(wanted, side_px, BATCH, workers, scales, box):
        chosen = [missing[i] for i in good]
        if chosen:
            fresh = _numbers(engine.forward(pixels), paths[chosen[0]])
            rows[chosen], there[chosen] = fresh, True
            if store is not None and digests is not None:
                # what has been changed since its digest was taken would be kept under the old one
                same = [
                    k for k, i in enumerate(chosen) if atomic_files.unchanged(paths[i], digests[i])
                ]
                store.keep(key, [digests[chosen[k]] for k in same], fresh[same])
        faults += [(missing[i], fault) for i, fault in bad]
        done += len(good) + len(bad)
        listener.progress(done, len(paths))
    if store is not None:
        store.close()
    fresh_count = _exchanged(paths, rows, there, faults, len(wanted))
    kept = np.flatnonzero(there)
    full: Rows = rows
    if len(kept) < len(paths):
        full = rows[kept] if isinstance(rows, np.ndarray) else View(rows, ((0, width),), kept)
    seconds = time.perf_counter() - began
    return Table(full, kept, engine.layout, tuple(faults), fresh_count, seconds)


def _exchanged(
    paths: Sequence[Path],
    rows: npt.NDArray[np.float32] | arrays.Filed,
    there: npt.NDArray[np.bool_],
    faults: list[tuple[int, ImageError]],
    fresh: int,
) -> int:
    """Take over what other ranks have found; returns how many images were run by all."""
    if ranks.size() == 1:
        return fresh
    ranks.exchange(rows)
    ranks.exchange(there)
    told = [(i, str(paths[i]), fault.reason) for i, fault in faults]
    faults[:] = [(i, ImageError(p, why)) for some in ranks.gathered(told) for i, p, why in some]
    return sum(ranks.gathered(fresh))


def kept_by(engine: Engine, scales: Sequence[Scale] | None, box: Box) -> str:
    """All that a row depends on beside the image's bytes: under it the cache keeps the row."""
    return f"{engine.key}{_scaled(scales)}{_boxed(box)}"


def _scaled(scales: Sequence[Scale] | None) -> str:
    """What features depend on beside the engine and the file; nothing where all have 8 bits."""
    if scales is None:
        return " each scaled by itself"
    return "".join(f" {s.kind} {s.black!r} {s.white!r}" for s in scales)


def _boxed(box: Box) -> str:
    """The same of the square; nothing for the one that there was alone in older versions."""
    kernel = "" if box.interpolation == HALF.interpolation else f" {box.interpolation}"
    kernel += "" if box.bands is None else f" bands {box.bands}"
    same = box.fit == HALF.fit and box.fill == HALF.fill
    return kernel if same else f" {box.fit} {box.fill}{kernel}"


def _numbers(rows: npt.NDArray[np.float32], first: Path) -> npt.NDArray[np.float32]:
    """The rows, unless a network with damaged or hostile weights has made something else."""
    if not np.isfinite(rows).all():
        raise BackboneError(
            f"the network's answer for {first} or an image after it is not a number",
            hint="Its weights are damaged: give others with --weights, or train again.",
        )
    return rows
