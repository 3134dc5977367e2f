"""A finished model is kept: what goes wrong after its training becomes a finding of its run."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shlex
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from finetune import data, export, health, probe, realise, report, resume, runs, strategy, verdict
from finetune.data import Kind
from finetune.errors import (
    INTERRUPTED,
    FinetuneError,
    RunError,
    TakenError,
    TrainingError,
    UsageError,
    first_line,
    out_of_memory,
    safe_name,
)
from finetune.records import (
    DatasetProfile,
    Finding,
    HeadFacts,
    Metrics,
    Recommendation,
    RunFacts,
    RunResult,
    Splits,
    StageScore,
    Standing,
    Stop,
    T,
)
from finetune.resume import Progress
from finetune.survey import Clock, Survey

UNTESTED = Kind(
    "FT201",
    "error",
    "the model could not be tested",
    "It is kept as it is. Mend the cause, then measure it: finetune evaluate DIR --unseen.",
)
NO_NETWORK = Kind(
    "FT202",
    "warning",
    "no inference file could be written",
    "The model is whole; predictions load torch, which takes seconds.",
)
NO_REPORT = Kind(
    "FT203", "error", "report.html could not be made", "Its figures are in result.json, too."
)
ELSEWHERE = Kind(
    "FT204",
    "error",
    "the run is not where it was to go",
    "Move its folder as it is to where there is room.",
)
UNCOMPARED = Kind(
    "FT205",
    "error",
    "near copies of training images could not be looked for in the test",
    "Mend the cause; finetune check DIR looks for them.",
)
BUG = Kind(
    "FT209",
    "error",
    "a bug of ours after the training",
    "The model is kept. Please report it with the lines of the traceback.",
)
KINDS = (UNTESTED, NO_NETWORK, NO_REPORT, ELSEWHERE, UNCOMPARED, BUG)


@dataclass(frozen=True)
class _Place:
    """Where a run may be written: `aside` first, on the same file system.

    `replaced` is where an interrupted run goes that stands there; `why` it is not where it was to
    go, empty where it is; `small` leaves out the inference file.
    """

    path: Path
    aside: Path
    replaced: Path | None = None
    why: str = ""
    small: bool = False


@dataclass(frozen=True)
class _Draft:
    """All of a run but its place."""

    model: realise.Model
    head: probe.Head
    advice: Recommendation
    test: realise.Test | None
    findings: tuple[Finding, ...]
    network: tuple[bytes, bytes] | None
    fault: BaseException | None


@dataclass
class Keeper:
    """Writes the run of a model, whatever happens.

    `faults` has what went wrong after the training, by code.
    """

    seen: Survey
    stages: tuple[StageScore, ...]
    measured: DatasetProfile
    progress: Progress
    clock: Clock
    now: datetime
    faults: dict[str, Finding] = field(default_factory=dict)

    def attempt(self, kind: Kind, work: Callable[[], T]) -> T | None:
        """What some work gives; where it fails, a fault of that kind, and a bug if unforeseen."""
        try:
            return work()
        except Exception as error:
            why = _why(error)
            if why is None:
                for line in "".join(traceback.format_exception(error)).splitlines():
                    self.seen.listener.note(line)
                why = first_line(error)
                self.add(BUG, why)
            self.add(kind, why)
            return None

    def add(self, kind: Kind, why: str) -> None:
        """Take note of a fault."""
        finding = kind.finding(f"{kind.title}: {why}", ())
        self.seen.listener.note(finding.title)
        self.faults[kind.code] = finding

    def test(self, model: realise.Model) -> realise.Test | None:
        """The one test; None where it could not be made, which is a fault."""
        wanted = self.seen.splits.test
        test = self.attempt(UNTESTED, lambda: realise.examine(self.seen, model, self.clock))
        if test is not None and not len(test.labels):
            self.add(UNTESTED, f"none of the {len(wanted)} test images can be read")
        return test

    def keep(
        self,
        model: realise.Model,
        advice: Recommendation,
        test: realise.Test | None,
        fault: BaseException | None,
    ) -> RunResult:
        """Write the run where it was to go, else where that can be done.

        Args:
            model: What is kept.
            advice: Why it is this one.
            test: What the test images have shown.
            fault: What ended the training before its time.

        Raises:
            RunError: it can be written nowhere; the epochs that were kept stay.
        """
        head = realise.stored(model.head)
        with self.clock.step("save", "writing the run"):
            network = None if fault is not None else self._network(model, head)
            draft = _Draft(model, head, advice, test, self._late(test), network, fault)
            found: list[RunError] = []
            for place in self._places(draft, found):
                try:
                    result = self._write(draft, place)
                    break
                except RunError as error:
                    found.append(error)
                    self.seen.listener.note(error.message)
            else:
                raise self._lost(found[0])
        return replace(result, seconds=self.clock.total())

    def place(self, name: str) -> tuple[Path, Path | None]:
        """Where the run goes, and where to put an interrupted one of this training that is there.

        Raises:
            RunError: the place is taken, or cannot be written.
        """
        request, earlier = self.seen.request, self.progress.earlier
        return place(request.out, request.root, earlier, self.progress, name, self.now)

    def _late(self, test: realise.Test | None) -> tuple[Finding, ...]:
        """What the test images have shown, once they were looked at."""
        if test is None:
            return ()
        examined, root = self.seen.examined, Path(self.seen.request.root)
        late = self.attempt(UNCOMPARED, lambda: health.late_findings(examined, root))
        return test.findings + (late or ())

    def _network(self, model: realise.Model, head: probe.Head) -> tuple[bytes, bytes] | None:
        """The run's inference file; why there is none is told."""
        if self.seen.body.device != "cpu":
            self.seen.listener.note(
                "no inference file, predictions will need torch: it was trained on a GPU"
            )
            return None
        given = (model.graph, head, model.taps, model.side_px, model.runtime, self.progress.folder)
        made = self.attempt(NO_NETWORK, lambda: export.inference_file(*given))
        network, why = made or (None, "")
        if why:
            self.add(NO_NETWORK, why)
        return network

    def _places(self, draft: _Draft, found: list[RunError]) -> Iterator[_Place]:
        """Where to write, one after the other, until it is done; `found` has what went wrong."""
        name, out, aside = draft.model.strategy, self.seen.request.out, self.progress.aside
        last = None if out is None else _Place(Path(out), aside)
        try:
            path, replaced = self.place(name)
            last = _Place(path, aside, replaced)
        except RunError as error:
            found.append(error)
        else:
            yield last
        while last is not None and isinstance(found[-1], TakenError):
            why = "" if out is None else found[0].message
            last = _Place(runs.beside(last.path), aside, why=why)
            yield last
        if last is not None and draft.network is not None:
            yield replace(last, small=True)
        for home in self._elsewhere():
            with contextlib.suppress(RunError, OSError):
                other = home / f"{self.now:%Y%m%d-%H%M%S}-{os.getpid()}-{name}"
                hidden = home / f".finetune-{os.getpid()}"
                yield _Place(other, hidden, why=found[0].message)

    def _elsewhere(self) -> Iterator[Path]:
        """Folders on other disks, perhaps; never in the data folder."""
        with contextlib.suppress(UsageError):
            resume.require_outside(self.seen.request.root, runs.HOME)
            yield runs.HOME
        with contextlib.suppress(OSError, UsageError):
            base = Path(tempfile.gettempdir())
            resume.require_outside(self.seen.request.root, base)
            yield Path(tempfile.mkdtemp(prefix="finetune-kept-"))

    def _write(self, draft: _Draft, place: _Place) -> RunResult:
        """Write the run at a place; raises `RunError` where that cannot be done."""
        seen, model = self.seen, draft.model
        self.faults.pop(ELSEWHERE.code, None)
        network = None if place.small else draft.network
        if place.small:
            self.add(NO_NETWORK, "there is no room for it")
        if place.why:
            self.add(ELSEWHERE, place.why)
        result = self._result(draft, str(place.path))
        facts = _facts(seen, model, result, self.now)
        told = (facts, result, self.measured, model.history, strategy.actions())
        page = self.attempt(NO_REPORT, lambda: report.to_html(*told))
        if page is None:
            result = self._result(draft, str(place.path))
        with contextlib.suppress(RunError):  # on a full disk; a run of the same request is ours
            self.progress.keep_place(place.path)
        runs.save(
            place.path,
            facts,
            result,
            tensors=runs.pack(
                model.tensors(),
                draft.head.weight.astype(np.float32),
                draft.head.bias.astype(np.float32),
            ),
            history=model.history,
            splits=seen.splits,
            report=page,
            aside=place.aside,
            replaced=place.replaced,
            network=network,
        )
        return result

    def _result(self, draft: _Draft, run: str) -> RunResult:
        seen, model, tested = self.seen, draft.model, draft.test
        test, errors = None, None
        if tested is not None and len(tested.labels):
            test = self.attempt(UNTESTED, lambda: realise.metrics(seen, tested))
            errors = self.attempt(UNTESTED, lambda: realise.errors(seen, tested))
        standing = _standing(test, model)
        return RunResult(
            run=safe_name(run),
            strategy=model.strategy,
            requested_strategy=seen.request.strategy,
            classes=seen.dataset.classes,
            counts=counts(seen.splits),
            test=test,
            estimate=model.estimate,
            estimate_source=model.estimate_source,
            stages=self.stages,
            recommendation=draft.advice,
            floor=model.floor,
            findings=(
                *(*seen.findings, *draft.findings, *standing.findings),
                *self.faults.values(),
            ),
            seconds=self.clock.total(),
            stopped=_stop(draft.fault, model, decided=draft.advice.policy != "undecided"),
            failed=self._failed(safe_name(run)),
            errors=errors or (),
            better_than_commonest=standing.better,
            verdict=standing.text,
        )

    def _failed(self, run: str) -> Stop | None:
        """What the faults come to: the worst of them, and what to do."""
        if BUG.code in self.faults:
            what = self.faults[BUG.code]
            return Stop(f"{what.title}; the model is kept in {run}", what.hint, 1)
        if ELSEWHERE.code in self.faults:
            wanted = shlex.quote(self.seen.request.out or str(runs.HOME))
            return Stop(
                f"{self.faults[ELSEWHERE.code].title}; it is kept in {run}",
                f"Make room, then move it: mv {shlex.quote(run)} {wanted}",
                FinetuneError.exit_code,
            )
        if UNTESTED.code in self.faults:
            root = shlex.quote(safe_name(self.seen.request.root))
            return Stop(
                f"{self.faults[UNTESTED.code].title}; it is kept in {run}",
                f"Mend that, then: finetune evaluate {root} --unseen --run {shlex.quote(run)}",
                FinetuneError.exit_code,
            )
        return None

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


