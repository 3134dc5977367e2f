"""Answers as files: JSON lines, CSV, Parquet; written from a stream of them, and read as one."""

from __future__ import annotations

import csv
import importlib.util
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from finetune.deploy import target_rows
from finetune.records.answers import ClassProbability, Prediction
from finetune.records.codec import from_json, to_json
from finetune.records.errors import UsageError
from finetune.records.unsure import Standing

_COLUMNS = ("path", "label", "probability", "error")
_LAST = ("standing", "set")  # none in files of older versions; a set is a JSON list
_COMPUTED = ("=", "+", "-", "@", "\t", "\r")  # what a formula begins with
_GROUP = 10_000  # rows of a Parquet file that are in memory at once


class Format(Protocol):
    """A kind of file for answers."""

    def write(self, file: BinaryIO, answers: Iterable[Prediction], listed: int) -> None:
        """Write answers, of each its `listed` likeliest classes where the format has no list."""

    def read(self, path: Path) -> Iterator[Prediction]:
        """The answers in a file; a half-written last one is left out.

        Raises:
            ValueError: it is none of this format.
        """


class JsonLines:
    """One answer a line, as `--json` has it."""

    def write(self, file: BinaryIO, answers: Iterable[Prediction], listed: int) -> None:  # noqa: ARG002
        """As `Format`."""
        for answer in answers:
            file.write(line(answer) + b"\n")

    def read(self, path: Path) -> Iterator[Prediction]:
        """As `Format`."""
        with path.open("rb") as file:
            yield from parsed(text for text in file if text.endswith(b"\n"))


class Csv:
    """One row for each, the further classes in columns behind those of every such file.

    Of a run of labels, or numbers, other columns (`target_rows`).
    """

    def write(self, file: BinaryIO, answers: Iterable[Prediction], listed: int) -> None:
        """As `Format`."""
        first, answers = target_rows.peeked(answers)
        if first is not None:
            target_rows.write_csv(file, first, answers, no_formula)
            return
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text)
        ranks = range(2, listed + 1)
        further = [f"{name}_{rank}" for rank in ranks for name in ("label", "probability")]
        writer.writerow([*_COLUMNS, *further, *_LAST])
        for a in answers:
            name, label, fault = (no_formula(t or "") for t in (a.path, a.label, a.error))
            rest = [x for c in a.top[1:listed] for x in (no_formula(c.label), c.probability)]
            row = [name, label, "" if a.probability is None else a.probability, fault, *rest]
            inside = "" if a.set is None else to_json(a.set)
            blank = [""] * (4 + len(further) - len(row))
            writer.writerow([*row, *blank, a.standing or "", inside])
        text.detach()

    def read(self, path: Path) -> Iterator[Prediction]:
        """As `Format`; the apostrophe before what a spreadsheet would compute is taken off."""
        # a letter may be cut in the middle, in the half-written row
        with path.open("r", encoding="utf-8", errors="replace", newline="") as file:
            rows = csv.reader(file)
            head = next(rows, [])
            if target_rows.is_head(head):
                raise ValueError("a CSV of labels or numbers cannot be read back: use JSON lines")
            if tuple(head[: len(_COLUMNS)]) != _COLUMNS:
                raise ValueError("its first line is not that of answers")
            before: list[str] | None = None  # one row behind: the last may be half-written
            for row in rows:
                if before is not None:
                    yield _from_row(before, head)
                before = row
        if before is not None and len(before) == len(head) and _ends(path):
            yield _from_row(before, head)


class Parquet:
    """One row for each; `top` is a list of label and probability."""

    def write(self, file: BinaryIO, answers: Iterable[Prediction], listed: int) -> None:  # noqa: ARG002
        """As `Format`."""
        import pyarrow as pa  # noqa: PLC0415 - optional, and a third of a second to import
        import pyarrow.parquet as pq  # noqa: PLC0415

        entry = pa.struct([("label", pa.string()), ("probability", pa.float64())])
        schema = pa.schema(
            [
                *(("path", pa.string()), ("label", pa.string()), ("probability", pa.float64())),
                *(("error", pa.string()), ("top", pa.list_(entry)), ("standing", pa.string())),
                *(("known", pa.float64()), ("set", pa.list_(pa.string()))),
            ]
        )
        first, answers = target_rows.peeked(answers)
        if first is not None:
            schema = target_rows.arrow_schema(first)
        rows = iter(answers)
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            while some := list(itertools.islice(rows, _GROUP)):
                made = [
                    msgspec.to_builtins(answer)
                    if first is None
                    else target_rows.arrow_row(answer, first)
                    for answer in some
                ]
                writer.write_table(pa.Table.from_pylist(made, schema))

    def read(self, path: Path) -> Iterator[Prediction]:
        """As `Format`."""
        import pyarrow as pa  # noqa: PLC0415 - as above
        import pyarrow.parquet as pq  # noqa: PLC0415

        try:
            with pq.ParquetFile(path) as file:
                if target_rows.is_head(file.schema_arrow.names):
                    raise ValueError("one of labels or numbers cannot be read back: use JSON lines")
                for part in file.iter_batches(_GROUP):
                    yield from msgspec.convert(part.to_pylist(), list[Prediction])
        except (pa.ArrowInvalid, msgspec.ValidationError) as error:
            raise ValueError(f"it is no whole Parquet file of answers ({error})") from error


FORMATS: dict[str, Format] = {"jsonl": JsonLines(), "csv": Csv(), "parquet": Parquet()}


def line(answer: Prediction) -> bytes:
    """An answer as `--json` has it: where there is an error, there is nothing else."""
    full = {"path": answer.path, "error": answer.error} if answer.error else answer
    return to_json(full).encode()


def parsed(lines: Iterable[bytes]) -> Iterator[Prediction]:
    """The answers of such lines; raises `ValueError`."""
    for text in lines:
        try:
            yield from_json(text, Prediction)
        except msgspec.MsgspecError as error:
            raise ValueError(f"a line of it is no answer ({error})") from error


def require_parquet() -> None:
    """Find out before the work whether Parquet can be written.

    Raises:
        UsageError: pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError(
            "--parquet needs pyarrow, which is not installed",
            hint="pip install 'finetune-images[parquet]'",
        )


def no_formula(text: str) -> str:
    """A text that a spreadsheet shows and does not compute; numbers stay as they are."""
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(_COMPUTED) else text
    return text


def _formula(text: str) -> str:
    """The text that `no_formula` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_COMPUTED) else text


def _from_row(row: Sequence[str], head: Sequence[str]) -> Prediction:
    if len(row) != len(head):
        raise ValueError(f"a row of it has {len(row)} columns, not {len(head)}")
    path, label, probability, error = row[:4]
    if error:
        return Prediction(_formula(path), error=_formula(error))
    standing, inside = row[-2:] if tuple(head[-2:]) == _LAST else ("", "")
    further = row[4 : len(row) - 2 * (tuple(head[-2:]) == _LAST)]
    pairs = [(label, probability), *zip(further[::2], further[1::2], strict=True)]
    top = tuple(ClassProbability(_formula(name), float(p)) for name, p in pairs if p)
    return Prediction(
        _formula(path),
        top[0].label,
        top[0].probability,
        top,
        standing=msgspec.convert(standing or None, Standing | None),
        set=from_json(inside, tuple[str, ...]) if inside else None,
    )


def _ends(path: Path) -> bool:
    """Whether the last line of a file is whole."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
