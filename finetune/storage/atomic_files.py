"""Files and folders that are whole or absent: written aside, flushed to disk, renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from finetune.storage import locks

LOCK = "lock"
DRAFT = ".part"
# When this program began, less what the coarsest file systems (FAT) round times by.
BEGAN_NS = time.time_ns() - 2 * 10**9


def put(file: Path, content: bytes) -> None:
    """Write a file beside its place and rename it: after a power cut it is the old or the new.

    Raises:
        OSError: the disk is full, or the place cannot be written; the old file stays.
    """
    with writing(file) as aside:
        aside.write(content)


@contextlib.contextmanager
def writing(file: Path) -> Iterator[BinaryIO]:
    """The same of what is written inside, piece by piece; raises as `put`."""
    aside = file.with_name(f".{file.name}{DRAFT}")  # may lie among a person's own files
    try:
        with aside.open("wb") as draft:
            yield draft
        flush(aside)
        aside.replace(file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    flush(file.parent)


def move(folder: Path, place: Path, instead_of: Path | None = None) -> None:
    """Flush a folder's files and rename it to its place, which must be free or an empty folder.

    Args:
        folder: Holds files only, on the file system of `place`.
        place: Where it goes.
        instead_of: What stands in its place goes here, and is deleted; None where nothing may.

    Raises:
        OSError: the place is taken, or cannot be written.
    """
    for path in [*folder.iterdir(), folder]:
        flush(path)
    if instead_of is not None and place.exists():
        shutil.rmtree(instead_of, ignore_errors=True)
        place.rename(instead_of)
    if os.name == "nt" and place.is_dir():
        place.rmdir()  # there a rename replaces not even an empty folder
    folder.rename(place)
    flush(place.parent)
    if instead_of is not None:
        shutil.rmtree(instead_of, ignore_errors=True)


def final(name: str) -> str:
    """The name of the file that a draft of `put` is to become; of another file its own."""
    return name[1:].removesuffix(DRAFT) if name.startswith(".") else name


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digest_file(file: Path) -> str:
    """The same of a file's bytes, which need not fit into memory.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def unchanged(file: Path, digest: str) -> bool:
    """Whether a file still has the bytes whose digest this process took before.

    They are read again only where the file system says that something was changed meanwhile.
    """
    try:
        facts = file.stat()
        # copying may set the first back; the second cannot be, but is the creation on Windows
        if max(facts.st_mtime_ns, facts.st_ctime_ns) < BEGAN_NS:
            return True
        return digest_file(file) == digest
    except OSError:
        return False


def flush(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    windows = os.name == "nt"
    if windows and path.is_dir():
        return  # it opens no folders, and keeps their names in its journal
    handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make a folder and keep it to this process; the system lets go of it however that ends.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be made.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # its holder has just removed it: once more
            release = locks.take(folder / LOCK)
            break
    try:
        yield
    finally:
        release()
