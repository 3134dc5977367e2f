"""Rows of numbers, read in parts, for more images than fit into memory."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from finetune.records.errors import DiskError, cause, refusals

Floats = npt.NDArray[np.float32]
Index = slice | npt.NDArray[np.int64]
# What is larger lies in a file: 6,000 images with all features of the default backbone.
MEMORY_BYTES = 128_000_000
PART_BYTES = 16_000_000
PICTURE_BYTES = 1_000_000_000


class Rows(Protocol):
    """What is read of a table float32[N, F]: some of its rows at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, F)."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, index: Index, /) -> Floats:
        """Some rows, by a slice or by their numbers."""


class Filed:
    """float32[N, F] in a file without a name, which is gone with the process.

    Not memory-mapped: mapped pages count as the process's own.

    Raises:
        DiskError: there is no room for it, or what is there cannot be read or written.
    """

    _file: Any = None

    def __init__(self, count: int, width: int) -> None:
        self.shape = (count, width)
        self._bytes = 4 * count * width
        self._file = _scratch(self._bytes)

    def __del__(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what it held is wanted no more
                self._file.close()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index, /) -> Floats:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._read(start, max(0, stop - start))
            index = np.arange(start, stop, step)
        out = np.empty((len(index), self.shape[1]), np.float32)
        for row, i in zip(out, index, strict=True):
            self._fill(row, int(i))
        return out

    def __setitem__(self, index: Sequence[int], values: Floats) -> None:
        with _told(self._bytes):
            for i, row in zip(index, values, strict=True):
                self._file.seek(4 * i * self.shape[1])
                self._file.write(np.ascontiguousarray(row, np.float32).data)

    def _read(self, start: int, count: int) -> Floats:
        out = np.empty((count, self.shape[1]), np.float32)
        self._fill(out, start)
        return out

    def _fill(self, out: Floats, start: int) -> None:
        """Read rows from `start` on into an array."""
        with _told(self._bytes):
            self._file.seek(4 * start * self.shape[1])
            self._file.readinto(out.data)


@dataclass(frozen=True)
class View:
    """Some columns of some rows, read when they are needed.

    `spans` are (start, stop) of columns, in the wanted order; `numbers` the rows, None for all.
    """

    rows: Rows
    spans: tuple[tuple[int, int], ...]
    numbers: npt.NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, F)."""
        return len(self), sum(stop - start for start, stop in self.spans)

    def __len__(self) -> int:
        return len(self.rows) if self.numbers is None else len(self.numbers)

    def __getitem__(self, index: Index, /) -> Floats:
        some = self.rows[index if self.numbers is None else self.numbers[index]]
        return np.concatenate([some[:, start:stop] for start, stop in self.spans], axis=1)


def new(count: int, width: int, most: int | None = None) -> npt.NDArray[np.float32] | Filed:
    """Room for float32[count, width], in memory; beyond `most` bytes (`MEMORY_BYTES`) in a file.

    Raises:
        DiskError: the disk has no room for the file.
    """
    if 4 * count * width <= (MEMORY_BYTES if most is None else most):
        return np.empty((count, width), np.float32)
    return Filed(count, width)


@dataclass(frozen=True)
class Some:
    """Some of many pictures uint8[N,S,S,3], not copied until they are asked for."""

    pictures: npt.NDArray[np.uint8]
    numbers: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Index, /) -> npt.NDArray[np.uint8]:
        return self.pictures[self.numbers[index]]


def pictures(count: int, side_px: int) -> npt.NDArray[np.uint8]:
    """Room for uint8[count, side, side, 3]: in memory, or mapped to a file without a name.

    Training reads them in random order, again and again; pages that do not fit are put out.

    Raises:
        DiskError: the disk has no room for the file.
    """
    shape = (count, side_px, side_px, 3)
    if math.prod(shape) <= PICTURE_BYTES:
        return np.empty(shape, np.uint8)
    with _scratch(math.prod(shape)) as file:
        return np.memmap(file, np.uint8, "r+", shape=shape)


def parts(rows: Rows) -> Iterator[tuple[slice, Floats]]:
    """All rows in their order, a few megabytes at a time."""
    # a view reads whole rows of what it looks at
    whole = rows.rows if isinstance(rows, View) else rows
    height = max(1, PART_BYTES // (4 * max(1, whole.shape[1])))
    for start in range(0, len(rows), height):
        part = slice(start, min(start + height, len(rows)))
        yield part, rows[part]


def _scratch(size: int) -> Any:
    """An open file of so many bytes without a name, the room for all of them taken.

    In a file with holes a full disk would show when one is filled: where it is mapped, by SIGBUS,
    which ends the process without a word.
    """
    with _told(size):
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            _reserve(file, size)
        except BaseException:
            file.close()
            raise
        return file


def _reserve(file: Any, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, max(1, size))
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
                raise
        else:
            return
    # macOS, and file systems that cannot take room in advance: only what is written has its place
    for start in range(0, size, PART_BYTES):
        file.write(bytes(min(PART_BYTES, size - start)))
    file.flush()


def _told(size: int) -> contextlib.AbstractContextManager[None]:
    """Turn what the system says of a temporary file into a fault with its place and a way on."""

    def fault(error: OSError) -> DiskError:
        place = "no folder"
        with contextlib.suppress(OSError):  # none of those it looks for can be written
            place = tempfile.gettempdir()
        return DiskError(
            f"cannot keep {size / 1e6:,.0f} MB in a temporary file in {place}: {cause(error)}",
            hint="Make room there, set TMPDIR to a folder on a larger disk, or give a smaller "
            "--image-size or --max-per-class.",
        )

    return refusals(fault)


Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
