"""Folder → checked list of labelled files → disjoint splits.

Nothing is decoded here and nothing is written. A split is decided by a hash of each file's bytes
and the seed, so exact copies always fall on the same side and adding files moves no other.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from finetune import disk, kinds
from finetune.errors import DataError, ImageError, UsageError, safe_name
from finetune.records import MOST_CLASSES, Dataset, Finding, Sample, Severity, Splits

VALIDATION_NAMES = ("val", "valid", "validation")
ALIASES = {"training": "train", "testing": "test"}  # popular sets come with folders so called
SYSTEM_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass
class _Listing:
    """What one walk over a folder of class folders saw, paths relative to the data root."""

    classes: list[str] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)  # (class, path)
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def scan(root: Path) -> Dataset:
    """List the labelled images under `root`: one folder per class, or ready-made splits.

    Class = first-level folder (below `train/`, `val/`, `test/` where these exist). Images of a
    ready-made `test/` are listed by name only; their bytes are not read.

    Raises:
        DataError: no folder, fewer than two classes with images or more than `MOST_CLASSES`, or
            classes that do not agree between ready-made splits.
    """
    _require_folder(root)
    with _readable(root):
        folders = _split_folders(root)
        if "train" in folders and any(_is_class_folder(p) for p in folders["train"].iterdir()):
            return _scan_ready(root, folders)
        listing = _walk(root, root)
        return Dataset(
            root=safe_name(str(root)),
            classes=_checked_classes(listing, root),
            layout="plain",
            pool=_samples(root, listing, read=True),
            val=None,
            test=None,
            findings=_findings(listing),
        )


def _split_folders(root: Path) -> dict[str, Path]:
    """Folders of the first level by lower-case name: splits are recognised in any case.

    `training` stands for `train` where there is no `train`, `testing` for `test`.
    """
    folders = sorted(p for p in root.iterdir() if p.is_dir())
    taken = {path.name.lower() for path in folders}
    found: dict[str, Path] = {}
    for path in folders:
        name = path.name.lower()
        alias = ALIASES.get(name, name)
        name = name if alias in taken else alias
        if name in found and name in {"train", "test", *VALIDATION_NAMES}:
            raise DataError(
                f"{root} has both {found[name].name}/ and {path.name}/",
                hint="Put their images into one of them.",
            )
        found[name] = path
    return found


def _scan_ready(root: Path, folders: dict[str, Path]) -> Dataset:
    train = _walk(root, folders["train"])
    classes = _checked_classes(train, folders["train"])
    pool = _samples(root, train, read=True)
    names = [n for n in VALIDATION_NAMES if n in folders]
    if len(names) > 1:
        raise DataError(
            f"{root} has more than one validation folder: {', '.join(names)}",
            hint=f"Keep one of them; {VALIDATION_NAMES[0]}/ is the usual name.",
        )
    parts: dict[str, tuple[Sample, ...] | None] = {"val": None, "test": None}
    for part, folder in (("val", names[0] if names else ""), ("test", "test")):
        if folder not in folders:
            continue
        listing = _walk(root, folders[folder])
        unknown = sorted({c for c, _ in listing.files} - set(classes))
        if unknown:
            raise DataError(
                f"{folders[folder]} has classes that {folders['train'].name}/ lacks: "
                f"{', '.join(unknown[:5])}",
                hint=f"Give {folders['train'].name}/ a folder with images for each of them, or "
                "take them out.",
            )
        if not listing.files:
            train.notes["bare"].append(safe_name(folders[folder].name))
        listing.classes = list(classes)
        parts[part] = _samples(root, listing, read=part != "test")
        for title, paths in listing.notes.items():
            train.notes[title] += paths
    train.notes["beside"] = sorted(
        safe_name(path.name)
        for name, path in folders.items()
        if name not in {"train", "test", *names} and not _is_hidden(path.name)
    )
    return Dataset(
        root=safe_name(str(root)),
        classes=classes,
        layout="ready",
        pool=pool,
        val=parts["val"],
        test=parts["test"],
        findings=_findings(train),
    )


def scan_labelled(root: Path, classes: Sequence[str]) -> Dataset:
    """The labelled images of `root/test` where there is one, else of `root`, for known classes.

    Raises:
        DataError: no folder, no images, none that may be read, a class folder that is not among
            `classes`, or ready-made splits without a test.
    """
    _require_folder(root)
    with _readable(root):
        return _scan_labelled(root, classes)


def _scan_labelled(root: Path, classes: Sequence[str]) -> Dataset:
    top = _measured_folder(root, classes)
    listing = _walk(root, top)
    unknown = sorted(set(listing.classes) - set(classes))
    if unknown or not listing.files:
        found = f"has unknown classes: {', '.join(unknown[:5])}" if unknown else "has no images"
        raise DataError(
            f"{top} {found}",
            hint=f"The run knows {len(classes)} classes: {', '.join(classes[:8])}"
            + (" …" if len(classes) > 8 else "."),
        )
    listing.classes = list(classes)
    pool = _samples(root, listing, read=True)
    if not pool:
        raise DataError(
            f"none of the {len(listing.files)} images in {top} may be read, such as "
            f"{listing.files[0][1]}",
            hint="Give yourself the right to read them.",
        )
    return Dataset(
        safe_name(str(root)), tuple(classes), "plain", pool, None, None, _findings(listing)
    )


def _measured_folder(root: Path, classes: Sequence[str]) -> Path:
    """The test of ready-made splits, else the folder itself; a class may be called as a split is.

    Raises:
        DataError: there are ready-made splits, but no test: which of them is meant is not clear.
    """
    splits = {
        name: path
        for name, path in _split_folders(root).items()
        if path.name not in classes and _is_class_folder(path)
    }
    if "test" in splits:
        return splits["test"]
    there = [splits[name] for name in (*VALIDATION_NAMES, "train") if name in splits]
    if not there:
        return root
    raise DataError(
        f"{root} has {' and '.join(f'{path.name}/' for path in there)}, but no test/",
        hint=f"Give the folder to measure on: finetune evaluate {shlex.quote(str(there[0]))}",
    )


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


def _named_as_image(path: Path) -> bool:
    return path.suffix.lower() in kinds.suffixes()


def _list_below(folder: Path, found: Listed) -> None:
    before, notes = len(found.files), defaultdict[str, list[str]](list)
    files = list(_descend(folder, notes, folder))
    closed = {folder / name for name in notes["closed"]}
    for path in sorted([*files, *closed]):
        if path in closed:
            found.faults[len(found.files)] = (
                f"cannot list folder {path}: give yourself the right to read it"
            )
        elif why := kinds.foreign(path):
            found.faults[len(found.files)] = ImageError(str(path), why).message
        elif not _named_as_image(path) and not kinds.is_picture(kinds.head(path)):
            found.others += 1
            continue
        # a link to nothing is an image that cannot be read, which the answer tells
        elif os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 - as above
            found.faults[len(found.files)] = ImageError(str(path), "it is no file").message
        found.files.append(path)
    if len(found.files) == before:
        raise DataError(f"no images below {folder}", hint="Give an image or its folder.")


def split(
    dataset: Dataset,
    *,
    seed: int,
    val_fraction: float,
    test_fraction: float,
    max_per_class: int | None = None,
) -> Splits:
    """Divide a data set into train, validation and test.

    Each image gets a number in [0, 1) from the hash of its unit (its bytes, or its group's name)
    and the seed; within each class those below the fraction go to the split. So the shares are met
    on average rather than to the image, which is the price for a split that never moves when files
    are added. Where a class would miss a split, its smallest (or largest) numbers are moved, so
    that every class with at least three different images has one in each. Ready-made splits are
    kept; what is in a ready-made validation split, or copied there, is no image to test on.

    Args:
        dataset: What `scan` returned.
        seed: Another seed is another split.
        val_fraction: Share of the images that are not test, in [0, 0.9].
        test_fraction: Share of all images, in [0, 0.9].
        max_per_class: Cap on the images per class that are not test; validation comes out of them.

    Raises:
        UsageError: a fraction out of range.
    """
    for name, value in (("--val-fraction", val_fraction), ("--test-fraction", test_fraction)):
        if not 0.0 <= value <= 0.9:
            raise UsageError(f"{name} is {value}", hint="Give a share between 0 and 0.9.")
    rest, test = dataset.pool, dataset.test
    if test is None:
        known = {s.unit for s in dataset.val or ()}
        rest, test = _cut(rest, test_fraction, f"test:{seed}", leave=2, stay=known)
    if max_per_class is not None:
        rest = _cap(rest, max_per_class, f"cap:{seed}")
    val = dataset.val
    if val is None:
        rest, val = _cut(rest, val_fraction, f"val:{seed}", leave=1)
    return Splits(train=rest, val=val, test=test)


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


def _require_folder(root: Path) -> None:
    with _readable(root):
        there = root.is_dir()
    if not there:
        raise DataError(
            f"no folder at {root}", hint="Give the folder that holds one folder per class."
        )


@contextlib.contextmanager
def _readable(root: Path) -> Iterator[None]:
    """A folder that may not be listed is a fault to mend, named."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot read {error.filename or root}: {error.strerror or error}",
            hint="Check that you may list the folder and read its files.",
        ) from error


