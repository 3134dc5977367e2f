"""Labels in a table: CSV, TSV, JSON lines or Parquet, a row for each picture."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from finetune.pictures import file_kinds
from finetune.records.errors import DataError, cause, excerpt, safe_name
from finetune.sources import (
    cell_lists,
    columnar,
    encodings,
    flag_columns,
    names,
    table_places,
    weighing,
)
from finetune.sources.column_names import (
    GROUPS,
    LABELS,
    PATHS,
    SPLITS,
    WEIGHTS,
    first,
    joined,
    labels_of,
    no_columns,
    no_label,
    plain,
    quoted,
    spoken,
)
from finetune.sources.containers import ContainedPath
from finetune.sources.flag_columns import Flags
from finetune.sources.listing import Example, Listed

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
DELIMITERS = ",;\t|"
MOST_BYTES = 2_000_000_000


class Row(NamedTuple):
    """A row's cells by column, and its number in the file as an editor shows it."""

    number: int
    cells: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns mean what; None where a table has none."""

    path: str
    labels: tuple[str, ...]
    split: str | None
    group: str | None
    weight: str | None
    others: tuple[str, ...]


def is_table(path: Path) -> bool:
    """Whether a file is called like a table that is read here."""
    return path.suffix.lower() in SUFFIXES


def has_labels(table: Path, asked: Sequence[str] = ()) -> bool:
    """Whether a table has a column of pictures and one of labels, by their names or as asked."""
    try:
        header, _ = _rows(table)
    except DataError:
        return False
    if first(header, PATHS) is None:
        return False
    return bool(labels_of(header, asked) or (not asked and _flags(table, header)))


def has_columns(table: Path, names: Sequence[str]) -> bool:
    """Whether a table has all columns of these names."""
    try:
        header, _ = _rows(table)
    except DataError:
        return False
    return bool(names) and all(first(header, [name.lower()]) for name in names)


def read(table: Path, asked: Sequence[str] = ()) -> Listed:
    """The pictures and labels that a table lists.

    Paths are absolute or relative to the table, with slashes of either kind. Where the first rows
    name pictures without an ending, or as they are called in a folder beside the table, all rows
    are read so, which is said.

    Args:
        table: The file.
        asked: The columns of labels; empty for the one that is called so.

    Raises:
        DataError: no such columns, a damaged row, or none of the pictures where it says.
    """
    header, rows = _rows(table, asked)
    flags = None if asked else _flags(table, header)
    columns = _columns(table, header, flags.columns if flags else asked)
    found = [_example(table, columns, row) for row in rows]
    if flags and flags.single:
        found = [(n, e._replace(label=flags.only(e.label))) for n, e in found]
    if not found:
        raise DataError(f"{table} has no rows", hint="Give each picture a row with its label.")
    place = table_places.found_at(table, columns.path, found)
    root, examples = table_places.placed(table.parent, place, [example for _, example in found])
    if len(columns.labels) == 1:
        examples = cell_lists.parted(str(table), f"column '{columns.labels[0]}'", examples)
    said = f"column '{columns.path}' names the pictures"
    said += f", {flags.text if flags else f'{quoted(columns.labels)} the labels'}"
    said += f", '{columns.split}' the splits" if columns.split else ""
    said += f", '{columns.group}' what goes together" if columns.group else ""
    said += f", '{columns.weight}' how much an image counts in learning" if columns.weight else ""
    said += place.text
    said += f"; not used: {', '.join(columns.others)}" if columns.others else ""
    return Listed(
        source=str(table),
        root=root,
        examples=examples,
        text=f"{table.name}: {len(examples):,} rows; {said}",
        label=f"column {quoted(columns.labels)}",
        columns=() if flags and flags.single else columns.labels,
    )


def _flags(table: Path, header: Sequence[str]) -> Flags | None:
    """Columns that are flags of labels, where none is called a label: all but what is known."""
    known = [first(header, k) for k in (PATHS, SPLITS, GROUPS, WEIGHTS)]
    left = [c for c in header if c and c not in known]
    if known[0] is None or len(left) < 2 or labels_of(header):
        return None
    return flag_columns.found(left, (row.cells for row in _rows(table)[1]))


def _rows(table: Path, asked: Sequence[str] = ()) -> tuple[list[str], Iterator[Row]]:
    """The names of the columns, and the rows."""
    try:
        size = table.stat().st_size
        if size > MOST_BYTES and not isinstance(table, ContainedPath):
            raise DataError(
                f"{table} has {size:,} bytes, more than {MOST_BYTES:,}",
                hint="Divide it, or give the pictures in shards.",
            )
        if table.suffix.lower() == ".parquet":
            header, cells = columnar.rows(table, asked)
            return header, (Row(number, found) for number, found in cells)
        with table.open("rb") as file:
            text = encodings.decoded(file.read())
    except OSError as error:
        raise DataError(f"cannot read {table}: {cause(error)}", hint="Check the file.") from error
    if table.suffix.lower() in (".jsonl", ".ndjson"):
        return _json_rows(table, text, asked)
    return _csv_rows(table, text)


def _csv_rows(table: Path, text: str) -> tuple[list[str], Iterator[Row]]:
    start = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = _delimiter(table, start)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    lines = _numbered(table, reader)
    first = next(lines, None)
    if first is None:
        raise DataError(
            f"{table} is empty", hint="The first line names the columns: file_name,label."
        )
    header = [cell.strip() for cell in first[1]]
    if _is_header(header):
        _require_named_once(table, header)
        return header, _cells(table, header, lines)
    header = ["path", "label", *(f"column {i + 3}" for i in range(len(header) - 2))]
    return header, _cells(table, header, iter([first, *lines]))


def _delimiter(table: Path, start: str) -> str:
    """What parts the names of columns that are known; of several the one that parts most."""
    if table.suffix.lower() == ".tsv":
        return "\t"

    def known(delimiter: str) -> tuple[int, int]:
        cells = [cell.strip().strip('"').lower() for cell in start.split(delimiter)]
        return sum(c in (*PATHS, *LABELS) for c in cells), len(cells)

    return max(DELIMITERS, key=known)


def _numbered(table: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Lines with their numbers; empty ones are left out."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{table} row {reader.line_num}: {error}",
                hint="Is a quotation mark left open there?",
            ) from error
        if any(cell.strip() for cell in row):
            yield reader.line_num, row


def _is_header(cells: Sequence[str]) -> bool:
    """Whether the first line names columns; else it is a picture and its label."""
    lower = {c.lower() for c in cells}
    if lower & {*PATHS, *LABELS}:
        return True
    return len(cells) < 2 or Path(cells[0]).suffix.lower() not in file_kinds.suffixes()


def _require_named_once(table: Path, header: Sequence[str]) -> None:
    twice = next((c for i, c in enumerate(header) if c and c in header[:i]), None)
    if twice is not None:
        raise DataError(
            f"{table} has two columns called '{twice}'", hint="Give each column its own name."
        )


def _cells(
    table: Path, header: Sequence[str], lines: Iterator[tuple[int, list[str]]]
) -> Iterator[Row]:
    for number, line in lines:
        if len(line) > len(header) and any(cell.strip() for cell in line[len(header) :]):
            raise DataError(
                f"{table} row {number} has {len(line)} cells, and there are {len(header)} columns",
                hint="Put text with the delimiter in it into quotation marks.",
            )
        yield Row(number, dict(zip(header, line, strict=False)))


def _json_rows(table: Path, text: str, asked: Sequence[str]) -> tuple[list[str], Iterator[Row]]:
    records: list[Row] = []
    header: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{table} row {number} is not JSON: {cause(error)}",
                hint='Each line is one object: {"file_name": "1.jpg", "label": "cat"}.',
            ) from error
        if not isinstance(record, dict):
            raise DataError(
                f"{table} row {number} is not an object",
                hint='Each line is one object: {"file_name": "1.jpg", "label": "cat"}.',
            )
        where = f"{table} row {number}"
        known = labels_of([*record], asked)
        cells = {k: _spoken(v, k, where, label=k in known) for k, v in record.items()}
        header |= dict.fromkeys(cells)
        records.append(Row(number, cells))
    return list(header), iter(records)


def _spoken(value: object, column: str, where: str, *, label: bool) -> str:
    """A value of JSON as a cell of CSV has it: a list with one entry is that, labels are joined.

    Raises:
        DataError: a label that is an object, or has lists in it.
    """
    if label:
        said = spoken(value)
        if said is None:
            raise no_label(where, column, json.dumps(value))
        return said
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    text = plain(value)
    return json.dumps(value) if text is None else text


def _columns(table: Path, header: Sequence[str], asked: Sequence[str]) -> Columns:
    path, split, group = (first(header, k) for k in (PATHS, SPLITS, GROUPS))
    labels = labels_of(header, asked)
    weight = first([c for c in header if c not in labels], WEIGHTS)
    left = [c for c in header if c and c not in (path, *labels, split, group, weight)]
    if not labels and not asked and path is not None and len(left) + (weight is not None) == 1:
        labels, weight, left = (weight or left[0],), None, []  # the only other column there is
    shown = ", ".join(f"'{safe_name(c)}'" for c in header[:8]) + (" …" if len(header) > 8 else "")
    if asked and not labels:
        raise no_columns(table, header, asked)
    if path is None or not labels:
        lacks = f"paths ({', '.join(PATHS[:4])})" if path is None else f"labels ({LABELS[0]})"
        raise DataError(
            f"{table} has no column of {lacks}; its columns are {shown}",
            hint="Call the columns file_name and label in its first line.",
        )
    return Columns(
        path=path, labels=labels, split=split, group=group, weight=weight, others=tuple(left)
    )


def _example(table: Path, columns: Columns, row: Row) -> tuple[int, Example]:
    path = row.cells.get(columns.path, "").strip()
    if not path or "\0" in path:
        raise DataError(
            f"{table} row {row.number}, column '{columns.path}': no path"
            if not path
            else f"{table} row {row.number}, column '{columns.path}': not a path",
            hint="Give the picture's file, or take the row out.",
        )
    cells = [safe_name(row.cells.get(c, "").strip()) for c in columns.labels]
    label = joined(cells) if any(cells) else ""
    split = row.cells.get(columns.split, "").strip() if columns.split else ""
    role = names.role_of(split) if split else None
    if split and role is None:
        raise DataError(
            f"{table} row {row.number}, column '{columns.split}': '{excerpt(split)}' is no split",
            hint="Splits are train, val and test; leave the cell empty to have them made.",
        )
    group = safe_name(row.cells.get(columns.group, "").strip()) if columns.group else ""
    role = role or ("train" if columns.split else None)
    weight = 1.0
    if columns.weight:
        where = f"{table} row {row.number}, column '{columns.weight}'"
        weight = weighing.weight_of(row.cells.get(columns.weight, ""), where)
    return row.number, Example(path, label, role, group, row.number, weight)
