"""The story of each command as a list of calls."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from finetune import (
    data,
    decide,
    disk,
    evaluate,
    keep,
    prepared,
    probe,
    realise,
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
    Listener,
    Recommendation,
    Request,
    RunResult,
    Strategy,
)
from finetune.resume import Progress
from finetune.survey import Clock, Probes, Survey

# A recommendation looks at no more: 4,000 tell the probe's accuracy to within one point.
RECOMMEND_IMAGES = 4000
# Options with which a repetition has other images or weights anyway.
_OTHER_IMAGES = (
    "--seed",
    "--max-per",
    "--val-",
    "--test-",
    "--group",
    "--near",
    "--backbone",
    "--wei",
)


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
            listener.note(
                f"{earlier.run} is finished ({resume.summary(earlier)}): there is nothing left to "
                "resume"
            )
            progress.over = True
            return earlier
        result = _trained(request, listener, progress, like)
        # the same steps would lead to the same loss that is no number: that is nothing to resume
        progress.over = result.stopped is None or result.stopped.exit_code != INTERRUPTED
    return result


def repetition(run: Path, request: Request, given: Collection[str] = ()) -> Request:
    """What to ask for to get a run once more, or with other options.

    Args:
        run: The run folder.
        request: Where to put the new one, and perhaps where the images lie now.
        given: Names of the options that are taken from the request and not from the run.

    Raises:
        RunError: no run, or one of a version that did not record it.
    """
    facts = runs.load_facts(run)
    if facts.request is None:
        raise RunError(
            f"{run} does not say what was asked for: it is of an older version",
            hint=f"Give its options yourself; it was made by: {facts.command}",
        )
    known = {f.name for f in fields(Request)} - {"root", "out", "resume", "command", "options"}
    options = {name: value for name, value in request.options.items() if name in given}
    return replace(
        facts.request,
        **{name: getattr(request, name) for name in given if name in known},
        root=request.root or facts.request.root,
        out=request.out,
        resume=request.resume,
        command=request.command,
        options={**facts.request.options, **options},
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
        counts=keep.counts(seen.splits),
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
    untried: dict[Strategy, str] = {}
    for name in strategy.TRANSFERS:
        why = _too_long(seen, probes, measured, name, clock)
        if why is not None:
            listener.note(f"{name}: not started, {why}")
            untried[name] = why
            continue
        part = Clock(listener)
        try:
            model = _plainly(seen, probes, measured, name, part)
            if model.stopped is not None:
                raise model.stopped  # half a training says nothing about its strategy
        except TrainingError as fault:
            untried[name] = f"its training failed: {fault.message}"
            listener.note(f"{name}: {untried[name]}")
            continue
        tests[name] = realise.examine(seen, model, part)
        if not len(tests[name].labels):
            raise DataError(
                f"none of the {len(seen.splits.test)} test images of {request.root} can be read",
                hint="Repair them, or let `finetune check` name what is wrong.",
            )
        seconds[name] = part.total()["total"]
    rows = _contenders(seen, advice, tests, seconds, untried)
    return Comparison(
        data=safe_name(request.root),
        rule=advice.rule,
        table=advice.table,
        chosen=advice.strategy,
        best=_best(rows).strategy,
        contenders=rows,
        profile=measured,
        counts=keep.counts(seen.splits),
        findings=seen.findings,
        verdict=_verdict(rows, advice),
        seconds=clock.total(),
    )


def _too_long(
    seen: Survey, probes: Probes, measured: DatasetProfile, name: Strategy, clock: Clock
) -> str | None:
    """Why a strategy is not started: it does not fit what is left of the user's budget."""
    budget = seen.request.budget_s
    if budget is None or name not in strategy.TUNED:
        return None  # the probes are fitted already
    from finetune import trials  # noqa: PLC0415 - torch, which takes seconds

    with clock.step("forecast", f"forecasting the time of {name}"):
        alone = replace(seen, request=replace(seen.request, strategy=name))
        needed, text = trials.seconds(alone, survey.plan_for(seen, measured, probes, name))
    needed += len(seen.splits.test) * seen.seconds_per_image
    left = budget - clock.total()["total"]
    if needed <= left:
        return None
    return (
        f"it takes about {needed:.0f} s ({text}), and {max(left, 0):.0f} s of the budget of "
        f"{budget:g} s are left"
    )


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


def _contenders(
    seen: Survey,
    advice: Recommendation,
    tests: dict[Strategy, realise.Test],
    seconds: dict[Strategy, float],
    untried: dict[Strategy, str],
) -> tuple[Contender, ...]:
    """Accuracies with paired differences to the table's choice, where that was tried."""
    rows = []
    base = tests.get(advice.table)
    for name in strategy.TRANSFERS:
        if name in untried:
            rows.append(Contender(name, untried=untried[name]))
            continue
        test = tests[name]
        found = realise.metrics(seen, test)
        row = Contender(
            *(name, found.accuracy, found.interval, found.log_loss), seconds=seconds[name]
        )
        if base is not None:
            gain, noise, _, _ = evaluate.lead(test.probabilities, base.probabilities, test.labels)
            half = 0.0 if name == advice.table else evaluate.Z95 * noise
            row = replace(row, difference=gain, low=gain - half, high=gain + half)
        rows.append(row)
    return tuple(rows)


