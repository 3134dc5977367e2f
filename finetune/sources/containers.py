"""Pictures in a zip, a tar or another file, by paths that behave as those of a folder do.

Nothing is unpacked beside the archive. A zip and a plain tar are read at any place; a compressed
tar, which has none to go to, is unpacked once into one nameless temporary file. Names that lead out
of the archive, links and devices are not read.
"""

from __future__ import annotations

import io
import lzma
import os
import stat
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar, Literal, cast

from finetune.records.errors import DataError, cause

SUFFIXES = (*(".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),)
# A file is read whole when it is opened: more than the largest picture that is unpacked.
MOST_MEMBER_BYTES = 512_000_000
MOST_MEMBERS = 5_000_000
# A compressed tar is unpacked to so much at most, and so many times its own size: what is packed
# tighter is made to fill disks (pictures are hardly packed at all).
MOST_UNPACKED_BYTES = 500_000_000_000
MOST_RATIO = 100
_CHUNK_BYTES = 1_000_000
_FAULTS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tarfile.TarError, EOFError),
    *(RuntimeError, NotImplementedError, ValueError, OverflowError, KeyError),
)


@dataclass
class Container:
    """A file that holds others: its folders with the names in them, and how to read each file.

    `sizes` are the files' bytes.
    """

    file: Path
    read: Callable[[str], bytes]
    sizes: dict[str, int] = field(default_factory=dict)
    folders: dict[str, dict[str, None]] = field(default_factory=lambda: {"": {}})

    def add(self, name: str, size: int | None) -> None:
        """A file of so many bytes, or with None a folder."""
        parts = [p for p in name.split("/") if p not in ("", ".")]
        if name.startswith("/") or ".." in parts or not parts or "\0" in name:
            return
        inside = "/".join(parts)
        if inside in self.folders or any(
            "/".join(parts[:n]) in self.sizes for n in range(1, len(parts))
        ):
            return  # a file cannot be a folder as well: the first counts
        for n in range(len(parts)):
            above = "/".join(parts[:n])
            self.folders.setdefault(above, {})[parts[n]] = None
        if size is None:
            self.folders.setdefault(inside, {})
        else:
            self.sizes[inside] = size


class ContainedPath(PurePosixPath):
    """A file or folder in a container; the container itself is its root folder.

    Every container has a class of its own (`root_of`), so that what is made from such a path, its
    parent or one below it, is of the same container.
    """

    __slots__ = ()
    container: ClassVar[Container]
    depth: ClassVar[int]

    @property
    def inside(self) -> str:
        """The name in the archive; empty for the archive itself."""
        return "/".join(self.parts[self.depth :])

    def exists(self) -> bool:
        """Whether there is such a file or folder."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.inside in self.container.sizes

    def is_dir(self) -> bool:
        """Whether it is a folder, or the archive itself."""
        return len(self.parts) >= self.depth and self.inside in self.container.folders

    def is_symlink(self) -> bool:
        """Links are not read."""
        return False

    def iterdir(self) -> Iterator[ContainedPath]:
        """What lies right in a folder."""
        for name in self.container.folders.get(self.inside, {}):
            yield self / name

    def stat(self) -> os.stat_result:
        """The archive's."""
        return self.container.file.stat()

    def open(self, mode: Literal["rb"] = "rb", /) -> IO[bytes]:  # noqa: ARG002 - as Path has it
        """The file's bytes.

        Raises:
            OSError: they cannot be read.
        """
        name = self.inside
        if name not in self.container.sizes:
            raise FileNotFoundError(2, "no such file in the archive", str(self))
        if self.container.sizes[name] > MOST_MEMBER_BYTES:
            raise OSError(f"it unpacks to {self.container.sizes[name]:,} bytes")
        try:
            return io.BytesIO(self.container.read(name))
        except (*_FAULTS, DataError) as error:
            raise OSError(f"the archive cannot be read there: {cause(error)}") from error

    def read_bytes(self) -> bytes:
        """The file's bytes."""
        with self.open("rb") as content:
            return content.read()


def is_archive(path: Path) -> bool:
    """Whether a file is called like an archive that is read here."""
    return path.name.lower().endswith(SUFFIXES)