def _walk(root: Path, top: Path) -> _Listing:
    listing = _Listing()
    for entry in sorted(top.iterdir()):
        name = safe_name(entry.relative_to(root).as_posix())
        if _is_hidden(entry.name):
            listing.notes["hidden"].append(name)
        elif entry.is_dir():
            _walk_class(root, entry, listing)
        elif not entry.is_file():  # a pipe would be waited for
            listing.notes["special"].append(name)
        elif _named_as_image(entry):
            listing.notes["loose"].append(name)
        else:
            listing.notes["other"].append(name)
    return listing


def _walk_class(root: Path, folder: Path, listing: _Listing) -> None:
    before = len(listing.files)
    for path in sorted(_descend(folder, listing.notes, root)):
        name = path.relative_to(root).as_posix()
        if name != safe_name(name):
            listing.notes["encoding"].append(safe_name(name))
        elif not path.is_file():
            listing.notes["special"].append(name)
        elif kinds.is_foreign(path):
            listing.notes["foreign"].append(name)
        elif not _named_as_image(path):
            listing.notes["other"].append(name)
        else:
            listing.files.append((folder.name, name))
            if path.parent != folder:
                listing.notes["nested"].append(name)
    if len(listing.files) == before:
        listing.notes["empty"].append(safe_name(folder.relative_to(root).as_posix()))
    else:
        listing.classes.append(folder.name)


