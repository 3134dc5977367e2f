"""A finished model is kept: what goes wrong after its training becomes a finding of its run."""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.data import examination
from finetune.decision import doubt, fitted
from finetune.deploy import inference_file
from finetune.heads import ridge
from finetune.records.analysis import DatasetProfile
from finetune.records.codec import T
from finetune.records.dataset import Finding, FindingKind
from finetune.records.decision import Recommendation
from finetune.records.errors import (
    FinetuneError,
    RunError,
    TakenError,
    UsageError,
    first_line,
    safe_name,
)
from finetune.records.labels import LabelIssues
from finetune.records.material import Material
from finetune.records.options import Options
from finetune.records.run import RunFacts, RunResult, Stop
from finetune.runs import places, run_folder, run_tensors
from finetune.runs.resume import Progress
from finetune.workflows import begin, final_test, report_extras, report_material, run_facts
from finetune.workflows.faults import BUG, ELSEWHERE, NO_NETWORK, NO_REPORT, UNCOMPARED, UNTESTED


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

    model: fitted.FittedModel
    head: ridge.Head
    advice: Recommendation
    test: final_test.Test | None
    findings: tuple[Finding, ...]
    network: tuple[bytes, bytes] | None
    material: Material | None
    fault: BaseException | None

    def loaded(self, path: Path, facts: RunFacts) -> run_folder.LoadedRun:
        """The run as it will be read back."""
        original = None if self.model.original is None else dict(self.model.original())
        weight, bias = (part.astype(np.float32) for part in (self.head.weight, self.head.bias))
        return run_folder.LoadedRun(path, facts, dict(self.model.tensors()), weight, bias, original)


