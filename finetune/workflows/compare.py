"""The story of `compare`: every strategy on one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.decision import choose, fitted
from finetune.decision.planning import plan_for
from finetune.metrics import clusters, paired
from finetune.records import durations
from finetune.records.analysis import DatasetProfile
from finetune.records.answers import Comparison, Contender
from finetune.records.choices import TRANSFERS, TUNED, Metric, Strategy, spoken, spoken_metric
from finetune.records.decision import Recommendation
from finetune.records.errors import DataError, TrainingError, UsageError, safe_name
from finetune.records.events import Listener
from finetune.records.options import Options
from finetune.workflows import begin, final_test


def run_comparison(options: Options, listener: Listener) -> Comparison:
    """`finetune compare DIR`: every strategy on one split, and what the table's choice cost."""
    clock, root = Clock(listener), options.data.root
    begin.check_options(options)
    analysis, probes, measured = begin.analyzed(options, listener, clock, all_stages=True)
    if not analysis.splits.test:
        raise UsageError(
            "nothing to compare on: --test-fraction is 0", hint="Leave out --test-fraction."
        )
    advice = choose.decide(analysis, probes, measured, clock, trials=True).advice
    found = _Found({}, {}, {})
    single = options.decision.single
    blended = None if single else choose.candidate(analysis, probes, measured, clock)
    for name in TRANSFERS:
        why = _too_long(analysis, probes, measured, name, clock)
        if why is not None:
            listener.detail(f"{name}: not started, {why}")
            found.untried[name] = why
            continue
        part = Clock(listener)
        try:
            model, blend = _plainly(analysis, probes, measured, name, part)
            if model.stopped is not None:
                raise model.stopped  # half a training says nothing about its strategy
        except TrainingError as fault:
            found.untried[name] = f"its training failed: {fault.message}"
            listener.note(f"{name}: {found.untried[name]}")
            continue
        found.test(analysis, name, model, part)
        if name == blended and blend is not None:
            found.test(analysis, "blend", blend, part)  # what was tuned for the one serves both
    if blended in found.untried:
        found.untried["blend"] = f"{spoken(blended)}, a part of it, has no figures"
    tests, seconds, untried = found.tests, found.seconds, found.untried
    rows = _contenders(analysis, advice, tests, seconds, untried)
    metric = options.decision.judged_by
    return Comparison(
        data=safe_name(root),
        rule=advice.rule,
        table=advice.table,
        chosen=advice.strategy,
        best=_best(rows, metric).strategy,
        contenders=rows,
        profile=measured,
        counts=begin.counts(analysis.splits),
        findings=analysis.findings,
        verdict=_verdict(rows, advice, metric),
        metric=metric,
        seconds=clock.total(),
        backbone=analysis.facts.name,
        backbone_choice=analysis.choice,
    )


@dataclass(frozen=True)
class _Found:
    """What is known of each strategy: its test, its seconds, or why it was not tried."""

    tests: dict[Strategy, final_test.Test]
    seconds: dict[Strategy, float]
    untried: dict[Strategy, str]

    def test(
        self, analysis: Analysis, name: Strategy, model: fitted.FittedModel, clock: Clock
    ) -> None:
        """Test a model.

        Raises:
            DataError: no test image can be read.
        """
        test = self.tests[name] = final_test.examine(analysis, model, clock)
        if not len(test.labels):
            raise DataError(
                f"none of the {len(analysis.splits.test)} test images of "
                f"{analysis.options.data.root} can be read",
                hint="Repair them, or let `finetune check` name what is wrong.",
            )
        self.seconds[name] = clock.total()["total"]


