"""Measured rows as CSV: read back as records, and kept one line at a time."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def read(kind: type[T], path: Path) -> list[T]:
    """The records measured so far, in the order of the file."""
    if not path.exists():
        return []
    types: dict[str, Callable[[str], object]] = {
        f.name: {"str": str, "int": int}.get(str(f.type), lambda v: float(v) if v else None)
        for f in fields(kind)  # type: ignore[arg-type]
    }
    with path.open(newline="") as file:
        return [kind(**{k: types[k](v) for k, v in line.items()}) for line in csv.DictReader(file)]


def append(record: Any, path: Path) -> None:
    """Add one line in one write, so that two processes may share the file."""
    line = io.StringIO()
    writer = csv.DictWriter(line, [f.name for f in fields(record)], lineterminator="\n")
    if not path.exists():
        head = path.with_name(f"{path.name}.{os.getpid()}")
        writer.writeheader()
        head.write_text(line.getvalue())
        with contextlib.suppress(FileExistsError):  # of several that begin at once one is first
            os.link(head, path)
        head.unlink()
        line.seek(0)
        line.truncate()
    values = asdict(record).items()
    writer.writerow({k: round(float(v), 5) if isinstance(v, float) else v for k, v in values})
    with path.open("a") as file:
        file.write(line.getvalue())