def place(
    out: str | None,
    root: str,
    earlier: RunResult | None,
    progress: Progress,
    name: str,
    now: datetime,
) -> tuple[Path, Path | None]:
    """Where the run of a request goes, as `Keeper.place` has it.

    Args:
        out: The user's word.
        root: The data folder.
        earlier: What this training has written already.
        progress: Of the training.
        name: The strategy.
        now: When it began.
    """
    if out is not None and earlier is not None and earlier.stopped is not None:
        path = Path(out)
        if resume.absolute(path) == progress.begun.run:
            resume.require_only_a_run(path)
            return path, progress.replaced
    return runs.choose_folder(out, Path(root), name, now.astimezone()), None


def counts(splits: Splits) -> dict[str, int]:
    """How many images each part has."""
    return {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)}


def versions() -> dict[str, str]:
    """Of all that the numbers of a training depend on."""
    names = ("finetune", "torch", "timm", "numpy", "pillow", "openvino")
    return {
        "python": platform.python_version(),
        **{n: importlib.metadata.version(n) for n in names},
    }


def _why(error: Exception) -> str | None:
    """What a user can mend, in words; None for a bug of ours."""
    if isinstance(error, FinetuneError):
        return error.message
    if out_of_memory(error):
        return first_line(error)
    if isinstance(error, OSError) and error.strerror:
        name = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        return f"{name}{error.strerror}"
    return None


