"""The story of `train` for labels and numbers: probes, tuning with proof, a test, a run."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

import numpy as np

from finetune.analysis import target_probes
from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.analysis.target_probes import TargetProbes
from finetune.backbones import ranks
from finetune.decision import target_choice, target_model
from finetune.decision.target_model import TargetModel
from finetune.heads import platt, ridge
from finetune.metrics.one_answer import in_words, standing
from finetune.records.analysis import DatasetProfile, Reason
from finetune.records.choices import TUNED
from finetune.records.dataset import Finding, Target
from finetune.records.decision import Plan
from finetune.records.errors import RunError, safe_name
from finetune.records.run import HeadFacts, RunFacts
from finetune.records.start import StartFacts
from finetune.records.target import TargetMetrics
from finetune.records.target_result import FarAnswer, TargetResult
from finetune.runs import places, run_folder, run_tensors
from finetune.runs.resume import Progress
from finetune.sources import files
from finetune.storage.arrays import Array
from finetune.workflows import begin, final_test, old_target_answers, report_target, run_facts
from finetune.workflows.faults import NO_REPORT, OLD_UNKNOWN, UNTESTED
from finetune.workflows.writing import Place, Writer

WORST = 100  # answers that are kept with the result
POINTS = 500  # of a chart of answers against the truth


@dataclass(frozen=True, kw_only=True)
class _Test:
    """Outputs in units and truth float64[M, K] of the test images, and their losses float64[M]."""

    metrics: TargetMetrics
    worst: tuple[FarAnswer, ...]
    findings: tuple[Finding, ...]
    answers: old_target_answers.Tested
    points: tuple[tuple[float, float], ...] = ()


@dataclass
class TargetTraining:
    """A training under way: whatever is known of it so far can be kept."""

    analysis: Analysis
    strata: Probes
    measured: DatasetProfile
    progress: Progress
    clock: Clock
    now: datetime
    probes: TargetProbes = field(init=False)
    writer: Writer = field(init=False)
    reasons: tuple[Reason, ...] = ()
    model: TargetModel | None = None
    plan: Plan | None = None
    test: _Test | None = None
    start: StartFacts | None = None

    def __post_init__(self) -> None:
        """Leave every image out of the probes, without which there is nothing to keep."""
        options = self.analysis.options
        self.writer = Writer(options, self.analysis.listener, self.progress, self.now)
        self.start = None if self.analysis.choice is None else self.analysis.choice.start
        every = options.decision.strategy not in ("linear-probe", "scratch")
        self.probes = begin.target_probed(self.analysis, self.clock, all_stages=every)

    @property
    def _target(self) -> Target:
        target = self.analysis.dataset.target
        assert target is not None
        return target

    def work(self) -> None:
        """Decide, do it, prove it; raises what ended the training before its time."""
        analysis, clock = self.analysis, self.clock
        chosen = target_choice.choose(analysis, self.strata, self.probes, self.measured, clock)
        self.reasons, self.plan = chosen.reasons, chosen.plan
        for reason in chosen.reasons:
            analysis.listener.detail(reason.text)
        if chosen.strategy in TUNED:
            from finetune.decision import target_tuning  # noqa: PLC0415 - torch, which takes seconds

            self.model = target_tuning.tuned(analysis, self.probes, chosen.plan, clock)
        else:
            self.model = target_model.probed(analysis, self.probes, chosen.strategy)
        if self.model.stopped is not None:
            raise self.model.stopped
        if analysis.splits.test:
            model = self.model
            self.test = test = self.writer.attempt(UNTESTED, lambda: self._tested(model))
            answers = None if test is None else test.answers
            old = self.writer.attempt(
                OLD_UNKNOWN, lambda: old_target_answers.measured(analysis, answers, clock)
            )
            self.start = old or self.start

    def keep(self, fault: BaseException | None) -> TargetResult:
        """Write the run: the model that was made, or the best probe where none was made yet."""
        earlier = self.progress.earlier
        if fault is not None and isinstance(earlier, TargetResult) and earlier.stopped is None:
            return earlier  # all was written when Ctrl-C came
        found = self.model or target_model.probed(self.analysis, self.probes, self.probes.name)
        model = replace(found, head=ridge.stored(found.head))
        with self.clock.step("save", "writing the run"):
            network = None if fault is not None else self.writer.network(self.analysis, model)
            write = partial(self._write, model, network, fault)
            result = self.writer.written(model.strategy, write, network=network is not None)
        return replace(result, seconds=self.clock.total())

    def _tested(self, model: TargetModel) -> _Test | None:
        """The one test, on images that nothing has seen."""
        analysis = self.analysis
        found = final_test.ask(analysis, model, self.clock)
        if not found.samples:
            count = len(analysis.splits.test)
            self.writer.add(UNTESTED, f"none of the {count} test images can be read")
            return None
        known, truth = found.outputs, target_probes.truth_of(found.samples)
        metrics = target_model.measured(analysis, model.facts, known, truth, found.groups)
        answers = old_target_answers.Tested(
            paths=tuple(s.path for s in found.samples),
            outputs=known,
            truth=truth,
            groups=found.groups,
        )
        worst = self._worst(model, known, truth, answers.paths)
        pairs = zip(truth[:POINTS, 0].tolist(), known[:POINTS, 0].tolist(), strict=True)
        points = tuple(pairs) if model.facts.kind == "number" else ()
        return _Test(
            metrics=metrics, worst=worst, findings=found.findings, answers=answers, points=points
        )

    def _worst(
        self, model: TargetModel, known: Array, truth: Array, paths: Sequence[str]
    ) -> tuple[FarAnswer, ...]:
        """The answers with the largest losses, these first."""
        aim, facts, called = self.probes.aim, model.facts, self._target.names
        one, two = known, truth
        if facts.kind == "number":
            deviation, mean = aim.units
            one, two = ((x - mean) / deviation for x in (known, truth))
            said, meant = known, truth
        else:
            said = (platt.probabilities(known) >= facts.thresholds).astype(np.float64)
            meant = truth
        losses = aim.losses(one, two)
        return tuple(
            FarAnswer(
                path=paths[i],
                truth=in_words(facts.kind, called, meant[i]),
                answer=in_words(facts.kind, called, said[i]),
                loss=float(losses[i]),
            )
            for i in np.argsort(-losses, kind="stable")[:WORST].tolist()
        )

    def _write(
        self,
        model: TargetModel,
        network: tuple[bytes, bytes] | None,
        fault: BaseException | None,
        place: Place,
    ) -> TargetResult:
        """Write the run at a place; raises `RunError` where that cannot be done."""
        analysis = self.analysis
        self.writer.begun(place)
        result = self._result(model, str(place.path), fault)
        facts = self._facts(model, result)
        with contextlib.suppress(RunError):  # on a full disk; a run of the same request is ours
            self.progress.keep_place(place.path)
        root = None if analysis.options.output.no_images else analysis.root
        made = self.writer.attempt(
            NO_REPORT, lambda: report_target.page(facts, result, model.history, root)
        )
        page = None if made is None else made[0]
        weight, bias = (part.astype(np.float32) for part in (model.head.weight, model.head.bias))
        run_folder.save(
            place.path,
            facts,
            result,
            tensors=run_tensors.pack(dict(model.tensors()), weight, bias),
            history=model.history,
            splits=self.analysis.splits,
            report=page,
            aside=place.aside,
            replaced=place.replaced,
            network=None if place.small else network,
        )
        return result

    def _result(self, model: TargetModel, run: str, fault: BaseException | None) -> TargetResult:
        analysis, tested = self.analysis, self.test
        plan = model.plan or target_choice.probe_plan(
            analysis, self.strata, self.probes, self.measured, model.strategy
        )
        better, verdict = standing(model.facts.kind, tested.metrics if tested else model.estimate)
        floor = () if model.floor is None else (Reason("floor", model.floor.reason),)
        decided = bool(self.reasons)
        return TargetResult(
            run=safe_name(run),
            target=model.facts.kind,
            loss=model.facts.loss,
            strategy=model.strategy,
            requested_strategy=analysis.options.decision.strategy,
            names=self._target.names,
            counts=begin.counts(analysis.splits),
            test=tested.metrics if tested else None,
            estimate=model.estimate,
            estimate_source=model.estimate_source,
            stages=self.probes.table,
            reasons=(Reason("target", self._target.reason), *self.reasons, *floor),
            plan=plan,
            floor=model.floor,
            findings=(
                *analysis.findings,
                *(tested.findings if tested else ()),
                *self.writer.faults.values(),
            ),
            seconds=self.clock.total(),
            better_than_baseline=better,
            verdict=verdict,
            backbone=analysis.facts.name,
            worst=tested.worst if tested else (),
            points=tested.points if tested else (),
            stopped=run_facts.stop(fault, model.strategy, decided=decided),
            failed=self.writer.failed(safe_name(run)),
            backbone_choice=analysis.choice,
            start=self.start,
        )

    def _facts(self, model: TargetModel, result: TargetResult) -> RunFacts:
        """What is needed to rebuild and trust the model."""
        analysis, asked = self.analysis, places.recorded(self.analysis.options)
        source = f"{result.test.n} test images" if result.test else model.estimate_source
        how = run_facts.preprocess(analysis, model.side_px)
        return RunFacts(
            created=self.now.isoformat(timespec="microseconds"),
            strategy=model.strategy,
            classes=self._target.names,
            backbone=analysis.facts,
            preprocess=how,
            head=HeadFacts(model.taps, model.head.temperature),
            plan=result.plan,
            seed=analysis.options.training.seed,
            command=asked.command,
            data_root=asked.root,
            data_fingerprint=files.fingerprint(analysis.splits.fitting),
            versions=begin.versions(),
            accuracy=None,
            accuracy_source=source if result.stopped is None else f"{source}; stopped early",
            request=asked,
            backbone_choice=analysis.choice,
            world_size=ranks.asked(),
            target=model.facts,
        )