def _too_long(
    analysis: Analysis, probes: Probes, measured: DatasetProfile, name: Strategy, clock: Clock
) -> str | None:
    """Why a strategy is not started: it does not fit what is left of the user's budget."""
    budget = analysis.options.decision.budget_s
    if budget is None or name not in TUNED:
        return None  # the probes are fitted already
    from finetune.decision import timing  # noqa: PLC0415 - torch, which takes seconds

    with clock.step("forecast", f"forecasting the time of {name}"):
        decision = replace(analysis.options.decision, strategy=name)
        alone = replace(analysis, options=replace(analysis.options, decision=decision))
        needed, text = timing.seconds(alone, plan_for(analysis, measured, probes, name))
    needed += len(analysis.splits.test) * analysis.seconds_per_image
    left = budget - clock.total()["total"]
    if needed <= left:
        return None
    return (
        f"it takes about {durations.in_words(needed)} ({text}), and "
        f"{durations.in_words(max(left, 0))} of the budget of {durations.in_words(budget)} are left"
    )


def _plainly(
    analysis: Analysis, probes: Probes, measured: DatasetProfile, name: Strategy, clock: Clock
) -> tuple[fitted.FittedModel, fitted.FittedModel | None]:
    """A strategy to the letter, no floor under it; a tuned model also as a part of a blend."""
    if name in TUNED:
        from finetune.decision import baseline  # noqa: PLC0415 - torch, which takes seconds

        plan = plan_for(analysis, measured, probes, name)
        return baseline.to_the_letter(analysis, probes, plan, clock)
    return fitted.probed(analysis, probes.of(name), name), None


def _contenders(
    analysis: Analysis,
    advice: Recommendation,
    tests: dict[Strategy, final_test.Test],
    seconds: dict[Strategy, float],
    untried: dict[Strategy, str],
) -> tuple[Contender, ...]:
    """Accuracies with paired differences to the table's choice, where that was tried."""
    rows = []
    base = tests.get(advice.table)
    for name in (*TRANSFERS, "blend"):
        if name not in tests and name not in untried:  # a blend that is forbidden
            continue
        if name in untried:
            rows.append(Contender(name, untried=untried[name]))
            continue
        test = tests[name]
        found = final_test.measured(analysis, test)
        by = analysis.yardstick_of(test.labels, test.groups)
        row = Contender(
            name,
            found.accuracy,
            found.interval,
            found.log_loss,
            seconds=seconds[name],
            score=paired.value(test.probabilities, test.labels, by),
        )
        if base is not None:
            gain, noise = paired.difference(test.probabilities, base.probabilities, test.labels, by)
            half = 0.0 if name == advice.table else clusters.Z95 * noise
            row = replace(row, difference=gain, low=gain - half, high=gain + half)
        rows.append(row)
    return tuple(rows)


def _best(rows: Sequence[Contender], metric: Metric) -> Contender:
    """The best of those that were tried, by the metric; of equal ones the surest."""
    tried = [c for c in rows if c.score is not None]
    sign = -1.0 if metric == "log-loss" else 1.0
    return max(tried, key=lambda c: (sign * (c.score or 0.0), -(c.log_loss or 0.0)))


def _verdict(rows: Sequence[Contender], advice: Recommendation, metric: Metric) -> str:
    """The sentence that says what the choices cost."""
    best = _best(rows, metric)
    scale, form, unit = (
        (1.0, ".3f", "of log loss") if metric == "log-loss" else (100, ".1f", "points")
    )
    if metric not in ("accuracy", "log-loss"):
        unit += f" of {spoken_metric(metric)}"
    taken = next(c for c in rows if c.strategy == advice.strategy)
    said = f"The classic table says {advice.table}"
    if best.difference is None or best.low is None or best.high is None:
        said += f", which has no figures; best of the others was {best.strategy}"
    else:
        untried = ", ".join(c.strategy for c in rows if c.untried is not None)
        of = f" (of those with figures: not {untried})" if untried else ""
        said += (
            f", best was {best.strategy}{of}: the table cost {scale * best.difference:{form}} "
            f"{unit} (95 % interval {scale * best.low:{form}} to {scale * best.high:{form}})"
        )
    if taken.score is None or best.score is None:
        return f"{said}. The measured policy takes {taken.strategy}, which was not tried."
    return (
        f"{said}. The measured policy takes {taken.strategy}: "
        f"{scale * abs(best.score - taken.score):{form}} {unit} "
        f"{'above' if metric == 'log-loss' else 'below'} the best."
    )