def _descend(
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
            if _is_hidden(name) and notes is not None and root is not None:
                notes["hidden"].append(safe_name((Path(top) / name).relative_to(root).as_posix()))
        folders[:] = sorted(f for f in folders if not _is_hidden(f))
        yield from (Path(top) / f for f in files if not _is_hidden(f))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def _is_class_folder(path: Path) -> bool:
    return path.is_dir() and not _is_hidden(path.name)


def _checked_classes(listing: _Listing, folder: Path) -> tuple[str, ...]:
    if len(listing.classes) > MOST_CLASSES:
        raise DataError(
            f"{folder} has {len(listing.classes)} class folders, more than {MOST_CLASSES}",
            hint="Give the folder that holds one folder per class, or train on fewer classes.",
        )
    if len(listing.classes) >= 2:
        return tuple(listing.classes)
    found = f"only '{listing.classes[0]}'" if listing.classes else "none"
    loose, closed = len(listing.notes["loose"]), listing.notes["closed"]
    if closed:
        raise DataError(
            f"{folder} needs at least two class folders with images; found {found}, and "
            f"{', '.join(closed[:5])} may not be read",
            hint="Give yourself the right to read the class folders.",
        )
    if unread := _unread(listing, folder):
        raise DataError(
            f"{folder} needs at least two class folders with images; found {found}, and {unread}",
            hint="Mend that, and put the images of each class into a folder named after it: "
            f"{folder}/cat/1.jpg, {folder}/dog/2.jpg.",
        )
    raise DataError(
        f"{folder} needs at least two class folders with images; found {found}"
        + (f" and {loose} images outside any class folder" if loose else ""),
        hint="Put the images of each class into a folder named after it: "
        f"{folder}/cat/1.jpg, {folder}/dog/2.jpg.",
    )


def _unread(listing: _Listing, folder: Path) -> str:
    """How many files of class folders are of a kind that is not read, and what the commonest is."""
    names = [*listing.notes["foreign"], *listing.notes["other"]]
    root = folder if not names or (folder / names[0]).exists() else folder.parent
    reasons = Counter(why for name in names[:100] if (why := _kind_of(root / name)))
    if not reasons:
        return ""
    why = reasons.most_common(1)[0][0]
    return f"{len(names)} file(s) that are not read, such as {names[0]}: {why}"


def _kind_of(path: Path) -> str:
    if why := kinds.foreign(path):
        return why
    kind = kinds.of(kinds.head(path))
    return "" if kind is None or not kind.advice else kind.reason


def _samples(root: Path, listing: _Listing, *, read: bool) -> tuple[Sample, ...]:
    """The listed files with their labels and, where they are read, digests."""
    index = {name: i for i, name in enumerate(listing.classes)}
    found = []
    for label, name in listing.files:
        try:
            digest = digest_file(root / name) if read else ""
        except DataError:
            listing.notes["closed"].append(name)
            continue
        found.append(Sample(name, index[label], digest))
    return tuple(found)


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


# What the walk over the folders tells; keys are those of `_Listing.notes`.
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
    "closed": Kind(
        "FT118",
        "warning",
        "file(s) or folder(s) that may not be read left out",
        "Give yourself the right to read them.",
    ),
}
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
    "FT126",
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


