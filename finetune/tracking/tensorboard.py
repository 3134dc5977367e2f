"""TensorBoard: one folder of events a training, below `tensorboard/` where the command runs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from finetune.records.training import EpochRecord
from finetune.tracking.outcome import Outcome, Parameters, curves

HOME = "TENSORBOARD_LOGDIR"


class TensorBoard:
    """Writes events as TensorBoard itself does; torch is not needed."""

    def __init__(self, folder: Path, parameters: Parameters) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2  # noqa: PLC0415 - optional
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: PLC0415

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writer = EventFileWriter(str(folder))
        self.place = f"{folder}; tensorboard --logdir {folder.parent}"
        self._text("options", _table(parameters))

    def epoch(self, curve: str, record: EpochRecord) -> None:
        """As `Tracker`."""
        values = [(f"{curve}/{name}", value) for name, value in curves(record).items()]
        self._scalars(values, record.epoch)
        self._writer.flush()

    def end(self, outcome: Outcome | None) -> None:
        """As `Tracker`; a report has no place there, so its path is told."""
        if outcome is not None:
            self._scalars(list(outcome.metrics.items()), 0)
            self._text("plan", _table(outcome.parameters))
            files = "\n".join(f"* {path.absolute()}" for path in outcome.files)
            self._text("result", f"{outcome.summary}\n\n{files}")
            self._text("confusion", _matrix(outcome.confusion))
        self._writer.close()

    def _scalars(self, values: list[tuple[str, float]], step: int) -> None:
        rows = [self._summary.Value(tag=tag, simple_value=value) for tag, value in values]
        self._add(self._summary(value=rows), step)

    def _text(self, tag: str, text: str) -> None:
        from tensorboard.plugins.text import metadata  # noqa: PLC0415 - optional
        from tensorboard.util.tensor_util import make_tensor_proto  # noqa: PLC0415

        value = self._summary.Value(
            tag=f"{tag}/text_summary",
            metadata=metadata.create_summary_metadata(tag, ""),
            tensor=make_tensor_proto(np.array([text.encode()], object)),
        )
        self._add(self._summary(value=[value]), 0)

    def _add(self, summary: Any, step: int) -> None:
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=summary))


def start(project: str, name: str, parameters: Parameters) -> TensorBoard:
    """A folder of its own for a training, in `TENSORBOARD_LOGDIR` or `./tensorboard`."""
    home = Path(os.environ.get(HOME) or "tensorboard") / project
    folder, number = home / name, 2
    while folder.exists():
        folder, number = home / f"{name}-{number}", number + 1
    return TensorBoard(folder, parameters)


def _table(values: Parameters) -> str:
    rows = "".join(f"| {_cell(name)} | {_cell(value)} |\n" for name, value in values.items())
    return f"| name | value |\n| --- | --- |\n{rows}"


def _matrix(text: str) -> str:
    """A CSV text as a table of Markdown."""
    import csv  # noqa: PLC0415 - here alone

    head, *rows = csv.reader(text.splitlines())
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
