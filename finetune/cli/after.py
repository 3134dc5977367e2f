"""What follows a command's work: its answer, its files, and `--strict`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.records import option_table
from finetune.records.errors import DataError

if TYPE_CHECKING:
    from finetune.records.dataset import Finding
    from finetune.records.run import RunResult
    from finetune.records.target_result import TargetResult


def answer(found: Any, show: Callable[[Any], None], *, json: bool) -> None:
    """The answer on stdout: as one JSON value, or for people."""
    if not json:
        show(found)
        return
    from finetune.cli import style  # noqa: PLC0415
    from finetune.records.codec import to_json  # noqa: PLC0415

    style.show_line(to_json(found))


def require_errors(path: Path, folder: Path) -> None:
    """`--errors` of a training can be written, which is found out before the work."""
    from finetune.cli import csv_files  # noqa: PLC0415 - most trainings write none

    csv_files.require("--errors", path, [], folder=folder)


def write_errors(path: Path, result: RunResult | TargetResult) -> None:
    """`--errors` of a training; what is not in the file is told."""
    from finetune.cli import csv_files, style  # noqa: PLC0415
    from finetune.metrics import mistakes  # noqa: PLC0415
    from finetune.records.target_result import TargetResult  # noqa: PLC0415

    if isinstance(result, TargetResult):
        csv_files.write_worst(path, result.worst)
        return
    csv_files.write_errors(path, result.errors)
    if result.test is None:
        style.show_line(f"no test images: {path} lists no wrong answer", error=True)
    elif (wrong := mistakes.count(result.test)) > len(result.errors):
        text = f"{path} lists {len(result.errors)} of {wrong} wrong answers: the run has no more"
        style.show_line(text, error=True)


def as_training(command: str) -> str:
    """The `train` that follows from a `recommend`, `compare` or `check`, with what it takes."""
    taken = {option.flag for rows in option_table.of("train").values() for option in rows}
    taken -= {"--json", "--verbose", "--quiet"}  # of how an answer is shown
    left = {option.flag: option for option in option_table.ALL if option.flag not in taken}
    before, words, given = ("recommend", "compare", "check"), [], iter(shlex.split(command))
    for i, word in enumerate(given):
        name, _, value = word.partition("=")
        if name not in left:
            words.append("train" if word in before and i == 1 else word)
        elif not value and left[name].kind != "flag":
            next(given, None)
    return shlex.join(words)


def require_no_warning(findings: Sequence[Finding], run: str) -> None:
    """`--strict` after a training: what has shown only then.

    Raises:
        DataError: a finding that is more than a note; the run is kept.
    """
    alarms = [f for f in findings if f.severity != "note"]
    if alarms:
        raise DataError(
            f"--strict: {len(alarms)} warning(s) after the training: "
            + "; ".join(f"{f.code} {f.title}" for f in alarms),
            hint=f"The run is kept: its report, {run}/report.html, has the pictures and figures.",
        )
