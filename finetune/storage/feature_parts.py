"""Features that many processes have computed: files written once, named by what they hold.

The database of features (`feature_cache`) is for one machine: SQLite's journal needs memory that
its users share. A part is a plain file instead, written aside and renamed, so that processes on
many machines may write into one folder of a network's file system at once; two that compute the
same write the same name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.storage import atomic_files

FOLDER, SUFFIX, DRAFT = "parts", ".features", ".draft"
_MAGIC = b"finetune features 1\n\0\0\0\0"
_HEAD = len(_MAGIC) + 16  # then two numbers of 8 bytes: images N, and numbers F for each
_DIGEST = 32  # bytes of SHA-256
# Layout after the head: N digests, N check sums uint32, N rows float32[F]; little endian.


def write(
    place: Path, engine: str, images: Sequence[str], rows: npt.NDArray[np.float32]
) -> tuple[Path, int]:
    """Write one part; where it is there already it is replaced by the same.

    Args:
        place: The cache.
        engine: What the rows depend on beside the images, as in `feature_cache`.
        images: The SHA-256 of each image, in hexadecimal.
        rows: float32[N, F].

    Returns:
        The file, and its bytes.

    Raises:
        OSError: there is no room for it, or it may not be written.
    """
    folder = _folder(place, engine)
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256("\0".join([engine, *images]).encode()).hexdigest()[:32]
    blobs = [np.ascontiguousarray(row, "<f4").tobytes() for row in rows]
    sums = np.array([_sum(engine, i, b) for i, b in zip(images, blobs, strict=True)], "<u4")
    handle, draft = tempfile.mkstemp(prefix=f".{name}-", suffix=DRAFT, dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC + np.array(rows.shape, "<u8").tobytes())
            file.write(b"".join(bytes.fromhex(image) for image in images) + sums.tobytes())
            for blob in blobs:
                file.write(blob)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        Path(draft).chmod(0o644)  # another user of the folder may read it, as of the database
        target = folder / f"{name}{SUFFIX}"
        Path(draft).replace(target)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    atomic_files.flush(folder)
    return target, size


class Parts:
    """The rows of all parts of one engine, found by the digests of images.

    Only digests are read beforehand, 8 bytes of each are held: 16 MB for a million images. A file
    that is damaged, or is just being removed, holds nothing; a row whose check sum does not fit is
    not there.
    """

    def __init__(self, place: Path, engine: str) -> None:
        self._engine = engine
        self._files: list[tuple[Path, int, int]] = []
        starts, where = [np.empty(0, np.uint64)], [np.empty((0, 2), np.uint32)]
        for path in files(place, engine):
            with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
                count, width = _shape(file.read(_HEAD), path.stat().st_size)
                found = np.frombuffer(file.read(_DIGEST * count), np.uint8)
                starts.append(_starts(found.reshape(count, _DIGEST)))
                number = np.full(count, len(self._files), np.uint32)
                where.append(np.stack([number, np.arange(count, dtype=np.uint32)], axis=1))
                self._files.append((path, count, width))
        order = np.argsort(known := np.concatenate(starts), kind="stable")
        self._known, self._where = known[order], np.concatenate(where)[order]

    def __len__(self) -> int:
        return len(self._known)

    def find(
        self, images: Sequence[str], width: int
    ) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """The position of each image that is known, and its row float32[width]."""
        if not len(self) or not images:
            return
        digests = np.frombuffer(bytes.fromhex("".join(images)), np.uint8).reshape(-1, _DIGEST)
        wanted = _starts(digests)
        at = np.minimum(np.searchsorted(self._known, wanted), len(self) - 1)
        hits = np.flatnonzero(self._known[at] == wanted)
        places = self._where[at[hits]]
        for number in np.unique(places[:, 0]).tolist():
            path, count, wide = self._files[number]
            if wide != width:
                continue
            mine = hits[places[:, 0] == number]
            with contextlib.suppress(OSError), path.open("rb") as file:
                sums = _HEAD + _DIGEST * count
                for i in mine.tolist():
                    row = int(self._where[at[i]][1])
                    file.seek(sums + 4 * row)
                    expected = int.from_bytes(file.read(4), "little")
                    file.seek(sums + 4 * count + 4 * width * row)
                    blob = file.read(4 * width)
                    if len(blob) == 4 * width and _sum(self._engine, images[i], blob) == expected:
                        yield i, np.frombuffer(blob, "<f4")


def files(place: Path, engine: str | None = None) -> list[Path]:
    """The parts in a cache: of one engine, or of all."""
    folders = [_folder(place, engine)] if engine is not None else _folders(place)
    found = []
    for folder in folders:
        with contextlib.suppress(OSError):
            found += [path for path in folder.iterdir() if path.name.endswith(SUFFIX)]
    return sorted(found)


def clear(place: Path) -> None:
    """Remove all parts, what a killed process has left of one, and their folders.

    Raises:
        OSError: one could not be removed.
    """
    for folder in _folders(place):
        for path in folder.iterdir():
            if path.name.endswith((SUFFIX, DRAFT)):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else lies in it
            folder.rmdir()
    with contextlib.suppress(OSError):
        (place / FOLDER).rmdir()


def _folders(place: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(path for path in (place / FOLDER).iterdir() if path.is_dir())
    return []


def _folder(place: Path, engine: str) -> Path:
    return place / FOLDER / hashlib.sha256(engine.encode()).hexdigest()[:16]


def _shape(head: bytes, size: int) -> tuple[int, int]:
    """Images and numbers for each, as a file's head says and its size confirms.

    Raises:
        ValueError: it is no part, or is cut.
    """
    if len(head) != _HEAD or not head.startswith(_MAGIC):
        raise ValueError("no part")
    count, width = (int(n) for n in np.frombuffer(head[len(_MAGIC) :], "<u8"))
    if size != _HEAD + count * (_DIGEST + 4 + 4 * width):
        raise ValueError("cut")
    return count, width


def _starts(digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """The first 8 bytes of each digest uint8[N,32], by which they are sorted and found."""
    return np.ascontiguousarray(digests[:, :8]).view("<u8").reshape(-1).astype(np.uint64)


def _sum(engine: str, image: str, row: bytes) -> int:
    """Of a row and of whose it is: two images whose digests begin alike are told apart by it."""
    return zlib.crc32(row, zlib.crc32(f"{engine}\0{image}".encode()))
