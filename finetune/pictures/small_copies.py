"""What was glanced at, with its small copy, as rows of numbers that the cache keeps."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from finetune.pictures.decoding import Glance, Pixels
from finetune.storage.arrays import Index, Rows, View

HEAD = struct.Struct("<3I16s16s")  # size, frames, mode and format of a packed glance


def packed(seen: Glance) -> npt.NDArray[np.float32]:
    """A glance with its small copy as bytes, which the cache keeps as a row of numbers."""
    assert seen.thumb is not None
    names = (seen.mode.encode(), seen.format.encode())
    head = HEAD.pack(seen.width_px, seen.height_px, seen.several_frames, *names)
    return np.frombuffer(head + seen.thumb.tobytes(), np.float32)


def unpacked(row: npt.NDArray[np.float32], side_px: int) -> Glance:
    """What `packed` was given."""
    content = row.tobytes()
    width, height, frames, *names = HEAD.unpack_from(content)
    mode, name = (text.rstrip(b"\0").decode() for text in names)
    thumb = np.frombuffer(content, np.uint8, offset=HEAD.size).reshape(side_px, side_px, 3)
    return Glance(width, height, mode, name, bool(frames), thumb)


def packed_width(side_px: int) -> int:
    """Numbers in a row that `packed` makes."""
    return (HEAD.size + 3 * side_px * side_px) // 4


class Small:
    """Small copies in rows that `packed` made, uint8[N, side, side, 3], read when needed."""

    def __init__(self, rows: Rows, numbers: npt.NDArray[np.int64], side_px: int) -> None:
        self._pixels = View(rows, ((HEAD.size // 4, packed_width(side_px)),), numbers)
        self._side_px = side_px

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: Index, /) -> Pixels:
        return self._pixels[index].view(np.uint8).reshape(-1, self._side_px, self._side_px, 3)
