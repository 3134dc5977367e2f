"""A finished model is kept: what goes wrong after its training becomes a finding of its run."""

from __future__ import annotations

import contextlib
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
from finetune.heads import ridge
from finetune.records.analysis import DatasetProfile
from finetune.records.dataset import Finding
from finetune.records.decision import Recommendation
from finetune.records.errors import (
    RunError,
    safe_name,
)
from finetune.records.labels import LabelIssues
from finetune.records.material import Material
from finetune.records.run import RunFacts, RunResult
from finetune.records.start import StartFacts
from finetune.runs import run_folder, run_tensors
from finetune.runs.resume import Progress
from finetune.workflows import begin, final_test, report_extras, report_material, run_facts
from finetune.workflows.faults import NO_REPORT, UNCOMPARED, UNTESTED
from finetune.workflows.writing import Place, Writer


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

    `labels` are those that look wrong, `start` the run that was started from; `richer` is what
    the report shows, once that was gathered for the first place tried; the `writer` knows where to
    write, and what went wrong.
    """

    analysis: Analysis
    probes: Probes
    measured: DatasetProfile
    progress: Progress
    clock: Clock
    now: datetime
    labels: LabelIssues | None = None
    start: StartFacts | None = None
    richer: Material | None = None
    writer: Writer = field(init=False)

    def __post_init__(self) -> None:
        """Find a place for the run as its options say."""
        about = self.analysis
        self.writer = Writer(about.options, about.listener, self.progress, self.now)

    def test(self, model: fitted.FittedModel) -> final_test.Test | None:
        """The one test; None where it could not be made, which is a fault."""
        wanted = self.analysis.splits.test
        test = self.writer.attempt(
            UNTESTED, lambda: final_test.examine(self.analysis, model, self.clock)
        )
        if test is not None and not len(test.labels):
            self.writer.add(UNTESTED, f"none of the {len(wanted)} test images can be read")
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
            network = None if fault is not None else self.writer.network(self.analysis, model)
            late, material = self._late(test), self._material(test)
            draft = _Draft(model, head, advice, test, late, network, material, fault)
            name, ready = model.strategy, network is not None
            result = self.writer.written(name, partial(self._write, draft), network=ready)
        return replace(result, seconds=self.clock.total())

    def _late(self, test: final_test.Test | None) -> tuple[Finding, ...]:
        """What the test images have shown, once they were looked at."""
        if test is None:
            return ()
        examined, root = self.analysis.examined, self.analysis.root
        late = self.writer.attempt(UNCOMPARED, lambda: examination.late_findings(examined, root))
        return test.findings + (late or ())

    def _material(self, test: final_test.Test | None) -> Material | None:
        """What the report shows beside the result."""
        told = (self.analysis, self.probes, self.measured, test)
        return self.writer.attempt(NO_REPORT, lambda: report_material.gather(*told))

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
        made = self.writer.attempt(NO_REPORT, lambda: report_material.page(*told))
        return None if made is None else made[0]

    def _write(self, draft: _Draft, place: Place) -> RunResult:
        """Write the run at a place; raises `RunError` where that cannot be done."""
        analysis, model = self.analysis, draft.model
        self.writer.begun(place)
        network = None if place.small else draft.network
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
            test = self.writer.attempt(UNTESTED, lambda: final_test.measured(analysis, tested))
            errors = self.writer.attempt(
                UNTESTED, lambda: final_test.wrong_answers(analysis, tested)
            )
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
                *self.writer.faults.values(),
            ),
            seconds=self.clock.total(),
            stopped=run_facts.stop(
                draft.fault, model.strategy, decided=draft.advice.policy != "undecided"
            ),
            failed=self.writer.failed(safe_name(run)),
            errors=errors or (),
            better_than_commonest=standing.better,
            verdict=standing.text,
            backbone=analysis.facts.name,
            backbone_choice=analysis.choice,
            parts=model.parts,
            labels=self.labels,
            start=self.start,
        )