@dataclass
class Keeper:
    """Writes the run of a model, whatever happens.

    `labels` are those that look wrong; `richer` is what the report shows, once that was gathered
    for the first place tried; `faults` has what went wrong after the training, by code.
    """

    analysis: Analysis
    probes: Probes
    measured: DatasetProfile
    progress: Progress
    clock: Clock
    now: datetime
    labels: LabelIssues | None = None
    faults: dict[str, Finding] = field(default_factory=dict)
    richer: Material | None = None

    def attempt(self, kind: FindingKind, work: Callable[[], T]) -> T | None:
        """What some work gives; where it fails, a fault of that kind, and a bug if unforeseen."""
        try:
            return work()
        except Exception as error:
            why = run_facts.why(error)
            if why is None:
                for line in "".join(traceback.format_exception(error)).splitlines():
                    self.analysis.listener.note(line)
                why = first_line(error)
                self.add(BUG, why)
            self.add(kind, why)
            return None

    def add(self, kind: FindingKind, why: str) -> None:
        """Take note of a fault."""
        finding = kind.finding(f"{kind.title}: {why}", ())
        self.analysis.listener.note(finding.title)
        self.faults[kind.code] = finding

    def test(self, model: fitted.FittedModel) -> final_test.Test | None:
        """The one test; None where it could not be made, which is a fault."""
        wanted = self.analysis.splits.test
        test = self.attempt(UNTESTED, lambda: final_test.examine(self.analysis, model, self.clock))
        if test is not None and not len(test.labels):
            self.add(UNTESTED, f"none of the {len(wanted)} test images can be read")
        return test

    def keep(
        self,
        model: fitted.FittedModel,
        advice: Recommendation,
        test: final_test.Test | None,
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
        head = ridge.stored(model.head)
        with self.clock.step("save", "writing the run"):
            network = None if fault is not None else self._network(model)
            late, material = self._late(test), self._material(test)
            draft = _Draft(model, head, advice, test, late, network, material, fault)
            found: list[RunError] = []
            for place in self._places(draft, found):
                try:
                    result = self._write(draft, place)
                    break
                except RunError as error:
                    found.append(error)
                    self.analysis.listener.note(error.message)
            else:
                raise self._lost(found[0])
        return replace(result, seconds=self.clock.total())

    def place(self, name: str) -> tuple[Path, Path | None]:
        """Where the run goes, and where to put an interrupted one of this training that is there.

        Raises:
            RunError: the place is taken, or cannot be written.
        """
        return place(self.analysis.options, self.progress, name, self.now)

    def _late(self, test: final_test.Test | None) -> tuple[Finding, ...]:
        """What the test images have shown, once they were looked at."""
        if test is None:
            return ()
        examined, root = self.analysis.examined, self.analysis.root
        late = self.attempt(UNCOMPARED, lambda: examination.late_findings(examined, root))
        return test.findings + (late or ())

    def _network(self, model: fitted.FittedModel) -> tuple[bytes, bytes] | None:
        """The run's inference file; why there is none is told."""
        tested, scratch = (
            model.predictor(self.analysis.scales, self.analysis.box),
            self.progress.folder,
        )
        made = self.attempt(
            NO_NETWORK, lambda: inference_file.inference_file(model.graph, tested, scratch)
        )
        network, why = made or (None, "")
        if why:
            self.add(NO_NETWORK, why)
        return network

    def _material(self, test: final_test.Test | None) -> Material | None:
        """What the report shows beside the result."""
        told = (self.analysis, self.probes, self.measured, test)
        return self.attempt(NO_REPORT, lambda: report_material.gather(*told))

    def _richer(
        self, draft: _Draft, facts: RunFacts, result: RunResult, material: Material
    ) -> Material:
        """The same with what takes longer, where a network was tuned: seconds beside minutes."""
        allowed = report_extras.SHARE * self.clock.total()["total"]
        if not draft.model.history or draft.fault is not None or allowed < report_extras.LEAST_S:
            return material
        from finetune.deploy import explaining  # noqa: PLC0415 - a probe's report needs none

        analysis, listener = self.analysis, self.analysis.listener
        root, device = Path(analysis.options.data.root), analysis.options.backbone.device
        explain = partial(
            explaining.of_parts,
            draft.network,
            facts,
            lambda: draft.loaded(root, facts),
            device,
            listener,
        )
        seconds = min(allowed, report_extras.MOST_EXPLAINING_S)
        told = (facts, result, material, explain, root, seconds, listener)
        material = report_extras.heat_maps(*told)
        images = report_extras.affordable(allowed, analysis.seconds_per_image)
        model = draft.model.predictor(analysis.scales, analysis.box)
        samples = analysis.splits.test
        return report_extras.falls(material, model, root, samples, images, listener)

    def _page(
        self, draft: _Draft, facts: RunFacts, result: RunResult, material: Material
    ) -> str | None:
        """The report."""
        output = self.analysis.options.output
        root = None if output.no_images else Path(self.analysis.options.data.root)
        told = (facts, result, material, draft.model.history, root)
        made = self.attempt(NO_REPORT, lambda: report_material.page(*told))
        return None if made is None else made[0]

    def _places(self, draft: _Draft, found: list[RunError]) -> Iterator[_Place]:
        """Where to write, one after the other, until it is done; `found` has what went wrong."""
        name, out, aside = (
            draft.model.strategy,
            self.analysis.options.output.out,
            self.progress.aside,
        )
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
            last = _Place(run_folder.beside(last.path), aside, why=why)
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
            places.require_outside(self.analysis.options.data.root, run_folder.HOME)
            yield run_folder.HOME
        with contextlib.suppress(OSError, UsageError):
            base = Path(tempfile.gettempdir())
            places.require_outside(self.analysis.options.data.root, base)
            yield Path(tempfile.mkdtemp(prefix="finetune-kept-"))

    def _write(self, draft: _Draft, place: _Place) -> RunResult:
        """Write the run at a place; raises `RunError` where that cannot be done."""
        analysis, model = self.analysis, draft.model
        self.faults.pop(ELSEWHERE.code, None)
        network = None if place.small else draft.network
        if place.small:
            self.add(NO_NETWORK, "there is no room for it")
        if place.why:
            self.add(ELSEWHERE, place.why)
        result = self._result(draft, str(place.path))
        facts = run_facts.facts(analysis, model, result, self.now)
        material, page = draft.material, None
        if material is not None:
            material = self.richer = self.richer or self._richer(draft, facts, result, material)
            page = self._page(draft, facts, result, material)
        if page is None:
            result = self._result(draft, str(place.path))
        with contextlib.suppress(RunError):  # on a full disk; a run of the same request is ours
            self.progress.keep_place(place.path)
        kept = draft.loaded(place.path, facts)
        run_folder.save(
            place.path,
            facts,
            result,
            tensors=run_tensors.pack(
                *(kept.backbone, kept.weight, kept.bias, kept.original, doubt.reference(model))
            ),
            history=model.history,
            splits=analysis.splits,
            report=page,
            aside=place.aside,
            replaced=place.replaced,
            network=network,
            material=material,
        )
        return result

    def _result(self, draft: _Draft, run: str) -> RunResult:
        analysis, model, tested = self.analysis, draft.model, draft.test
        test, errors = None, None
        if tested is not None and len(tested.labels):
            test = self.attempt(UNTESTED, lambda: final_test.measured(analysis, tested))
            errors = self.attempt(UNTESTED, lambda: final_test.wrong_answers(analysis, tested))
        standing = run_facts.standing(test, model)
        return RunResult(
            run=safe_name(run),
            strategy=model.strategy,
            requested_strategy=analysis.options.decision.strategy,
            classes=analysis.dataset.classes,
            counts=begin.counts(analysis.splits),
            test=test,
            estimate=model.estimate,
            estimate_source=model.estimate_source,
            stages=self.probes.table,
            recommendation=draft.advice,
            floor=model.floor,
            findings=(
                *(*analysis.findings, *draft.findings, *standing.findings),
                *self.faults.values(),
            ),
            seconds=self.clock.total(),
            stopped=run_facts.stop(draft.fault, model, decided=draft.advice.policy != "undecided"),
            failed=self._failed(safe_name(run)),
            errors=errors or (),
            better_than_commonest=standing.better,
            verdict=standing.text,
            backbone=analysis.facts.name,
            backbone_choice=analysis.choice,
            parts=model.parts,
            labels=self.labels,
        )

    def _failed(self, run: str) -> Stop | None:
        """What the faults come to: the worst of them, and what to do."""
        if BUG.code in self.faults:
            what = self.faults[BUG.code]
            return Stop(f"{what.title}; the model is kept in {run}", what.hint, 1)
        if ELSEWHERE.code in self.faults:
            wanted = shlex.quote(self.analysis.options.output.out or str(run_folder.HOME))
            return Stop(
                f"{self.faults[ELSEWHERE.code].title}; it is kept in {run}",
                f"Make room, then move it: mv {shlex.quote(run)} {wanted}",
                FinetuneError.exit_code,
            )
        if UNTESTED.code in self.faults:
            root = shlex.quote(safe_name(self.analysis.options.data.root))
            return Stop(
                f"{self.faults[UNTESTED.code].title}; it is kept in {run}",
                f"Fix that, then: finetune evaluate {root} --unseen --run {shlex.quote(run)}",
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
    options: Options, progress: Progress, name: str, now: datetime
) -> tuple[Path, Path | None]:
    """Where the run of a request goes, as `Keeper.place` has it.

    Args:
        options: Of the training.
        progress: What this training has written already.
        name: The strategy.
        now: When it began.
    """
    out, earlier = options.output.out, progress.earlier
    if out is not None and earlier is not None and earlier.stopped is not None:
        path = Path(out)
        if places.absolute(path) == progress.begun.run:
            places.require_only_a_run(path)
            return path, progress.replaced
    return run_folder.choose_folder(out, Path(options.data.root), name, now.astimezone()), None