def _findings(listing: _Listing) -> tuple[Finding, ...]:
    return tuple(
        kind.finding(f"{len(paths)} {kind.title}", paths)
        for key, kind in LISTED.items()
        if (paths := listing.notes.get(key))
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


def _number(unit: str, salt: str) -> float:
    """A uniform number in [0, 1) from a content hash or the name of a group, and a salt."""
    value = hashlib.sha256(f"{salt}:{unit}".encode()).digest()[:8]
    return int.from_bytes(value, "big") / 2**64


def _by_class(samples: Sequence[Sample]) -> dict[int, list[Sample]]:
    groups: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.label].append(sample)
    return groups


def _cut(
    samples: tuple[Sample, ...],
    fraction: float,
    salt: str,
    *,
    leave: int,
    stay: Set[str] = frozenset(),
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split off a fraction per class; returns (kept, cut off).

    A class keeps `leave` units and gives at least one, where it has more than `leave`. The units of
    `stay` are kept and not counted.
    """
    if fraction == 0:
        return samples, ()
    free = [s for s in samples if s.unit not in stay]
    numbers = {s.unit: _number(s.unit, salt) for s in free}
    classes = [
        sorted({s.unit for s in group}, key=lambda unit: numbers[unit])
        for group in _by_class(free).values()
    ]
    chosen = {unit for unit, number in numbers.items() if number < fraction}

    def room(unit: str) -> bool:
        """Would every class that has this unit keep enough without it?"""
        return all(len(set(c) - chosen - {unit}) >= leave for c in classes if unit in c)

    for ranked in classes:
        short = max(0, min(leave, len(ranked)) - len(set(ranked) - chosen))
        chosen -= set([d for d in reversed(ranked) if d in chosen][:short])
    for ranked in classes:
        if chosen.isdisjoint(ranked):
            chosen.update([d for d in ranked if room(d)][:1])
    kept = tuple(s for s in samples if s.unit not in chosen)
    return kept, tuple(s for s in samples if s.unit in chosen)


def _cap(samples: tuple[Sample, ...], limit: int, salt: str) -> tuple[Sample, ...]:
    """Keep the `limit` images per class whose numbers are smallest."""
    if limit < 2:
        raise UsageError(f"--max-per-class is {limit}", hint="Give at least 2.")
    kept: set[str] = set()
    for group in _by_class(samples).values():
        ranked = sorted(group, key=lambda s: (_number(s.digest, salt), s.path))
        kept.update(s.path for s in ranked[:limit])
    return tuple(s for s in samples if s.path in kept)
