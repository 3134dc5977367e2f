"""Parquet and Arrow files, as tables of paths or with the pictures in them; needs pyarrow."""

from __future__ import annotations

import bisect
import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from finetune.records.errors import DataError, cause, safe_name
from finetune.sources import cell_lists, listing, names, weighing
from finetune.sources.column_names import (
    GROUPS,
    PATHS,
    SPLITS,
    WEIGHTS,
    first,
    joined,
    labels_of,
    no_columns,
    no_label,
    quoted,
    spoken,
)
from finetune.sources.containers import ContainedPath
from finetune.sources.listing import Example, Listed
from finetune.sources.names import Role

INFO, STATE, DICT = "dataset_info.json", "state.json", "dataset_dict.json"
MOST_INFO_BYTES = 50_000_000


@dataclass(kw_only=True)
class _File:
    """One Parquet or Arrow file, read a group of rows at a time."""

    path: Path
    role: Role | None
    table: Any  # pyarrow.Table, memory-mapped, or pyarrow.parquet.ParquetFile
    lock: threading.Lock = field(default_factory=threading.Lock)
    group: tuple[int, Any] = (-1, None)

    @property
    def schema(self) -> Any:
        """Of the columns."""
        return getattr(self.table, "schema_arrow", None) or self.table.schema

    @cached_property
    def image(self) -> str | None:
        """The column that holds pictures as bytes; None where none does."""
        import pyarrow as pa  # noqa: PLC0415 - an extra

        for column in self.schema:
            kind = column.type
            inside = [f.name for f in kind] if pa.types.is_struct(kind) else []
            if "bytes" in inside or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                return str(column.name)
        return None

    @cached_property
    def starts(self) -> list[int]:
        """The first row of each group."""
        about, count = self.table.metadata, self.table.num_row_groups
        sizes = (about.row_group(number).num_rows for number in range(count))
        return list(accumulate(sizes, initial=0))

    def column(self, name: str) -> list[Any]:
        """All values of one column, or of a part of it (`image.path`)."""
        top, _, part = name.partition(".")
        if hasattr(self.table, "read"):
            found = self.table.read(columns=[name]).column(top)
        else:
            found = self.table.column(top)
        if not part:
            values: list[Any] = found.to_pylist()
            return values
        import pyarrow.compute as pc  # noqa: PLC0415 - an extra

        parts: list[Any] = pc.struct_field(found, part).to_pylist()
        return parts

    def read(self, row: int) -> bytes:
        """The picture of one row.

        Raises:
            ValueError: it has none.
        """
        assert self.image is not None
        with self.lock, _told(self.path):
            cells, at = self._group_of(row)
            value = cells.column(self.image)[at].as_py()
        content = value
        if isinstance(value, dict):
            content, named = value.get("bytes"), value.get("path")
            if content is None and named:  # `datasets` leaves files where they lie unless asked
                content = (self.path.parent / named).read_bytes()
        if not isinstance(content, bytes):
            raise ValueError("the row holds no picture")  # noqa: TRY004 - the file's fault
        return content

    def _group_of(self, row: int) -> tuple[Any, int]:
        if not hasattr(self.table, "num_row_groups"):
            return self.table, row
        number = bisect.bisect_right(self.starts, row) - 1
        if self.group[0] != number:
            self.group = number, self.table.read_row_group(number, columns=[self.image])
        return self.group[1], row - self.starts[number]


@contextlib.contextmanager
def _told(place: Path) -> Iterator[None]:
    """What pyarrow finds wrong with a file, as a fault that names it.

    Raises:
        DataError: always in place of another fault.
    """
    try:
        yield
    except Exception as error:  # pyarrow raises all sorts of things on damaged files
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"cannot read {place}: {cause(error)}", hint="Is it whole? Write it once more."
        ) from error


def is_saved(folder: Path) -> bool:
    """Whether a folder is what `datasets.save_to_disk` writes, or holds Parquet files alone."""
    if (folder / DICT).is_file() or ((folder / STATE).is_file() and (folder / INFO).is_file()):
        return True
    return bool(_parquets(folder))


def holds_pictures(file: Path) -> bool:
    """Whether a Parquet file has the pictures themselves in it.

    Raises:
        DataError: it is damaged, or pyarrow is missing.
    """
    with _told(file):
        return _opened(file, None).image is not None


