"""A training that may be killed: what it has done so far is kept beside the place of its run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from finetune.records.backbone_choice import BackboneChoice
from finetune.records.codec import to_json
from finetune.records.dataset import Splits
from finetune.records.decision import Forecast
from finetune.records.errors import RunError
from finetune.records.events import Listener
from finetune.records.file_names import BEGUN, FACTS
from finetune.records.options import Options, Request
from finetune.records.run import RunFacts, RunResult
from finetune.records.target_result import TargetResult
from finetune.records.training import Begun
from finetune.runs import same
from finetune.runs.fit_slot import Slot
from finetune.runs.places import (
    BEFORE,
    BY_RULE,
    FIT,
    RUN,
    absolute,
    claimed,
    empty,
    fits,
    place,
    recorded,
    require_ours,
    require_outside,
    stored,
    told,
    unfinished,
    worth_going_on,
    written_run,
)
from finetune.storage import atomic_files, locks


class Progress:
    """The folder of a training that is under way, held by this process alone.

    `over` says that nothing in it is of use any more, so that it is removed at the end.
    """

    def __init__(self, folder: Path, begun: Begun) -> None:
        self.folder = folder
        self.begun = begun
        self.over = False

    @property
    def aside(self) -> Path:
        """Where a run is written before it is renamed to its place."""
        return self.folder / RUN

    @property
    def replaced(self) -> Path:
        """Where an interrupted run goes when a better one takes its place."""
        return self.folder / BEFORE

    @property
    def fits(self) -> list[Path]:
        """The files of the fits of which an epoch has been kept."""
        return fits(self.folder)

    @property
    def worth_keeping(self) -> bool:
        """Whether --resume could go on from here."""
        return not self.over and (bool(self.fits) or self.earlier is not None)

    @property
    def earlier(self) -> RunResult | TargetResult | None:
        """The run that this training has written already: interrupted, or all of it."""
        return written_run(self.begun)

    def slot(self, *parts: bytes, final: bool = False) -> Slot:
        """The place of one fit, which is told from the training's others by some bytes."""
        key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
        return Slot(self.folder / f"{key}{FIT}", final)

    def begin(self) -> None:
        """Tell what is to be trained, so that a list of runs can."""
        if not stored(self.folder / BEGUN, Begun):
            self._write(self.begun)

    def settle(self, splits: Splits, backbone: str, versions: dict[str, str]) -> None:
        """Tell what is trained on what, now that it is known.

        Raises:
            RunError: what was kept came of other images, weights or versions.
        """
        images = hashlib.sha256(to_json(splits).encode()).hexdigest()
        begun = replace(self.begun, images=images, backbone=backbone, versions=versions)
        if self.fits:
            same.require_same(self.folder, self.begun, begun)
        self._write(begun)

    def keep_forecasts(self, forecasts: tuple[Forecast, ...]) -> None:
        """Remember the timing that a decision rests on: another day it would be another."""
        self._write(replace(self.begun, forecasts=forecasts))

    def keep_choice(self, choice: BackboneChoice) -> None:
        """Remember the backbone that was chosen: another day's timing could lead to another."""
        self._write(replace(self.begun, backbone_choice=choice))

    def keep_place(self, run: Path) -> None:
        """Remember where the run goes, so that one which is there is known to be ours."""
        self._write(replace(self.begun, run=absolute(run)))

    def _write(self, begun: Begun) -> None:
        with told(self.folder):
            atomic_files.put(self.folder / BEGUN, to_json(begun).encode())
        self.begun = begun


@contextlib.contextmanager
def opened(options: Options, home: Path, listener: Listener) -> Iterator[Progress]:
    """Hold the folder of a training's progress; it is removed unless there is something to keep.

    Args:
        options: What is to be trained; `resume` says whether to go on from what was kept.
        home: Where runs without `--out` go.
        listener: Hears what is gone on from.

    Raises:
        RunError: another process trains there, an unfinished training is there and `resume` was
            not asked for, what is there is of another request or not finetune's, or nothing can
            be written there.
        UsageError: that place, or the run's, lies in the data folder.
    """
    first, out = place(options, home), options.output.out
    require_outside(options.data.root, home if out is None else Path(out), first)
    made = [p for p in first.parents if not p.exists()]
    with contextlib.ExitStack() as stack:
        folder = claimed(first, options.output, stack)
        progress = None
        try:
            progress = Progress(folder, _begun(folder, options, home, listener))
            progress.begin()
            yield progress
        finally:
            gone = progress is not None and not progress.worth_keeping
            if gone:
                _remove(folder, made)
            stack.close()
            if gone and not locks.OPEN_FILES_CAN_GO:
                _remove(folder, made)


