"""Pictures and labels that are listed somewhere, in a table or in an archive → a data set."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from finetune.records.choices import MOST_CLASSES, OtherTarget, TargetChoice
from finetune.records.dataset import Dataset, Finding, Sample, Target
from finetune.records.errors import DataError, excerpt, safe_name
from finetune.sources import findings, names, targets, weighing
from finetune.sources.column_names import PART
from finetune.sources.containers import Container, root_of
from finetune.sources.files import digest_file
from finetune.sources.findings import LISTED
from finetune.sources.names import Role
from finetune.sources.targets import Learned, Row

ROLES: tuple[Role, ...] = ("train", "val", "test")


class Example(NamedTuple):
    """One listed picture.

    `path` is below the listing's root, with forward slashes; `label` is empty where none is given,
    and has several parted by `;`; `split` is None where the list names none, `group` empty where
    the picture is by itself, `row` 0 where rows have no number; `weight` is how much it counts.
    """

    path: str
    label: str
    split: Role | None = None
    group: str = ""
    row: int = 0
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What a reader found: where the pictures lie, which they are, and in one line how it was read.

    `source` names the list for messages, `label` what the labels are in it (`column 'label'`);
    `columns` are those of labels, none where they have no name; `notes` are paths by the keys of
    `findings.LISTED`.
    """

    source: str
    root: Path
    examples: Sequence[Example]
    text: str
    label: str
    columns: tuple[str, ...] = ()
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)


def packed(
    place: Path, examples: Sequence[Example], read: Mapping[str, Callable[[], bytes]]
) -> tuple[Path, Sequence[Example]]:
    """What the paths of pictures in some files are below, and the examples with those paths.

    Args:
        place: What is opened as a folder of all of them.
        examples: With paths `FILE/NAME`, which lose the file's name where no two are called alike.
        read: Gives the bytes of each, by path.
    """
    short = {path: path.partition("/")[2] for path in read}
    if len(set(short.values())) < len(short):
        short = {path: path for path in read}
    paths = {short[path]: work for path, work in read.items()}
    container = Container(place, lambda name: paths[name]())
    for path in paths:
        container.add(path, 0)
    return root_of(container), [e._replace(path=short[e.path]) for e in examples]


def splits_of(called: Sequence[str]) -> Sequence[Role | None]:
    """The splits that files are of by what they are called; none where not all say one."""
    roles = [names.role_of(name) for name in called]
    return roles if all(roles) else [None] * len(roles)


def dataset(listed: Listed, asked: Path, target: TargetChoice = "auto") -> Dataset:
    """The data set of a list, sorted by class and path as a folder of classes is.

    Args:
        listed: The list.
        asked: What was given as data.
        target: What is to be learned of each picture.

    Raises:
        DataError: no label, fewer than two classes with pictures or more than `MOST_CLASSES`, a
            list whose pictures are not there, or one that names splits but nothing to train on;
            for other targets as `targets.learn`.
    """
    notes = defaultdict(list, {key: [*paths] for key, paths in listed.notes.items()})
    kind = targets.told(target, listed.columns, [e.label for e in listed.examples])
    joined = target == "labels" and len(listed.columns) < 2
    there = _usable(listed, notes, kind[0] if kind else None, joined=joined)
    ready = any(e.split is not None for e in there)
    by_role = {role: [e for e in there if (e.split or "train") == role] for role in ROLES}
    learned = None
    counts = [(e.label if kind is None else "", e.weight) for e in by_role["train"]]
    weighing.require_some(listed.source, counts)
    if kind is None:
        classes = _classes(listed, by_role["train"], notes)
        for role in ("val", "test"):
            _require_known(listed, by_role[role], classes, role)
    else:
        _require_some(listed, by_role["train"], notes)
        learned = targets.learn(*kind, listed.columns, _rows(listed, there), listed.source)
        classes = learned.strata
    parts = {
        role: _samples(listed.root, found, classes, notes, learned, read=role != "test")
        for role, found in by_role.items()
    }
    if not parts["train"]:
        why = _lost(notes) or f" ({len(notes['closed'])} may not be read)"
        raise DataError(
            f"no picture that {listed.source} lists to train on can be read" + why,
            hint="Are they there, and whole? Write the list once more.",
        )
    return Dataset(
        root=safe_name(str(asked)),
        classes=classes,
        layout="ready" if ready else "plain",
        pool=parts["train"],
        val=parts["val"] if by_role["val"] else None,
        test=parts["test"] if by_role["test"] else None,
        findings=_findings(listed, notes) + (() if learned is None else findings.of(learned)),
        target=None if learned is None else learned.target,
    )


