"""What was given as data, and where its pictures lie: a folder, a list, an archive, shards."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

from finetune.pictures import file_kinds
from finetune.records.choices import TargetChoice
from finetune.records.dataset import Dataset, Target
from finetune.records.errors import UsageError, safe_name
from finetune.sources import columnar, containers, json_lists, listing, scan, shards, tables
from finetune.sources.column_names import require_once
from finetune.sources.containers import ContainedPath
from finetune.sources.files import children_of, filled, is_hidden
from finetune.sources.findings import LAYOUT
from finetune.sources.listing import Listed

_DEEP = 4  # folders around it all: more is another layout
METADATA = "metadata"  # what Hugging Face's imagefolder calls the table beside pictures


def root_of(asked: str | Path, columns: Sequence[str] = ()) -> Path:
    """What the paths of samples are below: a folder, or one that lies in an archive.

    Args:
        asked: What was given as data.
        columns: The columns of labels, where these were named.

    Raises:
        DataError: a list or an archive that cannot be read.
    """
    place = Path(asked)
    listed = _listed(place, tuple(columns))
    return _folder(place) if listed is None else listed.root


def read(
    asked: str,
    label_from: re.Pattern[str] | None = None,
    target: TargetChoice = "auto",
    columns: Sequence[str] = (),
) -> Dataset:
    """The labelled pictures of whatever was given, with ready-made splits where it names some.

    Args:
        asked: A folder of classes; a table, COCO's or Label Studio's JSON, Parquet; a folder that
            `datasets` saved; an archive of any of these; shards of WebDataset.
        label_from: Finds labels in the names of files, whatever folder they are in.
        target: What is learned of each picture; `auto` tells it by the labels of a list.
        columns: The columns of labels, where these were named.

    Raises:
        DataError: nothing of all this, or a fault in it; the message names row and column.
        UsageError: `label_from` for what has labels of its own, or `columns` for what has none.
    """
    require_once(columns)
    place = Path(asked)
    named = label_from is not None and place.is_dir()
    listed = None if named else _listed(place, tuple(columns))
    if listed is None:
        _require_columns(columns, place)
        return listing.of_folders(_told(scan.scan(_folder(place), label_from), place), target)
    _require_none(label_from, listed)
    _require_columns(() if listed.columns else columns, place)
    return listing.dataset(listed, place, target)


def read_labelled(
    asked: Path,
    classes: Sequence[str],
    label_from: re.Pattern[str] | None = None,
    columns: Sequence[str] = (),
) -> Dataset:
    """The labelled pictures to measure on, for known classes: the test where there is one.

    Raises:
        DataError: as for `read`, and for classes that are not among these.
        UsageError: as there.
    """
    named = label_from is not None and asked.is_dir()
    listed = None if named else _listed(asked, tuple(columns))
    if listed is None:
        _require_columns(columns, asked)
        return _told(scan.scan_labelled(_folder(asked), classes, label_from), asked)
    _require_none(label_from, listed)
    _require_columns(() if listed.columns else columns, asked)
    return listing.labelled(listed, asked, classes)


def read_target(
    asked: Path,
    target: Target,
    label_from: re.Pattern[str] | None = None,
    columns: Sequence[str] = (),
) -> tuple[Dataset, Path]:
    """The pictures to measure on with their labels or numbers, and what their paths are below.

    Args:
        asked: As for `read`.
        target: What is known; of numbers its names are columns where these are there.
        label_from: As for `read`.
        columns: As for `read`.

    Raises:
        DataError: as for `read`, and for labels that are not among the target's.
        UsageError: as there.
    """
    named = label_from is not None and asked.is_dir()
    chosen = tuple(columns) or _columns_like(asked, target)
    listed = None if named else _listed(asked, chosen)
    if listed is None:
        _require_columns(columns, asked)
        found = _told(scan.scan(_folder(asked), label_from), asked)
        folder = _folder(asked)
        return listing.measured_folders(found, folder, target), folder
    _require_none(label_from, listed)
    _require_columns(() if listed.columns else columns, asked)
    return listing.labelled(listed, asked, (), target), listed.root


def _columns_like(asked: Path, target: Target) -> tuple[str, ...]:
    """The target's names where a table has columns of these."""
    table = asked.is_file() and tables.is_table(asked)
    return target.names if table and tables.has_columns(asked, target.names) else ()


def _require_columns(columns: Sequence[str], place: Path) -> None:
    if columns:
        raise UsageError(
            f"--label-column is for tables, Parquet and fields of JSON in shards; {place} has no "
            "columns",
            hint="Leave it out, or give the table.",
        )


def _require_none(label_from: re.Pattern[str] | None, listed: Listed) -> None:
    if label_from is not None:
        raise UsageError(
            f"--label-from '{label_from.pattern}' is for labels in file names, and {listed.source} "
            f"has its own ({listed.label})",
            hint="Leave it out, or give the folder of the pictures.",
        )


