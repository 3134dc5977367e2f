"""Pictures of zip and tar archives, read where they lie: nothing is unpacked to a disk.

An archive is untrusted: its names are never used as places, and what it unpacks to is bounded, each
file and all together. It is read once, from its first file to its last; for training, which comes
back to any of them, there is `containers`.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from finetune.pictures import file_kinds
from finetune.pictures.opening import Member, RefusedError
from finetune.records.errors import ImageError, cause, safe_name
from finetune.sources.files import is_hidden, named_as_image

ZIP, TAR = (".zip",), (".tar", ".tar.gz", ".tgz")
# The most that one file may unpack to: the pixels of the largest picture that is read, as RGB.
MOST_MEMBER = 200_000_000
# All files together: pictures are packed already, so an archive of them hardly grows; deflate may
# reach a thousand times.
MOST_GROWTH, FREE_BYTES = 100, MOST_MEMBER
# What tarfile may read for the headers of one file: long names, and attributes.
MOST_HEADER = 1_000_000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Found:
    """Something to classify: its name for people, its file, and why it is not read if it is not.

    Without a file and without a fault it is no picture, and only counted.
    """

    name: str
    file: Path | Member | None = None
    fault: str = ""

    @property
    def held(self) -> int:
        """Bytes in memory as long as this is."""
        return self.file.held if isinstance(self.file, Member) else 0


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive that is read."""
    return path.name.lower().endswith(ZIP + TAR)


def is_tar(path: Path) -> bool:
    """Whether it is one whose files can only be had one after the other."""
    return path.name.lower().endswith(TAR)


def members(path: Path) -> Iterator[Found]:
    """The pictures of an archive in its order; what is wrong with it comes as one with a fault.

    They are named `archive.zip/inner/path.jpg`, less what leads out of the archive in a name.
    """
    try:
        yield from _of_tar(path) if is_tar(path) else _of_zip(path)
    except RefusedError as error:
        yield Found(safe_name(str(path)), fault=f"cannot read archive {path}: {error}")
    except Exception as error:  # zipfile and tarfile raise all sorts of things on damaged ones
        why = "it is damaged, or cut short" if isinstance(error, EOFError) else cause(error)
        yield Found(safe_name(str(path)), fault=f"cannot read archive {path}: {why}")


def _of_zip(path: Path) -> Iterator[Found]:
    # not closed here: its files are read later, and the last of them closes it
    archive = zipfile.ZipFile(path)
    infos = archive.infolist()
    _bound(sum(info.file_size for info in infos), path)
    for info in infos:
        if info.is_dir() or _hidden(info.filename):
            continue
        name = _named(path, info.filename)
        if info.file_size > MOST_MEMBER:
            yield _refused(name, _large(info.file_size))
        elif info.flag_bits & _ENCRYPTED:
            yield _refused(name, "it is encrypted: unpack the archive with its password")
        elif info.compress_type not in _METHODS:
            yield _refused(name, "it is packed by a method that is not read: unpack the archive")
        else:
            file = _ZipFile(archive, info)
            yield _picture(name, Member(name, file.read), file.head)


@dataclass(frozen=True)
class _ZipFile:
    """One file of a zip archive; it is safe to read several at once."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    def head(self) -> bytes:
        """Its first bytes."""
        return self._first(file_kinds.HEAD_BYTES)

    def read(self) -> bytes:
        """All of them."""
        content = self._first(MOST_MEMBER + 1)
        if len(content) > MOST_MEMBER:  # its size in the list of files was a lie
            raise RefusedError(_large(len(content)))
        return content

    def _first(self, size: int) -> bytes:
        try:
            with self.archive.open(self.info) as file:
                return file.read(size)
        except Exception as error:  # see `members`
            raise RefusedError(f"the archive is damaged there: {cause(error)}") from error


class _Bounded:
    """A stream that gives no more than it may, however much there is: see `_of_tar`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._given = 0
        self.most = MOST_HEADER

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._given += len(content)
        if self._given > self.most:
            raise RefusedError(f"headers of more than {MOST_HEADER:,} bytes: it is no archive")
        return content


def _of_tar(path: Path) -> Iterator[Found]:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if packed else raw
        bounded = _Bounded(stream)
        with tarfile.open(fileobj=cast("BinaryIO", bounded), mode="r|") as archive:
            while (info := archive.next()) is not None:
                end = info.offset_data + info.size
                _bound(end if packed else 0, path)
                bounded.most = end + MOST_HEADER
                vars(archive)["members"] = []  # which it would keep all
                if not info.isfile() or info.issparse() or _hidden(info.name):
                    continue
                name = _named(path, info.name)
                if info.size > MOST_MEMBER:
                    yield _refused(name, _large(info.size))
                    continue
                file = archive.extractfile(info)
                assert file is not None  # it is a file
                content = file.read()
                if len(content) < info.size:
                    raise EOFError
                member = Member(name, partial(bytes, content), len(content))
                yield _picture(name, member, partial(bytes, content[: file_kinds.HEAD_BYTES]))


def _bound(unpacked: int, path: Path) -> None:
    """Refuse an archive whose files are many times its own size."""
    packed = path.stat().st_size
    if unpacked > MOST_GROWTH * packed + FREE_BYTES:
        raise RefusedError(
            f"it would unpack from {packed:,} to {unpacked:,} bytes, more than {MOST_GROWTH} times "
            "its size"
        )


def _picture(name: str, member: Member, head: Callable[[], bytes]) -> Found:
    """A file of an archive as a picture, as one that is not read, or as none."""
    suffix = Path(name)
    if file_kinds.is_foreign(suffix):
        return _refused(name, file_kinds.foreign(suffix))
    if named_as_image(suffix):
        return Found(name, member)
    try:
        known = file_kinds.is_picture(head())
    except RefusedError:  # neither name nor content says picture
        known = False
    return Found(name, member if known else None)


def _refused(name: str, why: str) -> Found:
    """Of a file that is called a picture; of any other there is nothing to tell."""
    path = Path(name)
    told = named_as_image(path) or file_kinds.is_foreign(path)
    return Found(name, fault=ImageError(name, why).message if told else "")


def _large(size: int) -> str:
    return f"it unpacks to {size:,} bytes, and at most {MOST_MEMBER:,} are read"


def _named(path: Path, inner: str) -> str:
    """What a file of an archive is called; no part of it leads out of the archive."""
    return safe_name("/".join([str(path), *_parts(inner)]))


def _hidden(inner: str) -> bool:
    return any(is_hidden(part) for part in _parts(inner))


def _parts(inner: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", inner) if part not in ("", ".", "..")]
