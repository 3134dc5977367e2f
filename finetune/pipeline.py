"""The story of each command as a list of calls."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from finetune import (
    data,
    decide,
    evaluate,
    export,
    health,
    prepared,
    probe,
    realise,
    report,
    resume,
    runs,
    strategy,
    survey,
    weights,
)
from finetune.errors import INTERRUPTED, DataError, RunError, TrainingError, UsageError, safe_name
from finetune.records import (
    Advice,
    Comparison,
    Contender,
    DatasetProfile,
    Expectation,
    Finding,
    HeadFacts,
    Listener,
    Recommendation,
    Request,
    RunFacts,
    RunResult,
    Splits,
    Stop,
    Strategy,
)
from finetune.resume import Progress
from finetune.survey import Clock, Probes, Survey

# A recommendation looks at no more: 4,000 tell the probe's accuracy to within one point.
RECOMMEND_IMAGES = 4000


def run_training(request: Request, listener: Listener, like: Path | None = None) -> RunResult:
    """`finetune train`: look, decide, do it, prove it, keep it.

    Args:
        request: What the user wants.
        listener: Hears of progress.
        like: A run that this one repeats (`repetition`): it decides as that one did, and what
            differs is told.

    Returns:
        What was kept; where Ctrl-C or a loss that is no number ended the training, the best that
        was proved by then, and `stopped` says so.

    Raises:
        KeyboardInterrupt: before there was anything to keep.
    """
    _check(request)
    with resume.opened(request, runs.HOME, listener) as progress:
        earlier = progress.earlier
        if earlier is not None and earlier.stopped is None:
            listener.note(f"{earlier.run} is finished: there is nothing left to resume")
            progress.over = True
            return earlier
        result = _trained(request, listener, progress, like)
        # the same steps would lead to the same loss that is no number: that is nothing to resume
        progress.over = result.stopped is None or result.stopped.exit_code != INTERRUPTED
    return result


def repetition(run: Path, request: Request) -> Request:
    """What to ask for to get a run once more.

    Args:
        run: The run folder.
        request: Where to put the new one, and perhaps where the images lie now.

    Raises:
        RunError: no run, or one of a version that did not record it.
    """
    facts = runs.load_facts(run)
    if facts.request is None:
        raise RunError(
            f"{run} does not say what was asked for: it is of an older version",
            hint=f"Give its options yourself; it was made by: {facts.command}",
        )
    return replace(
        facts.request,
        root=request.root or facts.request.root,
        out=request.out,
        resume=request.resume,
        command=request.command,
    )


def run_recommendation(request: Request, listener: Listener) -> Advice:
    """`finetune recommend DIR`: the same looking and deciding, nothing trained."""
    clock = Clock(listener)
    _check(request)
    seen, probes, measured = _survey(
        request, listener, clock, all_stages=True, most=RECOMMEND_IMAGES
    )
    advice = decide.decide(seen, probes, measured, clock, trials=False).advice
    return Advice(
        recommendation=advice,
        profile=measured,
        stages=probes.table,
        expected=_expected(probes),
        looked_at=len(seen.samples),
        counts=_counts(seen.splits),
        findings=seen.findings,
        seconds=clock.total(),
    )


def run_comparison(request: Request, listener: Listener) -> Comparison:
    """`finetune compare DIR`: every strategy on one split, and what the table's choice cost."""
    clock = Clock(listener)
    _check(request)
    seen, probes, measured = _survey(request, listener, clock, all_stages=True)
    if not seen.splits.test:
        raise UsageError(
            "nothing to compare on: --test-fraction is 0", hint="Leave out --test-fraction."
        )
    advice = decide.decide(seen, probes, measured, clock, trials=True).advice
    tests: dict[Strategy, realise.Test] = {}
    seconds: dict[Strategy, float] = {}
    for name in strategy.TRANSFERS:
        part = Clock(listener)
        model = _plainly(seen, probes, measured, name, part)
        if model.stopped is not None:
            raise model.stopped  # half a training says nothing about its strategy
        tests[name] = realise.examine(seen, model, part)
        if not len(tests[name].labels):
            raise DataError(
                f"none of the {len(seen.splits.test)} test images of {request.root} can be read",
                hint="Repair them, or let `finetune check` name what is wrong.",
            )
        seconds[name] = part.total()["total"]
    return _compared(seen, measured, advice, tests, seconds, clock.total())


