"""What there is to classify, as it is found: files, folders, patterns, archives, lists."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from finetune.records.errors import DataError, FinetuneError, UsageError, safe_name
from finetune.sources import archives, files
from finetune.sources.archives import Found

LIST = "-"  # stands for the list on stdin
_PART = 1 << 16


@dataclass
class Tally:
    """What was left out on the way: files that are no images, archives that were not named."""

    others: int = 0
    archives: int = 0

    def told(self) -> Iterator[str]:
        """A sentence for each."""
        if self.others:
            yield f"{self.others} file(s) that are not images left out"
        if self.archives:
            yield f"{self.archives} archive(s) below folders left out: name them to have them read"


def count(paths: Sequence[Path]) -> int | None:
    """How many pictures there are, found by a walk that decodes nothing.

    Returns:
        None where that shows only on the way: with a list on stdin, and in a tar archive.

    Raises:
        DataError: a folder without images, or a pattern that fits nothing.
        UsageError: stdin twice.
    """
    total, known = 0, True
    if (lists := sum(str(path) == LIST for path in paths)) > 1:
        raise UsageError(f"- is there {lists} times, and stdin has one list", hint="Give it once.")
    for path in paths:
        if str(path) == LIST or (archives.is_tar(path) and path.is_file()):
            known = False
        else:
            total += sum(1 for _ in _of(path, Tally()))
    return total if known else None


def stream(
    paths: Sequence[Path], listed: BinaryIO | None = None, tally: Tally | None = None
) -> Iterator[Found]:
    """All of it in order, never as a whole in memory.

    A file comes as it was named, there or not; of a folder the images below it in name order; of an
    archive its pictures in its order; a pattern (`'photos/**/*.jpg'`) stands for the files that it
    fits, by name, where no file is called so.

    Args:
        paths: What was given; `-` stands for a list.
        listed: The list: names with a line or a zero byte after each.
        tally: Counts what was left out.

    Raises:
        DataError: as `count`; of what stands in a list the fault comes with its name.
    """
    told = tally or Tally()
    for path in paths:
        if str(path) != LIST:
            yield from _of(path, told)
            continue
        for name in _names(listed) if listed is not None else ():
            try:
                yield from _of(Path(name), told)
            except FinetuneError as fault:
                yield Found(safe_name(name), fault=fault.message)


def _of(path: Path, tally: Tally) -> Iterator[Found]:
    if os.path.isdir(path):  # noqa: PTH112 - `Path.is_dir` raises where it may not look
        yield from _below(path, tally)
    elif archives.is_archive(path) and os.path.isfile(path):  # noqa: PTH113 - as above
        for found in archives.members(path):
            if found.file is None and not found.fault:
                tally.others += 1
            else:
                yield found
    elif glob.has_magic(str(path)) and not os.path.lexists(path):
        yield from _fitting(path, tally)
    else:
        yield Found(safe_name(str(path)), path)


def _below(folder: Path, tally: Tally) -> Iterator[Found]:
    empty = True
    for path, fault in files.walk(folder):
        if fault is not None:
            empty = False
            yield Found(safe_name(str(path)), None if fault else path, safe_name(fault))
        elif archives.is_archive(path):
            tally.archives += 1
        else:
            tally.others += 1
    if empty:
        raise files.no_images(folder)


def _fitting(pattern: Path, tally: Tally) -> Iterator[Found]:
    """What a pattern fits, as a shell would have it; with `**` the files alone."""
    text = str(pattern)
    # `Path.glob` takes no absolute patterns
    fit = sorted(Path(found) for found in glob.iglob(text, recursive=True))  # noqa: PTH207
    if "**" in pattern.parts:
        fit = [path for path in fit if not path.is_dir()]
    if not fit:
        raise DataError(
            f"nothing is called like the pattern {pattern}",
            hint="In it * stands for any part of a name, ** for any folders; put it in quotes.",
        )
    for path in fit:
        yield from _of(path, tally)


def _names(listed: BinaryIO) -> Iterator[str]:
    """The names of a list; a zero byte in its first part says that such stand after each."""
    read = getattr(listed, "read1", listed.read)  # what is there, not what fills the part
    rest = read(_PART)
    mark = b"\0" if b"\0" in rest else b"\n"
    while True:
        *whole, rest = rest.split(mark)
        for name in whole:
            if text := _text(name, mark):
                yield text
        more = read(_PART)
        if not more:
            break
        rest += more
    if text := _text(rest, mark):
        yield text


def _text(name: bytes, mark: bytes) -> str:
    return os.fsdecode(name.removesuffix(b"\r") if mark == b"\n" else name)
