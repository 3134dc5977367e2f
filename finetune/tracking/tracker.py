"""A listener that hands on what it hears, and tells trackers of it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from finetune.records.errors import UsageError, first_line
from finetune.records.events import Listener
from finetune.records.option_tracking import TRACKERS
from finetune.records.training import EpochRecord
from finetune.tracking.outcome import Outcome, Parameters

# The module that each of them needs.
_NEEDS = dict(zip(TRACKERS, ("tensorboard", "mlflow", "wandb", "trackio"), strict=True))


class Tracker(Protocol):
    """Where a training is told to while it goes on."""

    place: str

    def epoch(self, curve: str, record: EpochRecord) -> None:
        """An epoch of one of the trainings, which `curve` names, has ended."""

    def end(self, outcome: Outcome | None) -> None:
        """It is over; with None it has failed."""


Start = Callable[[str, str, Parameters], Tracker]


def require(names: Sequence[str]) -> tuple[str, ...]:
    """The trackers that are asked for, each once.

    Args:
        names: As they were given; one may be several with commas between them.

    Raises:
        UsageError: one that there is not, or whose package is not installed.
    """
    found = [word.strip() for name in names for word in name.split(",") if word.strip()]
    for name in found:
        if name not in _NEEDS:
            raise UsageError(f"--track is '{name}'", hint=f"Give one of {', '.join(_NEEDS)}.")
        if not _installed(_NEEDS[name]):
            raise UsageError(
                f"--track {name} needs a package that is not installed",
                hint="pip install 'finetune-images[track]'",
            )
    return tuple(dict.fromkeys(found))


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _start(name: str) -> Start:
    """What begins with a tracker; its file is read only where it is asked for."""
    found: Start = importlib.import_module(f"finetune.tracking.{name}").start
    return found


def _unheard(*_: object, **__: object) -> None:
    """Shows a warning to nobody."""


class TrackedListener:
    """Hears of a training, hands it on, and tells the trackers of each epoch.

    A tracker that fails is told once and left alone: the training goes on.

    Args:
        listener: Who hears all of it.
        names: From `require`.
        project: What the training belongs to: the name of its images' folder.
        name: What it is called.
        parameters: What was asked for.
    """

    def __init__(
        self,
        listener: Listener,
        names: Sequence[str],
        *,
        project: str,
        name: str,
        parameters: Parameters,
    ) -> None:
        self._listener = listener
        self._trackers: dict[str, Tracker] = {}
        self._curve, self._epochs = "training", dict[str, int]()
        for one in names:
            with self._guarded(one):
                self._trackers[one] = _start(one)(project, name, parameters)

    def step(self, name: str) -> None:
        """As `Listener`; its words name the curves that follow."""
        self._listener.step(name)
        self._curve = re.sub(r"\W+", "-", name.partition(":")[0]).strip("-") or "training"

    def progress(self, done: int, total: int) -> None:
        """As `Listener`."""
        self._listener.progress(done, total)

    def epoch(self, record: EpochRecord) -> None:
        """As `Listener`."""
        self._listener.epoch(record)
        curve = self._named(record.epoch)
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name):
                tracker.epoch(curve, record)

    def note(self, text: str) -> None:
        """As `Listener`."""
        self._listener.note(text)

    def detail(self, text: str) -> None:
        """As `Listener`."""
        self._listener.detail(text)

    def end(self, outcome: Outcome | None) -> None:
        """Tell the trackers what has come of it, and a person where to find it."""
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name):
                tracker.end(outcome)
                if outcome is not None:
                    self._listener.note(f"{name}: {tracker.place}")

    def _named(self, epoch: int) -> str:
        """The curve of an epoch: one that begins once more, as in the next fold, gets a number."""
        name, number = self._curve, 1
        while epoch <= self._epochs.get(name, 0):
            number += 1
            name = f"{self._curve}-{number}"
        self._epochs[name] = epoch
        return name

    @contextlib.contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """What a tracker says on stdout is not the answer; what it raises does not end the run."""
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                # theirs are of no concern here; MLflow sets filters of its own
                warnings.simplefilter("ignore")
                warnings.showwarning = _unheard
                yield
        except Exception as error:  # trackers raise all sorts of things
            self._trackers.pop(name, None)
            self._listener.note(
                f"{name} is told no more of this training, which goes on: {first_line(error)}"
            )
