"""The command `predict`: what goes into files, and what is shown while answers come."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from finetune.cli import csv_files, progress, render, style
from finetune.cli.options import Asked
from finetune.deploy import answer_files, sorting
from finetune.records.answer_files import AnswerFiles
from finetune.records.answers import Prediction
from finetune.records.errors import UsageError
from finetune.records.events import Listener
from finetune.sources.to_classify import LIST
from finetune.workflows.predict import run_prediction

_BLOCK = 1000  # rows of a table that are laid out together
_STDOUT = Path("-")
_FEW = 32  # lines that are shown together where the progress has to make way for them
Wanted = Callable[[Prediction], bool]
Show = Callable[[Sequence[Prediction]], None]


def predict(asked: Asked) -> bool:
    """Answer what was asked; says whether every image could be read.

    Raises:
        UsageError: a file of answers cannot be written.
    """
    files = _files(asked)
    with progress.listener(verbose=asked.verbose, quiet=asked.quiet) as listener:
        if LIST in map(str, asked.paths) and sys.stdin.isatty():
            listener.note("reading names of images from the keyboard; Ctrl-D ends the list")
        answers = run_prediction(
            asked.paths,
            asked.run,
            top=asked.top or 3,
            device=asked.options.backbone.device,
            listener=listener,
            files=files,
            listed=sys.stdin.buffer if LIST in map(str, asked.paths) else None,
            doubts=asked.doubt,
        )
        show: Show = render.show_predictions
        lines = asked.json or asked.jsonl == _STDOUT
        wanted: Wanted = _all
        size = _BLOCK
        if lines:
            show, size = _lines, _FEW if sys.stdout.isatty() else 1
        elif files.answers:
            wanted = _none
        elif files.sort_into is not None:
            wanted, size = _unread, _FEW
        counts = _shown(answers, show, wanted, size, listener)
    if files.sort_into is not None and not files.answers and not lines:
        render.show_sorted(files.sort_into, {n: c for n, c in counts.items() if n is not None})
    return not counts[None]


def _files(asked: Asked) -> AnswerFiles:
    """Where answers go, once it is known that they can."""
    files = AnswerFiles(
        csv=asked.csv_file,
        jsonl=None if asked.jsonl == _STDOUT else asked.jsonl,
        parquet=asked.parquet,
        features=asked.features,
        sort_into=asked.sort_into,
        sort_by=asked.sort_by,
        resume=asked.options.output.resume,
        columns=asked.top or 1,
    )
    named = {f"--{name}": path for name, path in files.answers.items()}
    if files.features is not None:
        named["--features"] = files.features
    for flag, path in named.items():
        csv_files.require(flag, path, asked.paths)
        if list(named.values()).count(path) > 1:
            raise UsageError(f"{flag} {path} is named twice", hint="Give each its own file.")
    return files


def _shown(
    answers: Iterable[Prediction],
    show: Show,
    wanted: Wanted,
    size: int,
    listener: Listener,
) -> Counter[str | None]:
    """Show answers as they come, some at a time; counts them by folder, None: unreadable."""
    counts: Counter[str | None] = Counter()
    rest = iter(answers)
    while some := list(islice(rest, size)):
        counts.update(sorting.folder_of(answer) for answer in some)
        told = [answer for answer in some if wanted(answer)]
        if told:
            with progress.paused(listener):
                show(told)
    return counts


def _lines(some: Sequence[Prediction]) -> None:
    for answer in some:
        style.show_line(answer_files.line(answer).decode())


def _all(_answer: Prediction) -> bool:
    return True


def _none(_answer: Prediction) -> bool:
    """They are in a file."""
    return False


def _unread(answer: Prediction) -> bool:
    return answer.error is not None
