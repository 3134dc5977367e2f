"""Files and folders of images, listed and named by content; and the kinds of findings about them.

Nothing is decoded here and nothing is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from finetune import disk, kinds
from finetune.errors import DataError, ImageError, safe_name
from finetune.records import Finding, Sample, Severity

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
    return path.suffix.lower() in kinds.suffixes()


def _list_below(folder: Path, found: Listed) -> None:
    before, notes = len(found.files), defaultdict[str, list[str]](list)
    files = list(descend(folder, notes, folder))
    closed = {folder / name for name in notes["closed"]}
    for path in sorted([*files, *closed]):
        if path in closed:
            found.faults[len(found.files)] = (
                f"cannot list folder {path}: give yourself the right to read it"
            )
        elif why := kinds.foreign(path):
            found.faults[len(found.files)] = ImageError(str(path), why).message
        elif not named_as_image(path) and not kinds.is_picture(kinds.head(path)):
            found.others += 1
            continue
        # a link to nothing is an image that cannot be read, which the answer tells
        elif os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 - as above
            found.faults[len(found.files)] = ImageError(str(path), "it is no file").message
        found.files.append(path)
    if len(found.files) == before:
        raise DataError(f"no images below {folder}", hint="Give an image or its folder.")


def fingerprint(samples: Sequence[Sample]) -> str:
    """SHA-256 over the sorted labels and content hashes: the same images, the same value."""
    lines = sorted(f"{s.label} {s.digest}" for s in samples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return disk.digest_file(path)
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}", hint="Check that you may read the file."
        ) from error


@contextlib.contextmanager
def readable(root: Path) -> Iterator[None]:
    """A folder that may not be listed is a fault to mend, named."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot read {error.filename or root}: {error.strerror or error}",
            hint="Check that you may list the folder and read its files.",
        ) from error


def descend(
    folder: Path, notes: dict[str, list[str]] | None = None, root: Path | None = None
) -> Iterator[Path]:
    """Files below a folder; links to folders are followed once, so a loop ends."""
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


