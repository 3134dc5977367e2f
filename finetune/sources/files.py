"""Files and folders of images, listed and named by content; and the kinds of findings about them.

Nothing is decoded here and nothing is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finetune.pictures import file_kinds
from finetune.records.dataset import Sample
from finetune.records.errors import DataError, ImageError, cause, refusals, safe_name
from finetune.sources.containers import ContainedPath
from finetune.storage import atomic_files

SYSTEM_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_DEEP = 8  # folders in folders that are looked into for a first picture


@dataclass
class Listed:
    """What there is to classify: all files in order, and why some of them are not read."""

    files: list[Path] = field(default_factory=list)
    faults: dict[int, str] = field(default_factory=dict)  # by place in `files`
    others: int = 0  # files below folders that are no images


def list_images(paths: Sequence[Path]) -> Listed:
    """Files as given, there or not, and the images below folders, in name order.

    A file is an image by its name or by its first bytes. A picture of a kind that is not read, a
    pipe (it would be waited for) and a folder that cannot be listed stand among them with their
    fault: their absence would look like an answer.

    Raises:
        DataError: a folder with nothing of all this.
    """
    found = Listed()
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - `Path.is_dir` raises where it may not look
            _list_below(path, found)
        else:
            found.files.append(path)
    return found


def named_as_image(path: Path) -> bool:
    """Whether its name says that a file is an image that is read here."""
    return path.suffix.lower() in file_kinds.suffixes()


def _list_below(folder: Path, found: Listed) -> None:
    before = len(found.files)
    for path, fault in walk(folder):
        if fault is None:
            found.others += 1
            continue
        if fault:
            found.faults[len(found.files)] = fault
        found.files.append(path)
    if len(found.files) == before:
        raise no_images(folder)


def no_images(folder: Path) -> DataError:
    """What to tell of a folder without any."""
    return DataError(f"no images below {folder}", hint="Give an image or its folder.")


def walk(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Files below a folder as they are found, in name order, without a list of them all.

    With each comes why it is not read: nothing for an image, the fault as in `list_images`, or None
    for a file that is no image. Links to folders are followed once, so a loop ends.
    """
    yield from _walk(folder, set())


def _walk(folder: Path, seen: set[str]) -> Iterator[tuple[Path, str | None]]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        with os.scandir(folder) as entries:
            names = sorted((e.name, _is_folder(e)) for e in entries if not is_hidden(e.name))
    except OSError:
        yield folder, f"cannot list folder {folder}: change its permissions so that you may read it"
        return
    for name, inside in names:
        if inside:
            yield from _walk(folder / name, seen)
        else:
            yield folder / name, _unread(folder / name)


def _unread(path: Path) -> str | None:
    """Why a file below a folder is not read, as `walk` has it."""
    if why := file_kinds.foreign(path):
        return ImageError(str(path), why).message
    if not named_as_image(path) and not file_kinds.is_picture(file_kinds.head(path)):
        return None
    # a link to nothing is an image that cannot be read, which the answer tells
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 - as above
        return ImageError(str(path), "it is no file").message
    return ""


def fingerprint(samples: Sequence[Sample]) -> str:
    """SHA-256 over sorted labels, content hashes and weights: the same images, the same value."""
    lines = sorted(
        f"{s.label} {s.digest}" + ("" if s.weight == 1 else f" {s.weight!r}") for s in samples
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        DataError: the file cannot be read.
    """
    with refusals(
        lambda error: DataError(
            f"cannot read {path}: {cause(error)}", hint="Check that you may read the file."
        )
    ):
        return atomic_files.digest_file(path)


def readable(root: Path) -> contextlib.AbstractContextManager[None]:
    """A folder that may not be listed is a fault to mend, named."""
    return refusals(
        lambda error: DataError(
            f"cannot read {error.filename or root}: {cause(error)}",
            hint="Check that you may list the folder and read its files.",
        )
    )


def lies_in_data(path: Path, root: str | Path) -> bool:
    """Whether a path lies in a data folder, or where a link in it leads that stands for a class.

    Beside a list of pictures, or an archive, there is room for other things.
    """
    folders = [os.path.realpath(root)]
    with contextlib.suppress(OSError), os.scandir(root) as entries:  # the scan will tell
        folders += [os.path.realpath(e.path) for e in entries if e.is_symlink() and e.is_dir()]
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(folder) for folder in folders)


def descend(
    folder: Path, notes: dict[str, list[str]] | None = None, root: Path | None = None
) -> Iterator[Path]:
    """Files below a folder; links to folders are followed once, so a loop ends."""
    if isinstance(folder, ContainedPath):
        yield from _below(folder, notes, root)
        return
    seen: set[str] = set()

    def closed(error: OSError) -> None:
        """A folder that may not be listed: its images are missed, which must be told."""
        if notes is not None and root is not None:
            notes["closed"].append(safe_name(Path(error.filename).relative_to(root).as_posix()))

    for top, folders, files in os.walk(folder, onerror=closed, followlinks=True):
        real = os.path.realpath(top)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in [*folders, *files]:
            if is_hidden(name) and notes is not None and root is not None:
                notes["hidden"].append(safe_name((Path(top) / name).relative_to(root).as_posix()))
        folders[:] = sorted(f for f in folders if not is_hidden(f))
        yield from (Path(top) / f for f in files if not is_hidden(f))


def _below(folder: Path, notes: dict[str, list[str]] | None, root: Path | None) -> Iterator[Path]:
    """The same in a container, where folders are known and none is a link."""
    for path in sorted(folder.iterdir()):
        if is_hidden(path.name):
            if notes is not None and root is not None:
                notes["hidden"].append(safe_name(path.relative_to(root).as_posix()))
        elif path.is_dir():
            yield from _below(path, notes, root)
        else:
            yield path


def is_hidden(name: str) -> bool:
    """Whether systems and tools put it there, and no person."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def children_of(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, by name; none where it may not be listed."""
    if isinstance(folder, ContainedPath):
        return sorted(p for p in folder.iterdir() if p.is_dir() and not is_hidden(p.name))
    try:
        with os.scandir(folder) as entries:  # asks the system about links only, not every file
            found = [e.name for e in entries if not is_hidden(e.name) and _is_folder(e)]
    except PermissionError:
        return []
    return [folder / name for name in sorted(found)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def pictures_in(folder: Path) -> Iterable[Path]:
    """The pictures right in a folder; none where it may not be listed."""
    suffixes = file_kinds.suffixes() | file_kinds.FOREIGN_SUFFIXES
    try:
        for path in folder.iterdir():
            if path.suffix.lower() in suffixes and not is_hidden(path.name) and path.is_file():
                yield path
    except PermissionError:
        return


def holds(folder: Path) -> bool:
    """Whether pictures lie right in a folder."""
    return next(iter(pictures_in(folder)), None) is not None


def filled(folder: Path, depth: int = _DEEP) -> bool:
    """Whether there are pictures anywhere below a folder, or may be: not all can be listed."""
    try:
        next(folder.iterdir(), None)
    except PermissionError:
        return True
    return holds(folder) or (depth > 0 and any(filled(c, depth - 1) for c in children_of(folder)))
