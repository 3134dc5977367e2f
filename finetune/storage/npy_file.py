"""A NumPy file of float32 rows that grows: any program reads it, a part of it at a time."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from finetune.storage.arrays import Floats

# The header is written first, when nobody knows how many rows will come: it has room for any number
# (numpy.lib.format, version 1.0).
_MAGIC, _HEAD = b"\x93NUMPY\x01\x00", 128
_SHAPE = re.compile(rb"'descr': '<f4', 'fortran_order': False, 'shape': \((\d+), (\d+)\)")


class NpyFile:
    """Rows float32[N, width] in a file, appended to.

    Args:
        path: The file; gone on with where it is there.
        width: Numbers in a row.

    Raises:
        ValueError: it is there, and is not such a file.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path, width: int) -> None:
        self.path, self.width = path, width
        if path.exists() and path.stat().st_size:
            with path.open("rb") as file:
                start = file.read(_HEAD)
            shape = _SHAPE.search(start)
            if not start.startswith(_MAGIC) or shape is None or len(start) < _HEAD:
                raise ValueError("it is no file of features that finetune has written")
            if int(shape[2]) != width:
                raise ValueError(f"it has {int(shape[2])} features a picture, and the run {width}")
        self._file = path.open("r+b" if path.exists() else "w+b")
        size = self._file.seek(0, 2)
        self._count = max(0, size - _HEAD) // (4 * width)
        self.cut(self._count)

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Floats) -> None:
        """Append rows float32[n, width]."""
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(rows, "<f4").tobytes())
        self._file.flush()
        self._count += len(rows)

    def cut(self, count: int) -> None:
        """Leave the first rows only; a half-written one goes."""
        self._count = count
        self._file.truncate(_HEAD + 4 * self.width * count)
        self._head()

    def close(self) -> None:
        """Write into the header how many rows there are."""
        self._head()
        self._file.close()

    def _head(self) -> None:
        shape = f"({self._count}, {self.width})"
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
        room = _HEAD - len(_MAGIC) - 2
        self._file.seek(0)
        self._file.write(_MAGIC + room.to_bytes(2, "little") + text.ljust(room - 1) + b"\n")
        self._file.flush()