def _check(request: Request) -> None:
    if request.strategy != "auto":
        strategy.named(request.strategy)
    strategy.check(request.options)
    prepared.require_device(request.device)
    if runs.as_start(request.weights, request.backbone) is None:
        weights.require(request.weights)
    scratch = request.strategy == "scratch"
    if scratch and request.weights not in (None, weights.RANDOM):
        raise UsageError(
            f"--strategy scratch starts from random weights, not from {request.weights}",
            hint="Leave out --weights, or choose another --strategy.",
        )
    if request.backbone == "lenet5" and not scratch and request.weights is None:
        raise UsageError(
            "lenet5 has no pretrained weights",
            hint="Use --strategy scratch, or --weights FILE with your own.",
        )


def _survey(
    request: Request,
    listener: Listener,
    clock: Clock,
    *,
    all_stages: bool,
    most: int | None = None,
) -> tuple[Survey, Probes, DatasetProfile]:
    seen = survey.look(request, listener, clock, most)
    probes = survey.fit_probes(seen, clock, all_stages=all_stages)
    measured = survey.measure(seen, probes, clock)
    return replace(seen, findings=seen.findings + survey.overlap(seen)), probes, measured


def _expected(probes: Probes) -> tuple[Expectation, ...]:
    """What the two probes will do on new images; one line where they are the same."""
    found: dict[Strategy, probe.LeftOut] = {"linear-probe": probes.top, probes.name: probes.best}
    return tuple(
        Expectation(
            name,
            left.score.accuracy,
            evaluate.wilson(int(left.right.sum()), len(left.right)),
            len(left.right),
        )
        for name, left in found.items()
    )


def _realise(
    seen: Survey, probes: Probes, decision: decide.Decision, clock: Clock
) -> realise.Model:
    """Do what was decided."""
    plan = decision.advice.plan
    if plan.strategy in strategy.TUNED:
        lead = decision.advice.lead
        from finetune import trials  # noqa: PLC0415 - torch, which takes seconds

        return trials.tuned(
            *(seen, probes, plan, clock),
            made=decision.made,
            proof=decision.proof,
            allowed=0.0 if lead is None else lead.allowed,
        )
    return realise.probed(seen, probes.of(plan.strategy), plan.strategy)


def _plainly(
    seen: Survey, probes: Probes, measured: DatasetProfile, name: Strategy, clock: Clock
) -> realise.Model:
    """A strategy to the letter: no floor under it."""
    if name in strategy.TUNED:
        from finetune import trials  # noqa: PLC0415 - torch, which takes seconds

        plan = survey.plan_for(seen, measured, probes, name)
        return trials.tuned(seen, probes, plan, clock, guarded=False)
    return realise.probed(seen, probes.of(name), name)


def _compared(
    seen: Survey,
    measured: DatasetProfile,
    advice: Recommendation,
    tests: dict[Strategy, realise.Test],
    seconds: dict[Strategy, float],
    total: dict[str, float],
) -> Comparison:
    """Accuracies with paired differences to the table's choice, and the sentence that says it."""
    rows = []
    base = tests[advice.table]
    for name, test in tests.items():
        found = realise.metrics(seen, test)
        gain, noise, _, _ = evaluate.lead(test.probabilities, base.probabilities, test.labels)
        half = 0.0 if name == advice.table else evaluate.Z95 * noise
        rows.append(
            Contender(
                *(name, found.accuracy, found.interval, found.log_loss),
                *(gain, gain - half, gain + half, seconds[name]),
            )
        )
    best = max(rows, key=lambda c: (c.accuracy, -c.log_loss))
    taken = next(c for c in rows if c.strategy == advice.strategy)
    verdict = (
        f"The table said {advice.table}, best was {best.strategy}: the table cost "
        f"{100 * best.difference:.1f} points (95 % interval {100 * best.low:.1f} to "
        f"{100 * best.high:.1f}). The measured policy takes {taken.strategy}: "
        f"{100 * (best.accuracy - taken.accuracy):.1f} points below the best."
    )
    return Comparison(
        data=safe_name(seen.request.root),
        rule=advice.rule,
        table=advice.table,
        chosen=advice.strategy,
        best=best.strategy,
        contenders=tuple(rows),
        profile=measured,
        counts=_counts(seen.splits),
        findings=seen.findings,
        verdict=verdict,
        seconds=total,
    )


