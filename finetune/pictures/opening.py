"""A file → a Pillow image, whatever metadata it has; and the true reason where there is none."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

from PIL import Image, ImageFile, UnidentifiedImageError

from finetune.pictures import file_kinds, mending
from finetune.records.errors import ImageError, cause, first_line

T = TypeVar("T")
# The most that is unpacked, counted after a JPEG's reduction: 200 MB as RGB, and in the worst case
# (float, 16 bits, transparency) a gigabyte for each worker. Pillow's own limit, 179 million before
# any reduction, is not asked, and not changed for others in the process.
MOST_PIXELS = 2**26
# A progressive JPEG is kept whole while it is unpacked, 6 bytes a pixel, however it is reduced.
MOST_PROGRESSIVE = 2**28
_HUGE = threading.Lock()  # one picture at a time of those beyond `MOST_PIXELS`
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class RefusedError(ValueError):
    """A picture that is whole, but not read for a reason that is told."""


class UnreadError(UnidentifiedImageError):
    """No decoder takes a file; what the one said that knew it is told."""


@dataclass
class Source:
    """An open file, from which an image can be begun more than once."""

    file: BinaryIO
    name: str
    images: list[Image.Image] = field(default_factory=list)

    def image(self) -> ImageFile.ImageFile:
        """The image, its pixels not read yet.

        As `PIL.Image.open`, less its limit on pixels, which counts those that a JPEG's reduction
        leaves out. Which decoders there are is `file_kinds.load`'s.

        Raises:
            UnreadError: it is none that is known.
        """
        self.file.seek(0)
        prefix, told = self.file.read(16), ""
        for name in file_kinds.load():
            factory, accept = Image.OPEN[name]
            try:
                answer = not accept or accept(prefix)
                if isinstance(answer, str) or not answer:
                    continue
                self.file.seek(0)
                image = factory(self.file, self.name)
            except (SyntaxError, IndexError, TypeError, struct.error) as error:
                told = told or f"{name}: {first_line(error)}"
                continue
            self.images.append(image)
            return image
        raise UnreadError(told)

    def head(self) -> bytes:
        """The first bytes."""
        self.file.seek(0)
        return self.file.read(file_kinds.HEAD_BYTES)

    def is_dicom(self) -> bool:
        """Does it say that it is DICOM?"""
        return self.head()[128:132] == b"DICM"

    def is_tiff(self) -> bool:
        """Does it begin like a TIFF?"""
        return self.head().startswith(_TIFF)


@dataclass(frozen=True)
class Content:
    """A file's bytes in memory, which is read as one at a path is; `name` is for messages."""

    name: str
    data: bytes

    def open(self, _mode: str) -> BinaryIO:
        """A new reader of the bytes."""
        return io.BytesIO(self.data)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Member:
    """A file of an archive, whose bytes are had when it is opened; `name` is for messages.

    `load` raises `RefusedError` where they cannot be had; `held` bytes are in memory until then.
    """

    name: str
    load: Callable[[], bytes]
    held: int = 0

    def open(self, _mode: str) -> BinaryIO:
        """A new reader of the bytes."""
        return io.BytesIO(self.load())

    def __str__(self) -> str:
        return self.name


File = Path | Content | Member


def read(path: File, work: Callable[[Source], T]) -> T:
    """Do something with an open picture; where that fails, with its pixels alone.

    Args:
        path: The file.
        work: What to do. It is done again, on `mending.mended`, where it fails.

    Raises:
        ImageError: whatever goes wrong; the message names the file.
    """
    try:
        with path.open("rb") as file:
            source = Source(file, str(path))
            try:
                return work(source)
            except RefusedError:
                raise
            except Exception as error:  # decoders raise all sorts of things on damaged files
                done, result = _again(source, work)
                if done:
                    assert result is not None
                    return result
                raise ImageError(str(path), _reason(error, source)) from error
    except ImageError:
        raise
    except RefusedError as error:
        raise ImageError(str(path), str(error)) from error
    except OSError as error:
        raise ImageError(str(path), cause(error)) from error


@contextlib.contextmanager
def bounded(image: Image.Image, pixels: int) -> Iterator[None]:
    """Unpack an image inside, unless that would take too much memory.

    Of those that are too large before they are reduced, one is unpacked at a time.

    Args:
        image: The image, reduced as far as it will be.
        pixels: How many it has before.

    Raises:
        RefusedError: it would take too much.
    """
    left = image.width * image.height
    if left > MOST_PIXELS:
        raise RefusedError(f"too many pixels ({left:,}; at most {MOST_PIXELS:,} are unpacked)")
    if pixels > MOST_PROGRESSIVE and image.info.get("progressive"):
        raise RefusedError(
            f"too many pixels ({pixels:,}; of a progressive JPEG at most {MOST_PROGRESSIVE:,})"
        )
    with _HUGE if pixels > MOST_PIXELS else contextlib.nullcontext():
        yield


def _again(source: Source, work: Callable[[Source], T]) -> tuple[bool, T | None]:
    """Whether the work could be done on the pixels alone, and its result."""
    if not source.head().startswith(mending.MAGICS):
        return False, None
    source.file.seek(0)
    content = mending.mended(source.file.read(mending.MOST_BYTES + 1))
    if content is None:
        return False, None
    again = Source(io.BytesIO(content), source.name)
    try:
        result = work(again)
        if mending.missing(again.images[-1]) > mending.MOST_MISSING:
            return False, None
    except RefusedError:
        raise
    except Exception:  # then the first fault is the true one
        return False, None
    return True, result


def _reason(error: Exception, source: Source) -> str:
    """Why an image cannot be read, in words that do not repeat its name."""
    start = source.head()
    if not start:
        return "it is empty"
    kind = file_kinds.of(start)
    if kind is not None:
        return kind.reason
    if isinstance(error, UnidentifiedImageError):
        told = str(error) if isinstance(error, UnreadError) else ""
        return f"not an image that can be read ({told})" if told else _UNKNOWN
    text = str(error).lower()
    if "truncated" in text or "unexpected end of file" in text:
        return "it is truncated"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error)


_UNKNOWN = "not an image of a known format"
