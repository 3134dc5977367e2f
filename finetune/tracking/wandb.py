"""Weights & Biases: online where an account is known here, else in a folder to be synced later."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from finetune.records.training import EpochRecord
from finetune.tracking.outcome import Outcome, Parameters, curves


class Wandb:
    """One run; its curves are over their epochs."""

    def __init__(self, project: str, name: str, parameters: Parameters) -> None:
        import wandb  # noqa: PLC0415 - optional, and a second to import

        self._wandb = wandb
        settings = wandb.Settings(console="off", silent=True, quiet=True, x_disable_stats=True)
        self._run: Any = wandb.init(
            project=project,
            name=name,
            config=parameters,
            mode=_mode(),
            reinit="create_new",
            save_code=False,
            settings=settings,
        )
        self._known: set[str] = set()
        place = Path(self._run.dir).parent
        offline = self._run.settings.mode != "online"
        self.place = f"{place}; wandb sync {place}" if offline else str(self._run.url)

    def epoch(self, curve: str, record: EpochRecord) -> None:
        """As `Tracker`."""
        if curve not in self._known:
            self._known.add(curve)
            self._run.define_metric(f"{curve}/epoch", hidden=True)
            self._run.define_metric(f"{curve}/*", step_metric=f"{curve}/epoch")
        values = {f"{curve}/{name}": value for name, value in curves(record).items()}
        self._run.log({**values, f"{curve}/epoch": record.epoch})

    def end(self, outcome: Outcome | None) -> None:
        """As `Tracker`."""
        if outcome is None:
            self._run.finish(exit_code=1)
            return
        self._run.config.update(outcome.parameters)
        self._run.summary.update({**outcome.metrics, "result": outcome.summary})
        head, *rows = csv.reader(outcome.confusion.splitlines())
        self._run.log({"confusion": self._wandb.Table(columns=head, data=rows)})
        files = self._wandb.Artifact(f"run-{self._run.id}", type="run")
        for path in outcome.files:
            files.add_file(str(path))
        self._run.log_artifact(files)
        self._run.finish()


def _mode() -> Any:
    """What the environment asks for; offline where nobody has logged in: it would ask for a key."""
    import wandb  # noqa: PLC0415 - as above

    return os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")


def start(project: str, name: str, parameters: Parameters) -> Wandb:
    """A run in the folder of `WANDB_DIR`, or in `./wandb`."""
    return Wandb(project, name, parameters)
