"""Folder → checked list of labelled images, with ready-made splits where there are any."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finetune.pictures import file_kinds
from finetune.records.choices import MOST_CLASSES
from finetune.records.dataset import Dataset, Finding, Sample
from finetune.records.errors import DataError, safe_name
from finetune.sources import findings, layout, names, unclear_layouts, wrong_paths
from finetune.sources.files import descend, digest_file, is_hidden, named_as_image, readable
from finetune.sources.findings import DEEPER, LISTED
from finetune.sources.layout import Branch, Layout
from finetune.sources.names import Role


@dataclass
class _Listing:
    """What walks over class folders saw, paths relative to the data root."""

    root: Path
    pattern: re.Pattern[str] | None = None
    classes: list[str] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)  # (class, path)
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def note(self, title: str, path: Path) -> None:
        """Something that is left out, or odd."""
        self.notes[title].append(safe_name(path.relative_to(self.root).as_posix()))


def scan(root: Path, label_from: re.Pattern[str] | None = None) -> Dataset:
    """List the labelled images under `root`: one folder per class, or ready-made splits.

    Class = first-level folder, below the folders of splits where these exist (`layout.recognize`).
    Images of a ready-made test are listed by name only; their bytes are not read.

    Args:
        root: The folder.
        label_from: Finds the label in the name of each file, whatever folder it is in.

    Raises:
        DataError: no folder of images, a layout that is not clear, fewer than two classes with
            images or more than `MOST_CLASSES`, or classes that do not agree between ready-made
            splits.
    """
    wrong_paths.require_folder(root)
    with readable(root):
        found = layout.recognize(root, label_from)
        train = _walked(root, found.branches["train"], label_from)
        above = _Listing(root)
        for top in found.tops:
            _note_files(top, above)
        above.notes.pop("hidden", None)  # not worth a word so far from the images
        _add_notes(train, above)
        classes = _checked_classes(train, root, found.branches["train"][0].folder)
        pool = _samples(root, train, read=True)
        val, test = (_part(train, found, role) for role in ("val", "test"))
        train.notes["beside"] += [
            safe_name(p.relative_to(root).as_posix())
            for p in found.beside
            if found.ready and not is_hidden(p.name)
        ]
        return Dataset(
            root=safe_name(str(root)),
            classes=classes,
            layout="ready" if found.ready else "plain",
            pool=pool,
            val=val,
            test=test,
            findings=_findings(train, found),
        )


def _part(train: _Listing, found: Layout, role: Role) -> tuple[Sample, ...] | None:
    """The images of a ready-made validation or test split; None where there is none."""
    branches = found.branches.get(role)
    if branches is None:
        return None
    top = branches[0].folder
    listing = _walked(train.root, branches, train.pattern)
    unknown = sorted({c for c, _ in listing.files} - set(train.classes))
    if unknown:
        before = found.branches["train"][0].folder.name
        raise DataError(
            f"{top} has classes that {before}/ lacks: {', '.join(unknown[:5])}"
            + _meant(unknown, train.classes),
            hint=f"Give {before}/ a folder with images for each of them, or take them out.",
        )
    if not listing.files:
        train.note("bare", top)
    listing.classes = list(train.classes)
    samples = _samples(train.root, listing, read=role != "test")
    _add_notes(train, listing)
    return samples


def _meant(unknown: Sequence[str], classes: Sequence[str]) -> str:
    """Whether a class is there under nearly the same name."""
    known = {names.folded(c): c for c in classes}
    pairs = [
        f"'{u}' is perhaps '{known[key]}'" for u in unknown if (key := names.folded(u)) in known
    ]
    return f" ({', '.join(pairs[:3])})" if pairs else ""


def scan_labelled(
    root: Path, classes: Sequence[str], label_from: re.Pattern[str] | None = None
) -> Dataset:
    """The labelled images of the test of `root` where there is one, else of all, for known classes.

    Raises:
        DataError: no folder, no images, none that may be read, a class folder that is not among
            `classes`, or ready-made splits without a test.
    """
    wrong_paths.require_folder(root)
    with readable(root):
        found = layout.measured(root, classes, named=label_from is not None)
        listing = _walked(root, found.branches["train"], label_from)
        top = found.branches["train"][0].folder
        top = top.parent if found.branches["train"][0].label is not None else top
        _require_known(top, listing, classes)
        listing.classes = list(classes)
        pool = _samples(root, listing, read=True)
    if not pool:
        raise DataError(
            f"none of the {len(listing.files)} images in {top} may be read, such as "
            f"{listing.files[0][1]}",
            hint="Change the permissions so that you may read them.",
        )
    return Dataset(
        *(safe_name(str(root)), tuple(classes), "plain", pool, None, None),
        _findings(listing, found),
    )


def _require_known(top: Path, listing: _Listing, classes: Sequence[str]) -> None:
    unknown = sorted(set(listing.classes) - set(classes))
    if not unknown and listing.files:
        return
    loose = len(listing.notes["loose"])
    if unknown:
        found = f"has unknown classes: {', '.join(unknown[:5])}{_meant(unknown, classes)}"
    else:
        found = f"has {loose} images outside any class folder" if loose else "has no images"
        found += _unnamed(listing)
    more = " …" if len(classes) > 8 else "."
    way = "" if unknown else "Give a folder with one folder of images per class. "
    raise DataError(
        f"{top} {found}",
        hint=(unclear_layouts.label_hint([top]) if loose and not listing.files else "")
        or f"{way}The run knows {len(classes)} classes: {', '.join(classes[:8])}{more}",
    )


def _unnamed(listing: _Listing) -> str:
    unnamed = listing.notes["unnamed"]
    if listing.pattern is None or not unnamed:
        return ""
    return (
        f" in whose names --label-from '{listing.pattern.pattern}' finds a label, such as "
        f"{unnamed[0]}"
    )


def _walked(
    root: Path, branches: Sequence[Branch], pattern: re.Pattern[str] | None = None
) -> _Listing:
    """What lies below some folders, each of class folders or of one class."""
    listing = _Listing(root, pattern)
    for branch in branches:
        if pattern is not None:
            _walk_named(branch.folder, pattern, listing)
        elif branch.label is not None:
            _walk_class(branch.folder, branch.label, listing)
        else:
            _note_files(branch.folder, listing)
            for entry in sorted(branch.folder.iterdir()):
                if entry.is_dir() and not is_hidden(entry.name):
                    _walk_class(entry, entry.name, listing)
    if pattern is not None:
        listing.classes = sorted({label for label, _ in listing.files})
    return listing


def _note_files(top: Path, listing: _Listing) -> None:
    """The files beside class folders, none of which has a label."""
    for entry in sorted(top.iterdir()):
        if is_hidden(entry.name):
            listing.note("hidden", entry)
        elif entry.is_dir():
            continue
        elif not entry.is_file():  # a pipe would be waited for
            listing.note("special", entry)
        elif named_as_image(entry):
            listing.note("loose", entry)
        else:
            listing.note("other", entry)


def _walk_class(folder: Path, label: str, listing: _Listing) -> None:
    before = len(listing.files)
    for path, stems in _images(folder, listing, layout.masks_below(folder)):
        if names.is_mask_of(path.name, stems):
            listing.note("masks", path)
            continue
        listing.files.append((label, path.relative_to(listing.root).as_posix()))
        if path.parent != folder:
            listing.note("nested", path)
    if len(listing.files) == before:
        listing.note("empty", folder)
    elif label not in listing.classes[-1:]:
        listing.classes.append(label)


def _walk_named(folder: Path, pattern: re.Pattern[str], listing: _Listing) -> None:
    for path, _ in _images(folder, listing, ()):
        label = names.found_in(pattern, path.name)
        if label:
            listing.files.append((label, path.relative_to(listing.root).as_posix()))
        else:
            listing.note("unnamed", path)


def _images(
    folder: Path, listing: _Listing, masks: Sequence[Path]
) -> Iterator[tuple[Path, Collection[str]]]:
    """The images below a folder, each with the stems of all files beside it; others are noted."""
    files = sorted(descend(folder, listing.notes, listing.root))
    stems: dict[Path, set[str]] = defaultdict(set)
    for path in files:
        stems[path.parent].add(path.stem.lower())
    for path in files:
        name = path.relative_to(listing.root).as_posix()
        if name != safe_name(name):
            listing.note("encoding", path)
        elif not path.is_file():
            listing.note("special", path)
        elif file_kinds.is_foreign(path):
            listing.note("foreign", path)
        elif not named_as_image(path):
            listing.note("other", path)
        elif any(path.is_relative_to(mask) for mask in masks):
            listing.note("masks", path)
        else:
            yield path, stems[path.parent]


def _add_notes(listing: _Listing, other: _Listing) -> None:
    for title, paths in other.notes.items():
        known = set(listing.notes[title])
        listing.notes[title] += [p for p in paths if p not in known]


def _checked_classes(listing: _Listing, root: Path, folder: Path) -> tuple[str, ...]:
    if len(listing.classes) > MOST_CLASSES:
        raise DataError(
            f"{folder} has {len(listing.classes)} class folders, more than {MOST_CLASSES}",
            hint="Give the folder that holds one folder per class, or train on fewer classes.",
        )
    if len(listing.classes) >= 2:
        return tuple(listing.classes)
    if listing.pattern is not None:
        raise DataError(
            f"--label-from '{listing.pattern.pattern}' finds "
            + (f"only '{listing.classes[0]}'" if listing.classes else "no label")
            + f" in the names of the images in {folder}"
            + (f", such as {listing.notes['unnamed'][0]}" if listing.notes["unnamed"] else ""),
            hint=unclear_layouts.label_hint([folder])
            or "Try the expression on a few of your file names: its first bracket is the label.",
        )
    found = f"only '{listing.classes[0]}'" if listing.classes else "none"
    loose, closed = len(listing.notes["loose"]), listing.notes["closed"]
    if closed:
        raise DataError(
            f"{folder} needs at least two class folders with images; found {found}, and "
            f"{', '.join(closed[:5])} may not be read",
            hint="Change the permissions so that you may read the class folders.",
        )
    raise DataError(
        f"{folder} needs at least two class folders with images; found {found}"
        + (f" and {loose} images outside any class folder" if loose else "")
        + (_unread(listing) or _left_out(listing)),
        hint=unclear_layouts.label_hint([folder])
        or wrong_paths.inside(root)
        or "Put the images of each class into a folder named after it: "
        f"{folder}/cat/1.jpg, {folder}/dog/2.jpg.",
    )


def _unread(listing: _Listing) -> str:
    """How many files of class folders are of a kind that is not read, and what the commonest is."""
    unread = [*listing.notes["foreign"], *listing.notes["other"]]
    reasons = Counter(why for name in unread[:100] if (why := _kind_of(listing.root / name)))
    if not reasons:
        return ""
    why = reasons.most_common(1)[0][0]
    return f", and {len(unread)} file(s) that are not read, such as {unread[0]}: {why}"


def _kind_of(path: Path) -> str:
    if why := file_kinds.foreign(path):
        return why
    kind = file_kinds.of(file_kinds.head(path))
    return "" if kind is None or not kind.advice else kind.reason


def _left_out(listing: _Listing) -> str:
    """What there is instead of images, by suffix."""
    others = [*listing.notes["other"], *listing.notes["foreign"]]
    kinds = Counter(Path(name).suffix.lower() or "without suffix" for name in others)
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    return f"; left out are {said}" if said else ""


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


def _findings(listing: _Listing, found: Layout) -> tuple[Finding, ...]:
    said = tuple(
        kind.finding(f"{len(paths)} {kind.title}", paths)
        for key, kind in LISTED.items()
        if (paths := listing.notes.get(key))
    )
    if found.text:
        paths = [safe_name(p.relative_to(listing.root).as_posix()) for p in found.spoken]
        said += (findings.LAYOUT.finding(safe_name(found.text), paths),)
    if found.like_splits:
        # vehicles have trains; a single test/ is a class more seldom, and two of them hardly ever
        alone = [names.role_of(p.name) for p in found.like_splits] == ["train"]
        kind = findings.SPLIT_CLASS if alone else findings.SPLIT_CLASSES
        like = ", ".join(f"'{p.name}'" for p in found.like_splits)
        own = {p.name for p in found.like_splits}
        others = [c for c in listing.classes if c not in own]
        text = f"named like a split, but taken as a class: {like}"
        text += f" (beside {', '.join(others[:3])})" if others else ""
        said += (kind.finding(safe_name(text), [safe_name(p.name) for p in found.like_splits]),)
    return said + _deeper(listing, found)


def _deeper(listing: _Listing, found: Layout) -> tuple[Finding, ...]:
    """Where no class has an image of its own, but several folders of them, these may be classes."""
    if listing.pattern is not None or any(b.label is not None for b in found.branches["train"]):
        return ()
    tops = {b.folder for b in found.branches["train"]}
    below: dict[str, set[str]] = defaultdict(set)
    for label, name in listing.files:
        path = listing.root / name
        top = next(t for t in tops if path.is_relative_to(t))
        parts = path.relative_to(top).parts
        if len(parts) < 3:
            return ()
        below[label].add(parts[1])
    if not all(len(subs) >= 2 for subs in below.values()):
        return ()
    label = next(iter(below))
    inner = sorted(below[label])
    classes = ", ".join(list(below)[:3]) + (", …" if len(below) > 3 else "")
    text = (
        f"all images lie in folders below the class folders, such as {inner[0]}/ and {inner[1]}/ "
        f"in {label}/; taken as classes are {classes}"
    )
    if all(subs == below[label] for subs in below.values()):
        text += f", although each of them has the same folders in it: {', '.join(inner[:3])}"
    return (DEEPER.finding(text, [f"{label}/{name}" for name in inner]),)
