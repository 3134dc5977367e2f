"""Answers of labels and numbers as rows of CSV and Parquet: a column for each label or number."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from finetune.records.answers import Prediction

PART = ";"  # parts the labels of one image, as tables of labels have it
_LABELS, _VALUE, _WITHIN = "labels", "value", "within"


def peeked(answers: Iterable[Prediction]) -> tuple[Prediction | None, Iterator[Prediction]]:
    """The first answer of labels or numbers, None where there is none; and all answers.

    Faults before it wait in memory.
    """
    rest = iter(answers)
    before: list[Prediction] = []
    for answer in rest:
        before.append(answer)
        if answer.error is None:
            other = answer.labels is not None or answer.value is not None
            return answer if other else None, itertools.chain(before, rest)
    return None, iter(before)


def is_head(columns: Sequence[str]) -> bool:
    """Whether columns are those of such a file."""
    return tuple(columns[:2]) in (("path", _LABELS), ("path", _VALUE))


def _columns(first: Prediction) -> list[str]:
    """`labels` and each label's probability; or the value, or each value."""
    if first.labels is not None:
        return ["path", _LABELS, *(_own(row.label) for row in first.labels), "error"]
    return ["path", _VALUE, _WITHIN, *map(_own, first.values or ()), "error"]


def _own(name: str) -> str:
    """A label's column; one called like another of ours is marked."""
    return f"{name} (label)" if name in ("path", _LABELS, _VALUE, _WITHIN, "error") else name


def _cells(answer: Prediction, first: Prediction) -> list[Any]:
    """The same columns of one answer; None where it could not be read."""
    if answer.error is not None:
        return [answer.path, *[None] * (len(_columns(first)) - 2), answer.error]
    if answer.labels is not None:
        on = PART.join(row.label for row in answer.labels if row.on)
        return [answer.path, on, *(row.probability for row in answer.labels), None]
    return [answer.path, answer.value, answer.within, *(answer.values or {}).values(), None]


def write_csv(
    file: BinaryIO,
    first: Prediction,
    answers: Iterable[Prediction],
    no_formula: Callable[[str], str],
) -> None:
    """A row for each answer.

    Args:
        file: Where to.
        first: An answer that tells the columns.
        answers: All of them.
        no_formula: Makes a text safe for spreadsheets.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(map(no_formula, _columns(first)))
    for answer in answers:
        writer.writerow(
            no_formula(cell) if isinstance(cell, str) else "" if cell is None else cell
            for cell in _cells(answer, first)
        )
    text.detach()


def arrow_schema(first: Prediction) -> Any:
    """The columns in Parquet: `labels` is a list there."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    kinds = {"path": pa.string(), "error": pa.string(), _LABELS: pa.list_(pa.string())}
    return pa.schema([(name, kinds.get(name, pa.float64())) for name in _columns(first)])


def arrow_row(answer: Prediction, first: Prediction) -> dict[str, Any]:
    """One answer by column."""
    row = dict(zip(_columns(first), _cells(answer, first), strict=True))
    if answer.labels is not None:
        row[_LABELS] = [label.label for label in answer.labels if label.on]
    return row
