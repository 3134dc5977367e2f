"""What test modules share beside the fixtures: the sample data, a listener, a short `train`."""

from __future__ import annotations

from pathlib import Path

from finetune import pipeline
from finetune.records import EpochRecord, Request, RunResult

SAMPLE = Path(__file__).parents[1] / "sample_data" / "leaves"


class Recorder:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.epochs: list[EpochRecord] = []
        self.notes: list[str] = []
        self.last = (0, 0)

    def step(self, name: str) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        self.last = (done, total)

    def epoch(self, record: EpochRecord) -> None:
        self.epochs.append(record)

    def note(self, text: str) -> None:
        self.notes.append(text)


def train(root: Path, out: Path, **options: object) -> RunResult:
    """The main job by the table's letter, which costs no trials, unless the options say else."""
    options = {"policy": "table", **options}
    return pipeline.run_training(Request(root=str(root), out=str(out), **options), Recorder())  # type: ignore[arg-type]