def _trained(
    request: Request, listener: Listener, progress: Progress, like: Path | None
) -> RunResult:
    """The training itself, with its progress in hand."""
    clock = Clock(listener)
    now = datetime.now(UTC)
    # a place that is taken is told before the work, not after it
    _place(request, progress, request.strategy, now)
    try:
        seen, probes, measured = _survey(
            request, listener, clock, all_stages=request.strategy not in ("linear-probe", "scratch")
        )
    except KeyboardInterrupt:
        listener.note("interrupted before there was anything to keep, or to resume")
        raise
    progress.settle(seen.splits, seen.facts.digest, _versions())
    if like is not None:
        _follow(like, seen, progress)
    training = _Training(replace(seen, progress=progress), probes, measured, progress, clock, now)
    try:
        training.work()
        result = training.keep(None)
    except (KeyboardInterrupt, TrainingError) as fault:
        listener.note("keeping the best that is proved; Ctrl-C once more ends at once")
        result = training.keep(fault)
    if like is not None:
        _tell_whether_same(like, Path(result.run), listener)
    return result


@dataclass
class _Training:
    """A training under way: whatever is known of it so far can be kept."""

    seen: Survey
    probes: Probes
    measured: DatasetProfile
    progress: Progress
    clock: Clock
    now: datetime
    advice: Recommendation | None = None
    model: realise.Model | None = None
    test: realise.Test | None = None

    def work(self) -> None:
        """Decide, do it, prove it; raises what ended the training before its time."""
        seen, probes, clock = self.seen, self.probes, self.clock
        decision = decide.decide(seen, probes, self.measured, clock, trials=True)
        self.advice = decision.advice
        _announce(seen.request, self.advice, seen.listener)
        self.model = _realise(seen, probes, decision, clock)
        if self.model.stopped is not None:
            raise self.model.stopped
        if seen.splits.test:
            self.test = realise.examine(seen, self.model, clock)

    def keep(self, fault: BaseException | None) -> RunResult:
        """Write the run: the model that was made, or the best probe where none was made yet."""
        seen, probes = self.seen, self.probes
        earlier = self.progress.earlier
        if fault is not None and earlier is not None and earlier.stopped is None:
            return earlier  # all was written when Ctrl-C came
        model = self.model or realise.probed(seen, probes.best, probes.name)
        advice = self.advice or decide.undecided(seen, probes, self.measured)
        if model.plan is not None:
            advice = replace(advice, plan=model.plan)
        tested = self.test is not None and len(self.test.labels) > 0
        path, replaced = _place(seen.request, self.progress, model.strategy, self.now)
        with self.clock.step("save", "writing the run"):
            result = RunResult(
                run=safe_name(str(path)),
                strategy=model.strategy,
                requested_strategy=seen.request.strategy,
                classes=seen.dataset.classes,
                counts=_counts(seen.splits),
                test=realise.metrics(seen, self.test) if self.test and tested else None,
                estimate=model.estimate,
                estimate_source=model.estimate_source,
                stages=probes.table,
                recommendation=advice,
                floor=model.floor,
                findings=seen.findings + self._late(),
                seconds={},
                stopped=_stop(fault, model),
            )
            result = replace(result, seconds=self.clock.total())
            self._write(path, model, result, replaced)
        return replace(result, seconds=self.clock.total())

    def _late(self) -> tuple[Finding, ...]:
        """What the test images have shown, once they were looked at."""
        if self.test is None:
            return ()
        root = Path(self.seen.request.root)
        return self.test.findings + health.late_findings(self.seen.examined, root)

    def _write(
        self, path: Path, model: realise.Model, result: RunResult, replaced: Path | None
    ) -> None:
        seen, head = self.seen, realise.stored(model.head)
        facts = _facts(seen, model, result, self.now)
        network = None
        if result.stopped is None:
            network = _network(seen, model, head, self.progress.folder)
        self.progress.keep_place(path)
        runs.save(
            path,
            facts,
            result,
            tensors=runs.pack(
                model.tensors(), head.weight.astype(np.float32), head.bias.astype(np.float32)
            ),
            history=model.history,
            splits=seen.splits,
            report=report.to_html(facts, result, self.measured, model.history, strategy.actions()),
            aside=self.progress.aside,
            replaced=replaced,
            network=network,
        )


def _place(
    request: Request, progress: Progress, name: str, now: datetime
) -> tuple[Path, Path | None]:
    """Where the run goes, and where to put an interrupted one of this training that is there."""
    earlier, run = progress.earlier, progress.begun.run
    if request.out is not None and earlier is not None and earlier.stopped is not None:
        path = Path(request.out)
        if resume.absolute(path) == run:
            resume.require_only_a_run(path)
            return path, progress.replaced
    return runs.choose_folder(request.out, Path(request.root), name, now.astimezone()), None


