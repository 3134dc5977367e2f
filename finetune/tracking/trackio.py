"""Trackio: a project of its local database, which `trackio show` draws."""

from __future__ import annotations

import csv
from typing import Any

from finetune.records.training import EpochRecord
from finetune.tracking.outcome import Outcome, Parameters, curves


class Trackio:
    """One run of a project."""

    def __init__(self, project: str, name: str, parameters: Parameters) -> None:
        import trackio  # noqa: PLC0415 - optional, and a second to import

        self._trackio = trackio
        self._run: Any = trackio.init(
            project=project,
            name=name,
            config=parameters,
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self.place = f"run {self._run.name}; trackio show --project {project}"
        self._step = 0

    def epoch(self, curve: str, record: EpochRecord) -> None:
        """As `Tracker`; steps go on over all curves, as each of them must be a new one there."""
        self._step += 1
        values = {f"{curve}/{name}": value for name, value in curves(record).items()}
        self._trackio.log({**values, f"{curve}/epoch": record.epoch}, step=self._step)

    def end(self, outcome: Outcome | None) -> None:
        """As `Tracker`."""
        if outcome is not None:
            head, *rows = csv.reader(outcome.confusion.splitlines())
            plan = [[name, str(value)] for name, value in outcome.parameters.items()]
            self._trackio.log(
                {
                    **outcome.metrics,
                    "plan": self._trackio.Table(columns=["name", "value"], data=plan),
                    "confusion": self._trackio.Table(columns=head, data=rows),
                },
                step=self._step + 1,
            )
            for path in outcome.files:
                self._trackio.log_artifact(str(path), name=path.name, type="run")
        self._trackio.finish()


def start(project: str, name: str, parameters: Parameters) -> Trackio:
    """A run in the folder of `TRACKIO_DIR`, or where it keeps its own."""
    return Trackio(project, name, parameters)