def _told(found: Dataset, place: Path) -> Dataset:
    """The data set with a word on where it was read from, where that is an archive."""
    if not containers.is_archive(place) or not place.is_file():
        return found
    text = f"{place.name}: the folders in the archive, which is read where it lies"
    said = LAYOUT.finding(safe_name(text), ())
    return replace(found, findings=(*found.findings, said))


def _folder(place: Path) -> Path:
    """The folder that was given, or the one in an archive."""
    if containers.is_archive(place) and place.is_file():
        return containers.opened(place)
    return place


def _listed(place: Path, columns: tuple[str, ...] = ()) -> Listed | None:
    """What a list says; None of a folder whose classes are folders. Kept while it is unchanged."""
    several = "{" in place.name and not place.exists()
    if not several and not place.exists():
        return None  # a folder that is not there: its reader says so
    return _kept(place, () if several else _state(place), columns)


def _state(place: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when a list does."""
    files = [place]
    if place.is_dir():
        inner = _inner(place).glob("*")
        files += [p for p in sorted(inner) if tables.is_table(p) or p.suffix == ".tar"]
    found = [(p.name, p.stat()) for p in files if p.exists()]
    return tuple((name, facts.st_mtime_ns, facts.st_size) for name, facts in found)


@lru_cache(maxsize=8)
def _kept(
    place: Path, _state: tuple[tuple[str, int, int], ...], columns: tuple[str, ...]
) -> Listed | None:
    reader = _reader(place, columns)
    return None if reader is None else reader()


def _reader(place: Path, columns: tuple[str, ...]) -> Callable[[], Listed] | None:
    """How a list is read; None where there is none."""
    if not place.exists():
        return lambda: shards.read(place, shards.shards_of(place), columns)
    if containers.is_archive(place) and place.is_file():
        root = containers.opened(place)
        one = shards.is_shard(root)
        return (lambda: shards.read(place, [place], columns)) if one else _in_folder(root, columns)
    return _in_folder(place, columns) if place.is_dir() else _of_file(place, columns)


def _of_file(place: Path, columns: tuple[str, ...]) -> Callable[[], Listed] | None:
    if tables.is_table(place):
        packed = place.suffix.lower() == ".parquet" and columnar.holds_pictures(place)
        kind = columnar if packed else tables
        return lambda: kind.read(place, columns)
    if place.suffix.lower() == json_lists.SUFFIX and not _of_a_run(place):
        return lambda: json_lists.read(place)
    return None


def _of_a_run(place: Path) -> bool:
    return (place.parent / "run.json").is_file()


def _in_folder(folder: Path, columns: tuple[str, ...]) -> Callable[[], Listed] | None:
    """How a folder's pictures are listed: in its metadata, as `datasets` saved, or in shards.

    A table of another name counts where no folder of pictures can be a class: beside classes it may
    be anything.
    """
    folder = _inner(folder)
    here = [p for p in sorted(folder.iterdir()) if p.is_file()] if _may_list(folder) else []
    metadata = [p for p in here if p.stem.lower() == METADATA and tables.is_table(p)]
    if metadata and tables.has_labels(metadata[0], columns):
        return lambda: tables.read(metadata[0], columns)
    if not isinstance(folder, ContainedPath):
        if columnar.is_saved(folder):
            return lambda: columnar.read(folder, columns)
        tars = shards.shards_of(folder)
        if tars and len(tars) == len([p for p in here if not p.name.startswith(".")]):
            return lambda: shards.read(folder, tars, columns)
    lists = [p for p in here if tables.is_table(p) and tables.has_labels(p, columns)]
    full = [c for c in children_of(folder) if filled(c)] if lists else []
    if len(lists) == 1 and len(full) < 2 and _flat(folder, full):
        return lambda: tables.read(lists[0], columns)
    return None


def _inner(folder: Path) -> Path:
    """The folder, or the one that is all there is in it, as archives of a folder have it."""
    for _ in range(_DEEP):
        if not _may_list(folder):
            break
        seen = list(islice((p for p in folder.iterdir() if not is_hidden(p.name)), 2))
        if len(seen) != 1 or not seen[0].is_dir():
            break
        folder = seen[0]
    return folder


def _flat(folder: Path, full: Sequence[Path]) -> bool:
    """Whether the pictures lie in one folder: this one, or the only one in it."""
    only = full[0] if full else folder
    return not any(filled(c) for c in children_of(only)) and any(
        p.suffix.lower() in file_kinds.suffixes() for p in only.iterdir()
    )


def _may_list(folder: Path) -> bool:
    try:
        next(iter(folder.iterdir()), None)
    except OSError:
        return False
    return True