def _stop(fault: BaseException | None, model: realise.Model, *, decided: bool) -> Stop | None:
    """What ended the training, what was kept and what to do."""
    kept = f"kept is {model.strategy}, the best that was proved by then"
    if not decided:
        kept = f"nothing was decided yet, kept is {model.strategy}, the best probe"
    if isinstance(fault, TrainingError):
        return Stop(f"{fault.message}; {kept}", fault.hint, fault.exit_code)
    if fault is None:
        return None
    hint = "Give the same command with --resume to go on."
    return Stop(f"interrupted: {kept}", hint, INTERRUPTED)


def _standing(test: Metrics | None, model: realise.Model) -> Standing:
    """Whether the model is better than always answering the commonest class."""
    estimate = model.estimate, f"{model.estimate.n} {model.estimate_source.partition(',')[0]}"
    if test is None:
        return verdict.against_commonest(*estimate)
    return verdict.against_commonest(test, f"{test.n} test images", estimate)


def _facts(seen: Survey, model: realise.Model, result: RunResult, now: datetime) -> RunFacts:
    known = result.test or model.estimate
    source = f"{known.n} test images" if result.test else model.estimate_source
    asked = resume.recorded(seen.request)
    return RunFacts(
        created=now.isoformat(timespec="microseconds"),
        strategy=model.strategy,
        classes=seen.dataset.classes,
        backbone=seen.facts,
        preprocess=replace(seen.facts.preprocess, side_px=model.side_px, scales=seen.scales),
        head=HeadFacts(model.taps, model.head.temperature),
        plan=result.recommendation.plan,
        seed=seen.request.seed,
        command=asked.command,
        data_root=asked.root,
        data_fingerprint=data.fingerprint(seen.splits.fitting),
        versions=versions(),
        accuracy=known.accuracy,
        accuracy_source=source if result.stopped is None else f"{source}; stopped early",
        request=asked,
    )