def _best(rows: Sequence[Contender]) -> Contender:
    """The one with the best accuracy of those that were tried; of equal ones the surest."""
    tried = [c for c in rows if c.accuracy is not None]
    return max(tried, key=lambda c: (c.accuracy or 0.0, -(c.log_loss or 0.0)))


def _verdict(rows: Sequence[Contender], advice: Recommendation) -> str:
    """The sentence that says what the choices cost."""
    best = _best(rows)
    taken = next(c for c in rows if c.strategy == advice.strategy)
    said = f"The table said {advice.table}"
    if best.difference is None or best.low is None or best.high is None:
        said += f", which has no figures; best of the others was {best.strategy}"
    else:
        untried = ", ".join(c.strategy for c in rows if c.untried is not None)
        of = f" (of those with figures: not {untried})" if untried else ""
        said += (
            f", best was {best.strategy}{of}: the table cost {100 * best.difference:.1f} points "
            f"(95 % interval {100 * best.low:.1f} to {100 * best.high:.1f})"
        )
    if taken.accuracy is None or best.accuracy is None:
        return f"{said}. The measured policy takes {taken.strategy}, which was not tried."
    return (
        f"{said}. The measured policy takes {taken.strategy}: "
        f"{100 * (best.accuracy - taken.accuracy):.1f} points below the best."
    )


def _trained(
    request: Request, listener: Listener, progress: Progress, like: Path | None
) -> RunResult:
    """The training itself, with its progress in hand."""
    clock = Clock(listener)
    now = datetime.now(UTC)
    # a place that is taken is told before the work, not after it
    keep.place(request.out, request.root, progress.earlier, progress, request.strategy, now)
    try:
        seen, probes, measured = _survey(
            request, listener, clock, all_stages=request.strategy not in ("linear-probe", "scratch")
        )
    except KeyboardInterrupt:
        listener.note("interrupted before there was anything to keep, or to resume")
        raise
    progress.settle(seen.splits, seen.facts.digest, keep.versions())
    repeated = like is not None and _follow(like, seen, progress)
    seen = replace(seen, progress=progress)
    keeper = keep.Keeper(seen, probes.table, measured, progress, clock, now)
    training = _Training(seen, probes, measured, keeper)
    try:
        training.work()
        result = training.keep(None)
    except (KeyboardInterrupt, TrainingError) as fault:
        listener.note("keeping the best that is proved; Ctrl-C once more ends at once")
        result = training.keep(fault)
    if like is not None and repeated:
        _tell_whether_same(like, Path(result.run), listener)
    return result


@dataclass
class _Training:
    """A training under way: whatever is known of it so far can be kept."""

    seen: Survey
    probes: Probes
    measured: DatasetProfile
    keeper: keep.Keeper
    advice: Recommendation | None = None
    model: realise.Model | None = None
    test: realise.Test | None = None

    def work(self) -> None:
        """Decide, do it, prove it; raises what ended the training before its time."""
        seen, probes, clock = self.seen, self.probes, self.keeper.clock
        decision = decide.decide(seen, probes, self.measured, clock, trials=True)
        self.advice = decision.advice
        _announce(seen.request, self.advice, seen.listener)
        self.model = _realise(seen, probes, decision, clock)
        if self.model.stopped is not None:
            raise self.model.stopped
        if seen.splits.test:
            self.test = self.keeper.test(self.model)

    def keep(self, fault: BaseException | None) -> RunResult:
        """Write the run: the model that was made, or the best probe where none was made yet."""
        seen, probes = self.seen, self.probes
        earlier = self.keeper.progress.earlier
        if fault is not None and earlier is not None and earlier.stopped is None:
            return earlier  # all was written when Ctrl-C came
        model = self.model or realise.probed(seen, probes.best, probes.name)
        advice = self.advice or decide.undecided(seen, probes, self.measured)
        if model.plan is not None:
            advice = replace(advice, plan=model.plan)
        return self.keeper.keep(model, advice, self.test, fault)


def _follow(like: Path, seen: Survey, progress: Progress) -> bool:
    """Decide as a run did, by its forecasts, and tell what is not as it was then.

    Returns:
        Whether the same was asked for.
    """
    facts, then = runs.load_facts(like), runs.load_result(like).recommendation.forecasts
    other = [] if facts.request is None else resume.differing(facts.request, seen.request)
    if then and progress.begun.forecasts is None and not other:
        progress.keep_forecasts(then)
    now = keep.versions()
    differing = other + [
        f"{name} was {facts.versions.get(name, 'not there')} and is {version}"
        for name, version in now.items()
        if facts.versions.get(name) != version
    ]
    same = not any(text.startswith(_OTHER_IMAGES) for text in other)
    if same and data.fingerprint(seen.splits.fitting) != facts.data_fingerprint:
        differing.append("the images are others")
    if same and seen.facts.digest != facts.backbone.digest:
        differing.append("the backbone's weights are others")
    if differing:
        seen.listener.note(f"not as for {like}, so the numbers may differ: {'; '.join(differing)}")
    return not other


def _tell_whether_same(like: Path, run: Path, listener: Listener) -> None:
    try:
        one, two = (disk.digest_file(p / runs.MODEL) for p in (like, run))
    except OSError as error:  # the new run is whole all the same
        listener.note(f"{run} cannot be compared with {like}: {error.strerror or error}")
        return
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
    for name, value in values.items():
        listener.note(f"{name.replace('_', ' ')} {value}: {plan.why[name]}")