def _remove(folder: Path, made: Sequence[Path]) -> None:
    """Delete what was made for a training; what cannot go is told by the next one."""
    with contextlib.suppress(OSError):
        empty(folder)
    for path in (folder, *made):
        with contextlib.suppress(OSError):  # something else is in it by now
            path.rmdir()


def _begun(folder: Path, options: Options, home: Path, listener: Listener) -> Begun:
    """What is gone on with: what was kept, or a fresh start."""
    asked = options.output
    new, old = Begun(request=recorded(options)), unfinished(folder)
    if old is None and asked.resume:
        done = _finished(home, new) if asked.out is None else _taken(asked.out, new)
        if done is not None:
            return done
    written = None if old is None else written_run(old)
    worth = old is not None and worth_going_on(folder, old)
    if old is not None and worth and asked.resume:
        same.require_same(folder, old, replace(old, request=new.request))
        return old
    if old is not None and worth and (written is None or written.stopped is not None):
        raise RunError(
            f"{folder} holds an unfinished training",
            hint=f"Add --resume to go on with it, or remove {folder} to train again.",
        )
    if asked.resume:
        listener.note(f"nothing to resume: no epoch was kept in {folder}; training from the start")
    with told(folder):
        require_ours(folder)
        empty(folder, but=atomic_files.LOCK)
    return new


def _finished(home: Path, new: Begun) -> Begun | None:
    """The newest training of the same request whose finished run lies in a folder of runs."""
    found = []
    for file in home.glob(f"*/{FACTS}"):
        facts = stored(file, RunFacts)
        if facts is not None and _same(facts.request, new.request):
            found.append((facts.created, str(file.parent)))
    for _, run in sorted(found, reverse=True):
        result = written_run(done := replace(new, run=run))
        if result is not None and result.stopped is None:
            return done
    return None


def _taken(out: str, new: Begun) -> Begun | None:
    """The same training where `--out` is its finished run; None where no run is there.

    Raises:
        RunError: a run of another training is there, or one that cannot be gone on with.
    """
    facts = stored(Path(out) / FACTS, RunFacts)
    result = written_run(done := replace(new, run=out))
    if facts is None or result is None or facts.request is None:
        return None  # whatever is there is told by who looks for a place
    if result.stopped is not None:
        raise RunError(
            f"{out} was stopped, and nothing was kept to go on from: {result.stopped.text}",
            hint="Train from the start: give another --out, or remove it first.",
        )
    if _same(facts.request, new.request):
        return done
    other = same.differences(facts.request, new.request)
    if facts.request.root != new.request.root:
        other.append(f"the folder of images was {facts.request.root}")
    raise RunError(
        f"{out} exists already, a finished run ({summary(result)}) with other options: "
        f"{'; '.join(other)}",
        hint=f"Train with these from the start: {_once_more(out, facts.request, new.request)}",
    )


def summary(result: RunResult | TargetResult) -> str:
    """What a run is, in a few words."""
    if isinstance(result, TargetResult):
        return f"{result.strategy}, {result.verdict}"
    known = result.test or result.estimate
    images = "test images" if result.test else result.estimate_source
    return f"{result.strategy}, {known.accuracy:.1%} accuracy on {known.n} {images}"


def _same(asked: Request | None, new: Request) -> bool:
    return asked is not None and replace(asked, command="") == replace(new, command="")


def _once_more(out: str, old: Request, new: Request) -> str:
    """The command that repeats a run with other options, to paste."""
    words = ["finetune", "train"]
    if old.root != new.root:
        words.append(new.root)
    words += ["--from-run", out]
    for flag, before, now in same._pairs(old, new):
        if before == now or now in (None, BY_RULE) or (flag == "--strict" and not now):
            continue
        if isinstance(now, bool):
            words.append(flag if now else flag.replace("--", "--no-", 1))
        else:
            words += [flag, f"{now}s" if flag == "--max-latency" else str(now)]
    place, number = f"{out}-2", 3
    while os.path.lexists(place):
        place, number = f"{out}-{number}", number + 1
    return shlex.join([*words, "--out", place])
