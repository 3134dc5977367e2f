"""Where the answers of `predict` go beside the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SortBy = Literal["copy", "link"]


@dataclass(frozen=True, kw_only=True)
class AnswerFiles:
    """Files of answers, of what the classifier reads of each picture, and a folder by class.

    `features` is a NumPy file float32[N,D] whose rows are those of the answers; a
    CSV file has `columns` classes in a row. `resume` goes on
    with files that a stopped `predict` has left.
    """

    csv: Path | None = None
    jsonl: Path | None = None
    parquet: Path | None = None
    features: Path | None = None
    sort_into: Path | None = None
    sort_by: SortBy = "copy"
    resume: bool = False
    columns: int = 1

    @property
    def answers(self) -> dict[str, Path]:
        """The files of answers by the name of their format; one with the most in it comes first."""
        named = {"jsonl": self.jsonl, "parquet": self.parquet, "csv": self.csv}
        return {name: path for name, path in named.items() if path is not None}
