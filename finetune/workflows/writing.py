"""Where a finished model is written, whatever happens: what goes wrong then becomes a finding."""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from finetune.analysis.analyze import Analysis
from finetune.deploy import inference_file
from finetune.deploy.predictor import Predictor
from finetune.records.backbone import Box
from finetune.records.codec import T
from finetune.records.dataset import Finding, FindingKind, Scale
from finetune.records.errors import (
    FinetuneError,
    RunError,
    TakenError,
    UsageError,
    first_line,
    safe_name,
)
from finetune.records.events import Listener
from finetune.records.options import Options
from finetune.records.run import Stop
from finetune.runs import places, run_folder
from finetune.runs.resume import Progress
from finetune.workflows import run_facts
from finetune.workflows.faults import BUG, ELSEWHERE, NO_NETWORK, UNTESTED

R = TypeVar("R")


class Answering(Protocol):
    """A model as far as its inference file is concerned."""

    @property
    def graph(self) -> Callable[[], Any]:
        """Gives the converted network."""
        ...

    def predictor(self, scales: tuple[Scale, ...], box: Box) -> Predictor:
        """What answers with it."""
        ...


@dataclass(frozen=True)
class Place:
    """Where a run may be written: `aside` first, on the same file system.

    `replaced` is where an interrupted run goes that stands there; `why` it is not where it was to
    go, empty where it is; `small` leaves out the inference file.
    """

    path: Path
    aside: Path
    replaced: Path | None = None
    why: str = ""
    small: bool = False


@dataclass
class Writer:
    """Finds a place for the run of a request; `faults` has what went wrong, by code."""

    options: Options
    listener: Listener
    progress: Progress
    now: datetime
    faults: dict[str, Finding] = field(default_factory=dict)

    def attempt(self, kind: FindingKind, work: Callable[[], T]) -> T | None:
        """What some work gives; where it fails, a fault of that kind, and a bug if unforeseen."""
        try:
            return work()
        except Exception as error:
            why = run_facts.why(error)
            if why is None:
                for line in "".join(traceback.format_exception(error)).splitlines():
                    self.listener.note(line)
                why = first_line(error)
                self.add(BUG, why)
            self.add(kind, why)
            return None

    def add(self, kind: FindingKind, why: str) -> None:
        """Take note of a fault."""
        finding = kind.finding(f"{kind.title}: {why}", ())
        self.listener.note(finding.title)
        self.faults[kind.code] = finding

    def network(self, analysis: Analysis, model: Answering) -> tuple[bytes, bytes] | None:
        """The run's inference file; why there is none is told."""
        tested = model.predictor(analysis.scales, analysis.box)
        made = self.attempt(
            NO_NETWORK,
            lambda: inference_file.inference_file(model.graph, tested, self.progress.folder),
        )
        network, why = made or (None, "")
        if why:
            self.add(NO_NETWORK, why)
        return network

    def written(self, name: str, write: Callable[[Place], R], *, network: bool) -> R:
        """What `write` gives at the first place where that can be done.

        Args:
            name: The strategy.
            write: Writes the run; raises `RunError` where that cannot be done.
            network: Whether there is an inference file, which may be left out.

        Raises:
            RunError: it can be written nowhere; the epochs that were kept stay.
        """
        found: list[RunError] = []
        for place in self._places(name, found, network=network):
            try:
                return write(place)
            except RunError as error:
                found.append(error)
                self.listener.note(error.message)
        raise self._lost(found[0])

    def begun(self, place: Place) -> None:
        """Take note of what a place costs, and of the place, before it is written."""
        self.faults.pop(ELSEWHERE.code, None)
        if place.small:
            self.add(NO_NETWORK, "there is no room for it")
        if place.why:
            self.add(ELSEWHERE, place.why)

    def failed(self, run: str) -> Stop | None:
        """What the faults come to: the worst of them, and what to do."""
        return _failed(self.faults, self.options, run)

    def _places(self, name: str, found: list[RunError], *, network: bool) -> Iterator[Place]:
        """Where to write, one after the other, until it is done; `found` has what went wrong."""
        out, aside = self.options.output.out, self.progress.aside
        last = None if out is None else Place(Path(out), aside)
        try:
            path, replaced = place_of(self.options, self.progress, name, self.now)
            last = Place(path, aside, replaced)
        except RunError as error:
            found.append(error)
        else:
            yield last
        while last is not None and isinstance(found[-1], TakenError):
            why = "" if out is None else found[0].message
            last = Place(run_folder.beside(last.path), aside, why=why)
            yield last
        if last is not None and network:
            yield replace(last, small=True)
        for home in self._elsewhere():
            with contextlib.suppress(RunError, OSError):
                other = home / f"{self.now:%Y%m%d-%H%M%S}-{os.getpid()}-{name}"
                hidden = home / f".finetune-{os.getpid()}"
                yield Place(other, hidden, why=found[0].message)

    def _elsewhere(self) -> Iterator[Path]:
        """Folders on other disks, perhaps; never in the data folder."""
        with contextlib.suppress(UsageError):
            places.require_outside(self.options.data.root, run_folder.HOME)
            yield run_folder.HOME
        with contextlib.suppress(OSError, UsageError):
            base = Path(tempfile.gettempdir())
            places.require_outside(self.options.data.root, base)
            yield Path(tempfile.mkdtemp(prefix="finetune-kept-"))

    def _lost(self, fault: RunError) -> RunError:
        """What to tell where the run can be written nowhere."""
        if self.progress.fits:
            return RunError(
                f"{fault.message}; the training is kept in {self.progress.folder}",
                hint="Make room and give the same command with --resume: nothing is trained again.",
            )
        return RunError(
            f"{fault.message}; nor could it be written elsewhere",
            hint="Make room and give the same command again: features are known, so it is quick.",
        )


def _failed(faults: Mapping[str, Finding], options: Options, run: str) -> Stop | None:
    if BUG.code in faults:
        what = faults[BUG.code]
        return Stop(f"{what.title}; the model is kept in {run}", what.hint, 1)
    if ELSEWHERE.code in faults:
        wanted = shlex.quote(options.output.out or str(run_folder.HOME))
        return Stop(
            f"{faults[ELSEWHERE.code].title}; it is kept in {run}",
            f"Make room, then move it: mv {shlex.quote(run)} {wanted}",
            FinetuneError.exit_code,
        )
    if UNTESTED.code in faults:
        root = shlex.quote(safe_name(options.data.root))
        return Stop(
            f"{faults[UNTESTED.code].title}; it is kept in {run}",
            f"Fix that, then: finetune evaluate {root} --unseen --run {shlex.quote(run)}",
            FinetuneError.exit_code,
        )
    return None


def place_of(
    options: Options, progress: Progress, name: str, now: datetime
) -> tuple[Path, Path | None]:
    """Where the run goes, and where to put an interrupted one of this training that is there.

    Args:
        options: Of the training.
        progress: What this training has written already.
        name: The strategy.
        now: When it began.

    Raises:
        RunError: the place is taken, or cannot be written.
    """
    out, earlier = options.output.out, progress.earlier
    if out is not None and earlier is not None and earlier.stopped is not None:
        path = Path(out)
        if places.absolute(path) == progress.begun.run:
            places.require_only_a_run(path)
            return path, progress.replaced
    return run_folder.choose_folder(out, Path(options.data.root), name, now.astimezone()), None
