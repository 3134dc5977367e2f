"""What people call the columns of a list of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from finetune.records.errors import DataError, UsageError, excerpt, safe_name

# The first of each before the others where a table has several.
PATHS = (
    *("file_name", "filename", "path", "image", "file", "filepath", "file_path", "image_path"),
    *("img", "img_path", "image_name", "picture", "image_id", "id"),
)
LABELS = ("label", "labels", "target", "class", "class_name", "category", "y", "species")
SPLITS = ("split", "set", "subset", "partition")
GROUPS = ("group", "groups", "patient", "patient_id", "subject", "group_id")
PART = ";"  # parts several labels, or the cells of several columns, in one text
WEIGHTS = ("weight", "weights", "sample_weight")


def first(header: Sequence[str], known: Sequence[str]) -> str | None:
    """The column that is called so, in any case of letters; None where none is."""
    by_name = {name.lower(): name for name in reversed(header)}
    return next((by_name[name] for name in known if name in by_name), None)


def labels_of(header: Sequence[str], asked: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns of labels: those asked for, else the one that is called so; empty without."""
    if asked:
        found = [first(header, [name.lower()]) for name in asked]
        return tuple(c for c in found if c is not None) if all(found) else ()
    known = first(header, LABELS)
    return () if known is None else (known,)


def require_once(asked: Sequence[str]) -> None:
    """Refuse a column that is asked for twice.

    Raises:
        UsageError: names it.
    """
    lower = [name.lower() for name in asked]
    twice = next((name for i, name in enumerate(lower) if name in lower[:i]), None)
    if twice is not None:
        raise UsageError(
            f"--label-column names '{twice}' twice: {','.join(asked)}", hint="Give it once."
        )


def plain(value: object) -> str | None:
    """A value of JSON or Parquet as a cell of CSV has it; None of what holds others.

    Truth values are `true` and `false`, as JSON has them; bytes are text where they are UTF-8.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    return None if isinstance(value, list | tuple | dict) else str(value).strip()


def spoken(value: object) -> str | None:
    """The same of a label, which may be a list of such values: parted by `;`."""
    if not isinstance(value, list | tuple):
        return plain(value)
    parts = [plain(part) for part in value]
    return None if None in parts else joined(filter(None, parts))


def no_label(where: str, column: str, value: object) -> DataError:
    """The fault that a cell holds something with parts of its own."""
    return DataError(
        f"{where}, column '{safe_name(column)}': {excerpt(str(value))} is no label",
        hint="A label is text or a number, several are a list of these, or text parted by ;.",
    )


def joined(cells: Iterable[object]) -> str:
    """Several labels, or the cells of several columns, in one text: parted by `;`."""
    return PART.join("" if cell is None else str(cell).strip() for cell in cells)


def quoted(columns: Sequence[str]) -> str:
    """The names of columns in a sentence."""
    return ", ".join(f"'{safe_name(c)}'" for c in columns)


def no_columns(place: Path, header: Sequence[str], asked: Sequence[str]) -> DataError:
    """The fault that columns which were asked for are not there."""
    lacks = [name for name in asked if first(header, [name.lower()]) is None]
    more = " …" if len(header) > 8 else ""
    return DataError(
        f"--label-column: {place} has no column {quoted(lacks)}; its columns are "
        f"{quoted(header[:8])}{more}",
        hint="Give the name as it stands in the first line; several are parted by commas.",
    )