def is_hidden(name: str) -> bool:
    """Whether systems and tools put it there, and no person."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def children_of(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, by name; none where it may not be listed."""

    def is_folder(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError:  # a link that leads to itself
            return False

    try:
        with os.scandir(folder) as entries:  # asks the system about links only, not every file
            found = [e.name for e in entries if not is_hidden(e.name) and is_folder(e)]
    except PermissionError:
        return []
    return [folder / name for name in sorted(found)]


def pictures_in(folder: Path) -> Iterable[Path]:
    """The pictures right in a folder; none where it may not be listed."""
    suffixes = kinds.suffixes() | kinds.FOREIGN_SUFFIXES
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


@dataclass(frozen=True)
class Kind:
    """A kind of finding: a stable code, how bad it is, what it is called and what to do."""

    code: str
    severity: Severity
    title: str
    hint: str

    def finding(self, text: str, paths: Sequence[str]) -> Finding:
        """One such finding: what was found, and where."""
        return Finding(self.code, self.severity, text, self.hint, tuple(paths))


# What the walk over the folders tells, in `scan`; keys are those of its notes.
LISTED: dict[str, Kind] = {
    "bare": Kind(
        "FT101",
        "warning",
        "ready-made split(s) without images: nothing is measured there",
        "Add images, or remove the folder to have the split made.",
    ),
    "beside": Kind(
        "FT102",
        "warning",
        "folder(s) beside train/ are not used",
        "Move them into train/ if they are classes.",
    ),
    "hidden": Kind("FT103", "note", "hidden or system file(s) left out", "Nothing to do."),
    "other": Kind("FT104", "note", "file(s) that are not images left out", "Nothing to do."),
    "loose": Kind(
        "FT105",
        "warning",
        "image(s) outside any class folder left out",
        "Move them into a class folder if they should count.",
    ),
    "nested": Kind(
        "FT106",
        "note",
        "image(s) in folders below a class folder; they belong to the first-level class",
        "Move deeper folders up if they are classes of their own.",
    ),
    "empty": Kind(
        "FT107",
        "warning",
        "class folder(s) without images left out",
        "Add images or remove the folder.",
    ),
    "encoding": Kind(
        "FT108", "warning", "file(s) whose name is not valid UTF-8 left out", "Rename them."
    ),
    "special": Kind(
        "FT109",
        "warning",
        "link(s) to nothing, pipes or devices left out",
        "Remove them, or mend the links.",
    ),
    "foreign": Kind(
        "FT117",
        "warning",
        "picture(s) of a kind that is not read here left out",
        "Convert them to JPEG or PNG.",
    ),
    "masks": Kind(
        "FT153",
        "note",
        "mask(s) left out: they lie beside the pictures and are no examples of a class",
        "Nothing to do.",
    ),
    "unnamed": Kind(
        "FT154",
        "warning",
        "file(s) in whose names --label-from finds no label left out",
        "Rename them, or widen the expression.",
    ),
    "closed": Kind(
        "FT118",
        "warning",
        "file(s) or folder(s) that may not be read left out",
        "Give yourself the right to read them.",
    ),
}
# What was made of the folders; the text is put together in `scan`.
LAYOUT = Kind(
    "FT150",
    "note",
    "a layout other than one folder per class",
    "Nothing to do; if it is meant otherwise, give the folder that holds one folder per class.",
)
SPLIT_CLASS = Kind(
    "FT151",
    "note",
    "a class called like a split",
    "Nothing to do if it is a class; if not, take it out.",
)
SPLIT_CLASSES = Kind(
    "FT152",
    "warning",
    "classes that are perhaps splits",
    "If they are splits, move them out, or give them class folders: train/cat, test/cat.",
)
DEEPER = Kind(
    "FT156",
    "warning",
    "classes perhaps one level down",
    "If the deeper folders are the classes, give a folder that holds them side by side.",
)
LAYOUTS = (LAYOUT, SPLIT_CLASS, SPLIT_CLASSES, DEEPER)
COPIES = Kind(
    "FT110",
    "note",
    "exact copies",
    "Remove them if they were not meant to count twice. Splits made here keep copies together.",
)
CROSSED = Kind(
    "FT111", "warning", "image(s) lie under two labels", "Keep each of them in one class only."
)
LEAKED = Kind(
    "FT112",
    "warning",
    "test image(s) are exact copies of images trained on",
    "Remove them from test/ or val/: the accuracy measured there is too good by as much.",
)
# the same in `evaluate`, whose images need not lie in a test/
SEEN = replace(
    LEAKED,
    title="image(s) are exact copies of images trained on",
    hint="Leave them out with --unseen: the accuracy is too good by as much.",
)
SCALED = Kind(
    "FT127",
    "note",
    "a scale for pictures of more than 8 bits",
    "Nothing to do: the run keeps it, and every picture is scaled by it from now on.",
)
UNREADABLE = Kind(
    "FT120",
    "warning",
    "image(s) cannot be read and were left out",
    "Repair or remove them; --on-bad-image error stops instead.",
)


def copies(samples: Sequence[Sample]) -> tuple[Finding, ...]:
    """Findings about exact copies: within a class, and under two labels (which teaches noise)."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.digest].append(sample)
    twins = [g for g in groups.values() if len(g) > 1]
    crossed = [g for g in twins if len({s.label for s in g}) > 1]
    found = []
    if twins:
        text = f"{sum(len(g) - 1 for g in twins)} {COPIES.title}"
        found.append(COPIES.finding(text, [s.path for g in twins for s in g]))
    if crossed:
        text = f"{len(crossed)} {CROSSED.title}"
        found.append(CROSSED.finding(text, [s.path for g in crossed for s in g]))
    return tuple(found)


def unreadable(samples: Sequence[Sample], messages: Sequence[str]) -> tuple[Finding, ...]:
    """A finding that names images which could not be decoded; none where there are none."""
    if not samples:
        return ()
    text = f"{len(samples)} {UNREADABLE.title}: {messages[0]}"
    return (UNREADABLE.finding(text, [s.path for s in samples]),)


def leaks(
    fitting: Sequence[Sample], test: Sequence[Sample], kind: Kind = LEAKED
) -> tuple[Finding, ...]:
    """A finding when exact copies of fitted images stand among those that are measured."""
    known = {s.digest for s in fitting}
    leaked = [s.path for s in test if s.digest in known]
    return (kind.finding(f"{len(leaked)} {kind.title}", leaked),) if leaked else ()