def rows(
    table: Path, asked: Sequence[str] = ()
) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """Columns and rows of a Parquet file of paths and labels, cells as text; `asked` are labels'.

    Raises:
        DataError: it is damaged, or pyarrow is missing.
    """
    with _told(table):
        found = _opened(table, None)
        header = [str(name) for name in found.schema.names]
        several = labels_of(header, asked)
        wanted = [c for c in header if c in several or _plain(found, c)]
        columns = {c: _labels(found, c) for c in wanted}
        count = found.table.metadata.num_rows
    return header, ((i + 1, {c: columns[c][i] for c in wanted}) for i in range(count))


def read(place: Path, asked: Sequence[str] = ()) -> Listed:
    """The pictures of a Parquet file, a folder of them, or what `datasets.save_to_disk` wrote.

    Args:
        place: The file or folder.
        asked: The columns of labels; empty for the one that is called so.

    Raises:
        DataError: damaged files, no column of labels, or pyarrow is missing.
    """
    with _told(place):
        return _read(place, asked)


def _read(place: Path, asked: Sequence[str]) -> Listed:
    files = _files(place)
    header = [str(n) for n in files[0].schema.names]
    columns = labels_of(header, asked)
    if asked and not columns:
        raise no_columns(files[0].path, header, asked)
    if files[0].image is None or not columns:
        lacks = "pictures" if files[0].image is None else "labels"
        raise DataError(
            f"{files[0].path} has no column of {lacks}; its columns are "
            f"{safe_name(', '.join(map(str, files[0].schema.names[:8])))}",
            hint="Call the columns image and label.",
        )
    examples: list[Example] = []
    read_one: dict[str, Callable[[], bytes]] = {}
    for file in files:
        split, labels = first([str(n) for n in file.schema.names], SPLITS), _joint(file, columns)
        roles = _labels(file, split) if split else [""] * len(labels)
        groups, weights = _groups(file), _weights(file, columns)
        for i, (name, said, role) in enumerate(zip(_names(file), labels, roles, strict=True)):
            path = f"{file.path.stem}/{name}"
            read_one[path] = partial(file.read, i)
            given = file.role or names.role_of(role)
            about = (groups[i] if groups else "", i + 1, weights[i] if weights else 1.0)
            examples.append(Example(path, safe_name(said), given, *about))
    if len(columns) == 1:
        examples = [*cell_lists.parted(str(place), f"column '{columns[0]}'", examples)]
    root, named = listing.packed(place, examples, read_one)
    text = f"{place.name}: {len(examples):,} rows in {len(files)} file(s) of Parquet or Arrow"
    text += f"; column '{files[0].image}' holds the pictures, {quoted(columns)} the labels"
    group, weight = first(header, GROUPS), _weight_column(header, columns)
    text += f", '{group}' what goes together" if group else ""
    text += f", '{weight}' how much an image counts in learning" if weight else ""
    return Listed(
        source=str(place),
        root=root,
        examples=named,
        text=text,
        label=f"column {quoted(columns)}",
        columns=columns,
    )


def _groups(file: _File) -> list[str]:
    """What the picture of each row goes together with; none where no column says so."""
    column = first([str(n) for n in file.schema.names], GROUPS)
    return [] if column is None else [safe_name(text) for text in _labels(file, column)]


def _weights(file: _File, labels: Sequence[str]) -> list[float]:
    """How much the picture of each row counts; none where no column says so."""
    column = _weight_column([str(n) for n in file.schema.names], labels)
    if column is None:
        return []
    return [
        weighing.weight_of(text, f"{file.path} row {i + 1}, column '{column}'")
        for i, text in enumerate(_labels(file, column))
    ]


def _weight_column(header: Sequence[str], labels: Sequence[str]) -> str | None:
    return first([c for c in header if c not in labels], WEIGHTS)


def _joint(file: _File, columns: Sequence[str]) -> list[str]:
    """The labels of each row, cells of several columns parted by `;`."""
    cells = [_labels(file, column) for column in columns]
    return [joined(row) if any(row) else "" for row in zip(*cells, strict=True)]