def _stop(fault: BaseException | None, model: realise.Model) -> Stop | None:
    """What ended the training, what was kept and what to do."""
    kept = f"kept is {model.strategy}, the best that was proved by then"
    if isinstance(fault, TrainingError):
        return Stop(f"{fault.message}; {kept}", fault.hint, fault.exit_code)
    if fault is None:
        return None
    hint = "Give the same command with --resume to go on."
    return Stop(f"interrupted: {kept}", hint, INTERRUPTED)


def _facts(seen: Survey, model: realise.Model, result: RunResult, now: datetime) -> RunFacts:
    known = result.test or model.estimate
    source = f"{known.n} test images" if result.test else model.estimate_source
    asked = resume.recorded(seen.request)
    return RunFacts(
        created=now.isoformat(timespec="microseconds"),
        strategy=model.strategy,
        classes=seen.dataset.classes,
        backbone=seen.facts,
        preprocess=replace(seen.facts.preprocess, side_px=model.side_px),
        head=HeadFacts(model.taps, model.head.temperature),
        plan=result.recommendation.plan,
        seed=seen.request.seed,
        command=asked.command,
        data_root=asked.root,
        data_fingerprint=data.fingerprint(seen.splits.fitting),
        versions=_versions(),
        accuracy=known.accuracy,
        accuracy_source=source if result.stopped is None else f"{source}; stopped early",
        request=asked,
    )


def _network(
    seen: Survey, model: realise.Model, head: probe.Head, scratch: Path
) -> tuple[bytes, bytes] | None:
    """The run's inference file; why there is none is told."""
    network, why = None, "it was trained on a GPU"
    if seen.body.device == "cpu":
        network, why = export.inference_file(
            model.graph, head, model.taps, model.side_px, model.runtime, scratch
        )
    if network is None:
        seen.listener.note(f"no inference file, predictions will need torch: {why}")
    return network


def _follow(like: Path, seen: Survey, progress: Progress) -> None:
    """Decide as a run did, by its forecasts, and tell what is not as it was then."""
    facts, then = runs.load_facts(like), runs.load_result(like).recommendation.forecasts
    if then and progress.begun.forecasts is None:
        progress.keep_forecasts(then)
    now = _versions()
    differing = [
        f"{name} was {facts.versions.get(name, 'not there')} and is {version}"
        for name, version in now.items()
        if facts.versions.get(name) != version
    ]
    if data.fingerprint(seen.splits.fitting) != facts.data_fingerprint:
        differing.append("the images are others")
    if seen.facts.digest != facts.backbone.digest:
        differing.append("the backbone's weights are others")
    if differing:
        seen.listener.note(f"not as for {like}, so the numbers may differ: {'; '.join(differing)}")


def _tell_whether_same(like: Path, run: Path, listener: Listener) -> None:
    one, two = ((p / runs.MODEL).read_bytes() for p in (like, run))
    same = "the same model, bit for bit, as" if one == two else "not the same model as"
    listener.note(f"{run} is {same} {like}")


def _announce(request: Request, advice: Recommendation, listener: Listener) -> None:
    """Say what will be done and why, before it is done."""
    for reason in advice.reasons:
        listener.note(reason.text)
    for forecast in advice.forecasts:
        if forecast.strategy == advice.strategy:
            listener.note(f"{forecast.strategy}: {forecast.text}")
    if advice.warning and request.strategy == "auto":
        listener.note(advice.warning)
    plan = advice.plan
    unused = sorted(set(request.options) - {k for k, v in plan.why.items() if v == "user"})
    if unused:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        listener.note(f"{given}: no effect, {plan.strategy} does not tune")
    if plan.strategy not in strategy.TUNED:
        return
    shown = ("tuned_stages", "side_px", "epochs", "batch_size", "optimiser", "lr")
    values = {name: getattr(plan, name) for name in shown} | {"flip": plan.augment.flip}
    values["tuned_stages"] = " ".join(plan.tuned_stages)
    if plan.progressive:
        values["progressive"] = f"{plan.progressive:g} at {strategy.first_side_px(plan)} px"
    for name, value in values.items():
        listener.note(f"{name.replace('_', ' ')} {value}: {plan.why[name]}")


def _counts(splits: Splits) -> dict[str, int]:
    return {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)}


def _versions() -> dict[str, str]:
    names = ("finetune", "torch", "timm", "numpy", "pillow", "openvino")
    return {
        "python": platform.python_version(),
        **{n: importlib.metadata.version(n) for n in names},
    }