def of_folders(found: Dataset, target: TargetChoice) -> Dataset:
    """A data set whose classes are names of folders, with these read as labels or as numbers.

    Raises:
        DataError: as `targets.learn`.
    """
    if target in ("auto", "classes"):
        return found
    kind = targets.told(target, (), ())
    assert kind is not None
    parts = {"train": found.pool, "val": found.val or (), "test": found.test or ()}
    rows = [
        Row(s.path, name, role == "train", found.root, f"class '{safe_name(name)}'")
        for role, samples in parts.items()
        for s in samples
        for name in (found.classes[s.label],)
    ]
    learned = targets.learn(*kind, (), rows, found.root)

    def turned(samples: tuple[Sample, ...] | None) -> tuple[Sample, ...] | None:
        if samples is None:
            return None
        new = [
            replace(s, label=learned.stratum[s.path], values=learned.values[s.path])
            for s in samples
        ]
        return tuple(sorted(new, key=lambda s: (s.label, s.path)))

    return replace(
        found,
        classes=learned.strata,
        pool=turned(found.pool) or (),
        val=turned(found.val),
        test=turned(found.test),
        findings=found.findings + findings.of(learned),
        target=learned.target,
    )


def measured_folders(found: Dataset, root: Path, target: Target) -> Dataset:
    """The images to measure on of a data set of class folders: its test where it has one.

    Raises:
        DataError: as `targets.measured`.
    """
    chosen = found.pool + (found.val or ()) if found.test is None else found.test
    rows = [
        Row(
            s.path,
            found.classes[s.label],
            True,
            found.root,
            f"class '{found.classes[s.label]}'",
        )
        for s in chosen
    ]
    learned = targets.measured(target, (), rows)
    pool = tuple(
        replace(
            s,
            label=0,
            values=learned.values[s.path],
            digest=s.digest or digest_file(root / s.path),
        )
        for s in chosen
    )
    return Dataset(*(found.root, learned.strata, "plain", pool, None, None, found.findings), target)


def labelled(
    listed: Listed, asked: Path, classes: Sequence[str], target: Target | None = None
) -> Dataset:
    """The labelled pictures of the list's test where it names one, else all, for known classes.

    Where labels or numbers are known instead, `target` says so, and there is one class of all.

    Raises:
        DataError: none, a class that is not among `classes`, or splits without a test.
    """
    notes = defaultdict(list, {key: [*paths] for key, paths in listed.notes.items()})
    kind = None if target is None else target.kind
    joined = kind == "labels" and len(listed.columns) < 2
    there = _usable(listed, notes, kind, joined=joined)
    roles = {e.split for e in there if e.split is not None}
    if roles and "test" not in roles:
        raise DataError(
            f"{listed.source} has {' and '.join(sorted(roles))}, but no test to measure on",
            hint="Give a list of the pictures to measure on, without a column of splits.",
        )
    chosen = [e for e in there if not roles or e.split == "test"]
    learned = None
    if target is None:
        _require_known(listed, chosen, classes, "test")
    else:
        learned = targets.measured(target, listed.columns, _rows(listed, chosen))
        classes = learned.strata
    pool = _samples(listed.root, chosen, classes, notes, learned, read=True)
    if not pool:
        raise DataError(
            f"no picture of {listed.source} has a label and can be read",
            hint="Check the paths and labels in it.",
        )
    said = _findings(listed, notes)
    return Dataset(safe_name(str(asked)), tuple(classes), "plain", pool, None, None, said, target)


def _rows(listed: Listed, there: Sequence[Example]) -> list[Row]:
    """The examples as targets are read from, each with the place of its label."""
    return [
        Row(
            path=e.path,
            text=e.label,
            learned=e.split in (None, "train"),
            where=f"{listed.source} row {e.row}" if e.row else f"{listed.source}, {e.path}",
            column=listed.label,
        )
        for e in there
    ]


def _usable(
    listed: Listed,
    notes: dict[str, list[str]],
    kind: OtherTarget | None = None,
    *,
    joined: bool = False,
) -> list[Example]:
    """Those with a label, each picture once; what is left out is noted.

    Of several labels none is an answer, too; with `joined` a picture has those of all its rows.
    """
    first: dict[str, Example] = {}
    crossed: set[str] = set()
    for example in listed.examples:
        if not example.label.strip(PART) and kind != "labels":
            notes["unlabeled"].append(example.path)
            continue
        if example.path != safe_name(example.path):
            notes["encoding"].append(safe_name(example.path))
            continue
        known = first.setdefault(example.path, example)
        if known is not example and joined:
            first[example.path] = known._replace(label=f"{known.label}{PART}{example.label}")
        elif known is not example:
            notes["repeated"].append(example.path)
            if known.label != example.label:
                crossed.add(example.path)
    notes["repeated"] = [p for p in notes["repeated"] if p not in crossed]
    notes["crossed"] = sorted(crossed)
    return [e for path, e in first.items() if path not in crossed]