def opened(file: Path) -> Path:
    """The root folder of an archive; one that was opened before and has not changed since is kept.

    Raises:
        DataError: it is damaged, or too large.
    """
    try:
        facts = file.stat()
        return _opened(file, facts.st_mtime_ns, facts.st_size)
    except (OSError, *_FAULTS) as error:
        raise DataError(
            f"cannot read the archive {file}: {cause(error)}",
            hint="Is it whole? Unpack it, and give the folder.",
        ) from error


@lru_cache(maxsize=32)
def _opened(file: Path, _changed: int, _size: int) -> Path:
    with file.open("rb") as content:
        zipped = content.read(2) == b"PK"
    return root_of(_of_zip(file) if zipped else _of_tar(file))


def root_of(container: Container) -> Path:
    """The root folder of a container.

    It has all that this program asks of a `Path`, and no more: nothing in it can be written.
    """
    place = PurePosixPath(container.file.as_posix())
    own = {"container": container, "depth": len(place.parts), "__slots__": ()}
    return cast(Path, type("ContainedPath", (ContainedPath,), own)(place))


def _of_zip(file: Path) -> Container:
    archive = zipfile.ZipFile(file)
    members: dict[str, zipfile.ZipInfo] = {}
    found = Container(file, lambda name: archive.read(members[name]))
    weakref.finalize(found, archive.close)
    infos = archive.infolist()
    _require_few(len(infos))
    # a few programs on Windows write their own separators
    windows = not any("/" in info.filename for info in infos)
    for info in infos:
        name = info.filename.replace("\\", "/") if windows else info.filename
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.flag_bits & 1 or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            continue  # encrypted, a link or a device
        if name.endswith("/"):
            found.add(name, None)
        else:
            found.add(name, info.file_size)
            members["/".join(p for p in name.split("/") if p not in ("", "."))] = info
    return found


def _of_tar(file: Path) -> Container:
    content = _plain(file)
    lock, places = threading.Lock(), dict[str, tuple[int, int]]()

    def read(name: str) -> bytes:
        start, size = places[name]
        with lock:
            content.seek(start)
            found = content.read(size)
        if len(found) < size:
            raise EOFError("it ends too early")
        return found

    found = Container(file, read)
    weakref.finalize(found, content.close)
    with tarfile.open(fileobj=content, mode="r:") as archive:
        for number, member in enumerate(_members(archive)):
            _require_few(number)
            if member.isdir():
                found.add(member.name, None)
            elif member.isreg() and not member.issparse():
                found.add(member.name, member.size)
                name = "/".join(p for p in member.name.split("/") if p not in ("", "."))
                places[name] = (member.offset_data, member.size)
    return found


def _members(archive: tarfile.TarFile) -> Iterable[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined] # a list of all is not needed
        yield member


def _plain(file: Path) -> IO[bytes]:
    """The tar's bytes, of a compressed one unpacked."""
    raw: IO[bytes] = file.open("rb")
    try:
        with tarfile.open(fileobj=raw, mode="r:"):
            raw.seek(0)
            return raw
    except tarfile.ReadError:
        raw.close()
    out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the archive
    try:
        _unpack(file, out)
    except BaseException:
        out.close()
        raise
    return out


def _unpack(file: Path, out: IO[bytes]) -> None:
    most = min(MOST_UNPACKED_BYTES, MOST_RATIO * file.stat().st_size + _CHUNK_BYTES)
    with _unpacker(file) as packed:
        while chunk := packed.read(_CHUNK_BYTES):
            out.write(chunk)
            if out.tell() > most:
                raise ValueError(f"it unpacks to more than {most:,} bytes")
    out.seek(0)


def _unpacker(file: Path) -> IO[bytes]:
    import bz2  # noqa: PLC0415 - not every Python is built with it
    import gzip  # noqa: PLC0415 - only for compressed archives

    with file.open("rb") as content:
        start = content.read(6)
    kinds: dict[bytes, Callable[[Path], Any]] = {
        b"\x1f\x8b": gzip.open,
        b"BZh": bz2.open,
        b"\xfd7zXZ\x00": lzma.open,
    }
    for magic, unpack in kinds.items():
        if start.startswith(magic):
            found: IO[bytes] = unpack(file)
            return found
    raise ValueError("it is neither a zip nor a tar")


def _require_few(count: int) -> None:
    if count > MOST_MEMBERS:
        raise ValueError(f"more than {MOST_MEMBERS:,} files")
