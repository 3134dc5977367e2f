"""The next batch is gathered by another thread while a step computes, where that can pay."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from finetune.storage.arrays import Index, Some

Pictures = npt.NDArray[np.uint8]


class Ahead:
    """Pictures uint8[N,S,S,3] of which batches are asked for in an order that is known.

    While one is worked on, the next is copied together, and pinned for a GPU: from pinned memory
    `to_device` copies without waiting. What is asked for out of turn is gathered at once.
    """

    def __init__(
        self,
        pictures: Pictures | Some | Ahead,
        batches: Sequence[npt.NDArray[np.int64]],
        pool: ThreadPoolExecutor,
        *,
        pin: bool,
    ) -> None:
        self._pictures, self._batches, self._pool, self._pin = pictures, batches, pool, pin
        self._next, self._ready = 0, self._gather(0)

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: Index, /) -> Pictures:
        known, ready = self._next, self._ready
        if ready is None or not np.array_equal(np.asarray(index), self._batches[known]):
            return self._pictures[index]
        self._next, self._ready = known + 1, self._gather(known + 1)
        return ready.result()

    def _gather(self, number: int) -> Future[Pictures] | None:
        if number >= len(self._batches):
            return None
        return self._pool.submit(self._copied, self._batches[number])

    def _copied(self, rows: npt.NDArray[np.int64]) -> Pictures:
        batch: Pictures = self._pictures[rows]
        if not self._pin:
            return batch
        pinned: Pictures = torch.from_numpy(batch).pin_memory().numpy()
        return pinned


@contextlib.contextmanager
def ahead(
    pictures: Pictures | Some | Ahead,
    batches: Sequence[npt.NDArray[np.int64]],
    device: torch.device,
) -> Iterator[Pictures | Some | Ahead]:
    """The pictures, their batches gathered ahead where a GPU computes or a file is read.

    In memory, on a CPU, a thread would take the time from the step itself.

    Args:
        pictures: uint8[N,S,S,3].
        batches: Rows int64[B], in the order in which they will be asked for.
        device: Where steps compute.
    """
    held = pictures.pictures if isinstance(pictures, Some) else pictures
    if device.type != "cuda" and not isinstance(held, np.memmap):
        yield pictures
        return
    with ThreadPoolExecutor(1) as pool:
        yield Ahead(pictures, batches, pool, pin=device.type == "cuda")