def _require_some(
    listed: Listed, train: Sequence[Example], notes: Mapping[str, Sequence[str]]
) -> None:
    if not train:
        raise DataError(
            f"{listed.source} lists no picture with a label to train on" + _lost(notes),
            hint="Give each picture a label, and call the split to learn from 'train'.",
        )


def _classes(
    listed: Listed, train: Sequence[Example], notes: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    counts = Counter(e.label for e in train)
    _require_some(listed, train, notes)
    if len(counts) > MOST_CLASSES:
        some = ", ".join(f"'{label}'" for label in list(counts)[:3])
        raise DataError(
            f"{listed.label} of {listed.source} has {len(counts):,} different labels, more than "
            f"{MOST_CLASSES:,} classes, such as {safe_name(some)}",
            hint="Is it a number to predict (--target number), or a name of each picture?",
        )
    if len(counts) < 2:
        raise DataError(
            f"{listed.label} of {listed.source} has one label only, "
            f"'{excerpt(next(iter(counts)))}': there is nothing to tell apart" + _lost(notes),
            hint="Two classes with pictures are needed.",
        )
    return tuple(sorted(counts))


def _lost(notes: Mapping[str, Sequence[str]]) -> str:
    """How many were left out, and why, where that explains what is missing."""
    said = [
        f"{len(notes[key])} {LISTED[key].title}"
        for key in ("unlabeled", "missing", "crossed")
        if notes.get(key)
    ]
    return f" ({'; '.join(said)})" if said else ""


def _require_known(
    listed: Listed, found: Sequence[Example], classes: Sequence[str], role: str
) -> None:
    unknown = sorted({e.label for e in found} - set(classes))
    if not unknown:
        return
    known = {names.folded(c): c for c in classes}
    meant = [
        f"'{u}' is perhaps '{known[names.folded(u)]}'" for u in unknown if names.folded(u) in known
    ]
    row = next((e.row for e in found if e.label == unknown[0]), 0)
    raise DataError(
        f"{listed.source} has labels among {role} that are not known: "
        f"{excerpt(', '.join(unknown[:5]), 200)}"
        + (f" (the first in row {row}, {listed.label})" if row else "")
        + (f" ({', '.join(meant[:3])})" if meant else ""),
        hint=f"The classes are {excerpt(', '.join(classes[:8]), 300)}"
        + (" …" if len(classes) > 8 else "."),
    )


def _samples(
    root: Path,
    found: Sequence[Example],
    classes: Sequence[str],
    notes: dict[str, list[str]],
    learned: Learned | None = None,
    *,
    read: bool,
) -> tuple[Sample, ...]:
    """Samples by class and path; files that are not there, or may not be read, are noted."""
    number = {label: i for i, label in enumerate(classes)}

    def label(e: Example) -> int:
        return number[e.label] if learned is None else learned.stratum[e.path]

    out, gone = [], defaultdict[str, list[str]](list)
    for e in found:  # as they are listed: archives are read from their start to their end
        place = root / e.path
        if not _there(place):
            gone["missing"].append(e.path)
            continue
        try:
            digest = digest_file(place) if read else ""
        except DataError:
            gone["closed"].append(e.path)
            continue
        values = () if learned is None else learned.values[e.path]
        out.append(Sample(e.path, label(e), digest, e.group, values, e.weight))
    for key, paths in gone.items():
        notes[key] += sorted(paths)
    return tuple(sorted(out, key=lambda s: (s.label, s.path)))


def _there(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:  # in a folder that may not be looked into: reading it will tell
        return True
    except OSError:  # a name that is too long, links in a circle
        return False


def _findings(listed: Listed, notes: Mapping[str, Sequence[str]]) -> tuple[Finding, ...]:
    said = [
        kind.finding(f"{len(paths)} {kind.title}", paths)
        for key, kind in LISTED.items()
        if (paths := [safe_name(p) for p in notes.get(key, ())])
    ]
    return (*said, findings.LAYOUT.finding(safe_name(listed.text), ()))
