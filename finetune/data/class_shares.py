"""The shares that classes will have where a model is used: a small CSV or JSON file."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.records.errors import DataError, cause, safe_name

MOST_BYTES = 1_000_000  # of 10,000 classes with long names
HINT = (
    'Give a line for each class, such as `cat,0.9`, or JSON such as {"cat": 0.9, "dog": 0.1}; '
    "counts will do."
)


@dataclass(frozen=True)
class Row:
    """One class with its share; `where` says where in the file it stands."""

    where: str
    name: str
    share: float


def read(path: Path) -> tuple[Row, ...]:
    """The rows of a file, in its order; shares are positive, of any sum.

    Raises:
        DataError: names the row and the value that are wrong.
    """
    told = f"--prior {safe_name(str(path))}"
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{told} cannot be read: {cause(error)}", hint=HINT) from error
    if len(raw) > MOST_BYTES:
        raise DataError(f"{told} has more than {MOST_BYTES / 1e6:g} MB", hint=HINT)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{told} is no text in UTF-8", hint=HINT) from error
    json_like = path.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "[")
    rows: list[Row] = []
    known: dict[str, str] = {}
    for where, name, value in _json(text, told) if json_like else _csv(text, told):
        if name in known:
            message = f"{told}: {where} is class '{name}', which {known[name]} is as well"
            raise DataError(message, hint="Give each class once.")
        known[name] = where
        rows.append(Row(where, name, _share(value, told, where, name)))
    if not rows:
        raise DataError(f"{told} has no class", hint=HINT)
    return tuple(rows)


def matched(rows: Sequence[Row], classes: Sequence[str], path: Path) -> npt.NDArray[np.float64]:
    """The share of each class, float64[C] of sum one.

    Raises:
        DataError: a row's class is not among the classes, or a class has no row.
    """
    told, names = f"--prior {safe_name(str(path))}", {row.name: row.share for row in rows}
    for row in rows:
        if row.name not in classes:
            raise DataError(
                f"{told}: {row.where} is '{row.name}', which is none of the {len(classes)} classes",
                hint=f"They are {', '.join(classes[:8])}{' …' if len(classes) > 8 else ''}",
            )
    missing = [name for name in classes if name not in names]
    if missing:
        raise DataError(
            f"{told} has no row for {len(missing)} of {len(classes)} classes, such as "
            f"'{missing[0]}'",
            hint="Give each class its share. One that hardly ever occurs may have 0.001.",
        )
    shares = np.array([names[name] for name in classes], np.float64)
    out: npt.NDArray[np.float64] = shares / shares.sum()
    return out


def _csv(text: str, told: str) -> Iterator[tuple[str, str, Any]]:
    """Where each row stands, its class, and what is said of its share."""
    try:
        rows = list(csv.reader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise DataError(f"{told} is no CSV: {error}", hint=HINT) from error
    for number, cells in enumerate(rows, start=1):
        if not cells or not "".join(cells).strip():
            continue
        where = f"row {number}"
        if len(cells) != 2:
            raise DataError(f"{told}: {where} has {len(cells)} columns, not 2", hint=HINT)
        name, value = (cell.strip() for cell in cells)
        if number == 1 and value.lower() in ("share", "prior", "count", "probability"):
            continue  # a heading
        yield where, name, value


def _json(text: str, told: str) -> Iterator[tuple[str, str, Any]]:
    """The same of an object, or of a list of pairs."""
    try:
        found = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{told} is no JSON: {error}", hint=HINT) from error
    if not isinstance(found, list):
        raise DataError(f"{told} is JSON, but no object of classes and shares", hint=HINT)
    for number, pair in enumerate(found, start=1):
        where = f"entry {number}"
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise DataError(f"{told}: {where} is no class with a share", hint=HINT)
        yield where, pair[0], pair[1]


def _share(value: Any, told: str, where: str, name: str) -> float:
    """A share as a positive number."""
    said = f"{told}: {where} gives class '{name}' the share {value!r}"
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{said}, which is no number", hint=HINT)
    if found <= 0:
        raise DataError(
            f"{said}, which is not above 0",
            hint="A class that never occurs needs no model: leave its folder out, or give 0.001.",
        )
    return found