def _names(file: _File) -> list[str]:
    """A name for each row: that of its picture where all have one of their own, else its number."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    kind = file.schema.field(file.image).type
    inside = [f.name for f in kind] if pa.types.is_struct(kind) else []
    known = file.column(f"{file.image}.path") if "path" in inside else []
    path = first([str(n) for n in file.schema.names], PATHS)
    if path is not None and path != file.image and not any(known):
        known = file.column(path)
    told = [_inside(str(name)) for name in known if name]
    count = getattr(file.table, "num_rows", None) or file.table.metadata.num_rows
    if len(told) == count and len(set(told)) == count and all(told):
        return told
    return [f"{i:08d}" for i in range(count)]


def _inside(name: str) -> str:
    """A name that stays below its root; empty where it does not."""
    parts = [p for p in name.replace("\\", "/").split("/") if p not in ("", ".")]
    return "" if ".." in parts or "\0" in name else safe_name("/".join(parts))


def _labels(file: _File, column: str) -> list[str]:
    """A column as text; numbers that stand for names by the names. Empty where there is none.

    Raises:
        DataError: a value that holds others, as those of a struct do.
    """
    known, short = _class_names(file, column), _is_short(file, column)

    def meant(value: object) -> object:
        if isinstance(value, list):
            return [meant(part) for part in value]
        if known and isinstance(value, int):
            return known[value] if 0 <= value < len(known) else None
        return str(np.float32(value)) if short and isinstance(value, float) else value

    said = []
    for row, value in enumerate(file.column(column), start=1):
        text = spoken(meant(value))
        if text is None:
            raise no_label(f"{file.path} row {row}", column, value)
        said.append(text)
    return said


def _is_short(file: _File, column: str) -> bool:
    """Whether numbers have 32 bits or fewer: 3.2 is meant, where Python would say 3.2000000477."""
    kind = file.schema.field(column).type
    kind = getattr(kind, "value_type", kind)  # of a list
    return str(kind) in ("float", "halffloat")


def _class_names(file: _File, column: str) -> list[str]:
    """What `datasets` calls the classes of a column, from the file or from beside it."""
    meta = (file.schema.metadata or {}).get(b"huggingface")
    beside = file.path.parent / INFO
    try:
        if meta is not None:
            told = json.loads(meta)["info"]["features"][column]
        elif beside.is_file() and beside.stat().st_size < MOST_INFO_BYTES:
            told = json.loads(beside.read_text("utf-8"))["features"][column]
        else:
            return []
        told = told.get("feature", told) if isinstance(told, dict) else told[0]  # of a sequence
        return [str(name) for name in told.get("names", [])]
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return []


def _plain(file: _File, column: str) -> bool:
    import pyarrow as pa  # noqa: PLC0415 - an extra

    kind = file.schema.field(column).type
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind))


def _files(place: Path) -> list[_File]:
    """The files of a data set with the split that each is of."""
    if place.is_file():
        return [_opened(place, None)]
    if (place / DICT).is_file():
        splits = [p for p in sorted(place.iterdir()) if (p / STATE).is_file()]
        return [f for p in splits for f in _arrows(p, names.role_of(p.name))]
    if (place / STATE).is_file():
        return _arrows(place, None)
    found = _parquets(place)
    known = listing.splits_of([p.stem.partition("-of-")[0] for p in found])
    return [_opened(p, role) for p, role in zip(found, known, strict=True)]


def _arrows(folder: Path, role: Role | None) -> list[_File]:
    found = sorted(folder.glob("*.arrow"))
    if not found:
        raise DataError(f"{folder} has no .arrow files", hint="Write it once more.")
    return [_opened(p, role) for p in found]


def _parquets(folder: Path) -> list[Path]:
    """The Parquet files of a folder, or of data/ in it."""
    for place in (folder, folder / "data"):
        found = sorted(place.glob("*.parquet")) if place.is_dir() else []
        if found:
            return found
    return []


def _opened(file: Path, role: Role | None) -> _File:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise DataError(
            f"{file} needs pyarrow, which is not installed",
            hint="pip install 'finetune-images[parquet]', or give a CSV.",
        ) from error
    with _told(file):
        if file.suffix == ".arrow":
            return _File(path=file, role=role, table=_arrow(pa, file))
        if isinstance(file, ContainedPath):  # whole: an archive has no place to go to
            return _File(
                path=file, role=role, table=pq.ParquetFile(pa.BufferReader(file.read_bytes()))
            )
        return _File(path=file, role=role, table=pq.ParquetFile(file, memory_map=True))


def _arrow(pa: Any, file: Path) -> Any:
    source = pa.memory_map(str(file))
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source).read_all()
