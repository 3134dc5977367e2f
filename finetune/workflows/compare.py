"""The story of `compare`: every strategy on one split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.metrics.clusters import Z95
from finetune.records import durations
from finetune.records.answers import Comparison, Contender
from finetune.records.choices import (
    LESS_IS_BETTER,
    STRATEGIES,
    TRANSFERS,
    TUNED,
    Metric,
    OtherTarget,
    Strategy,
    unit_of,
)
from finetune.records.decision import Plan
from finetune.records.errors import TrainingError, UsageError, safe_name
from finetune.records.events import Listener
from finetune.records.options import Options
from finetune.workflows import begin
from finetune.workflows.compare_classes import ClassRivals
from finetune.workflows.compare_target import TargetRivals


class Rivals(Protocol):
    """The strategies as models of one target: each is trained to the letter, then tested."""

    @property
    def target(self) -> OtherTarget | None:
        """None where one class is learned."""
        ...

    @property
    def metric(self) -> Metric:
        """What they are compared by."""
        ...

    @property
    def rule(self) -> str:
        """The cell of the classic table."""
        ...

    @property
    def table(self) -> Strategy:
        """What that says."""
        ...

    @property
    def chosen(self) -> Strategy:
        """What `train` would return, as far as is known by now."""
        ...

    @property
    def tested(self) -> Mapping[Strategy, Contender]:
        """Those that were tested, without differences."""
        ...

    def plan(self, name: Strategy) -> Plan:
        """How a strategy is trained."""
        ...

    def prove(self, name: Strategy, clock: Clock) -> None:
        """Train and test it, and whatever comes of the same training.

        Raises:
            TrainingError: its training failed.
            KeyboardInterrupt: it was stopped; half a training says nothing about its strategy.
            DataError: no test image can be read.
        """
        ...

    def left_out(self, untried: Mapping[Strategy, str]) -> Mapping[Strategy, str]:
        """Why others beside those that were not tried have no figures, where that is to be told."""
        ...

    def lead(self, one: Strategy, other: Strategy) -> tuple[float, float]:
        """By how much one is better than another on the test images, and the standard error."""
        ...


def run_comparison(options: Options, listener: Listener) -> Comparison:
    """`finetune compare DIR`: every strategy on one split, and what the table's choice cost."""
    clock = Clock(listener)
    begin.check_options(options)
    analysis, probes, measured = begin.analyzed(options, listener, clock, all_stages=True)
    if not analysis.splits.test:
        raise UsageError(
            "nothing to compare on: --test-fraction is 0", hint="Leave out --test-fraction."
        )
    made = ClassRivals if analysis.dataset.target is None else TargetRivals
    rivals: Rivals = made(analysis, probes, measured, clock)
    rows = _contenders(rivals, _proved(analysis, rivals, clock))
    return Comparison(
        data=safe_name(options.data.root),
        rule=rivals.rule,
        table=rivals.table,
        chosen=rivals.chosen,
        best=_best(rows, rivals.metric).strategy,
        contenders=rows,
        profile=measured,
        counts=begin.counts(analysis.splits),
        findings=analysis.findings,
        verdict=_verdict(
            rows, rivals.metric, table=rivals.table, chosen=rivals.chosen, target=rivals.target
        ),
        metric=rivals.metric,
        target=rivals.target,
        seconds=clock.total(),
        backbone=analysis.facts.name,
        backbone_choice=analysis.choice,
    )


def _proved(analysis: Analysis, rivals: Rivals, clock: Clock) -> Mapping[Strategy, str]:
    """Prove every strategy that fits the budget; why the others have no figures."""
    untried: dict[Strategy, str] = {}
    listener = analysis.listener
    for name in TRANSFERS:
        why = _too_long(analysis, rivals, name, clock)
        if why is not None:
            listener.detail(f"{name}: not started, {why}")
            untried[name] = why
            continue
        try:
            rivals.prove(name, Clock(listener))
        except TrainingError as fault:
            untried[name] = f"its training failed: {fault.message}"
            listener.note(f"{name}: {untried[name]}")
    return {**untried, **rivals.left_out(untried)}


def _too_long(analysis: Analysis, rivals: Rivals, name: Strategy, clock: Clock) -> str | None:
    """Why a strategy is not started: it does not fit what is left of the user's budget."""
    budget = analysis.options.decision.budget_s
    if budget is None or name not in TUNED:
        return None  # the probes are fitted already
    from finetune.decision import timing  # noqa: PLC0415 - torch, which takes seconds

    with clock.step("forecast", f"forecasting the time of {name}"):
        decision = replace(analysis.options.decision, strategy=name)
        alone = replace(analysis, options=replace(analysis.options, decision=decision))
        needed, text = timing.seconds(alone, rivals.plan(name))
    needed += len(analysis.splits.test) * analysis.seconds_per_image
    left = budget - clock.total()["total"]
    if needed <= left:
        return None
    return (
        f"it takes about {durations.in_words(needed)} ({text}), and "
        f"{durations.in_words(max(left, 0))} of the budget of {durations.in_words(budget)} are left"
    )


def _contenders(rivals: Rivals, untried: Mapping[Strategy, str]) -> tuple[Contender, ...]:
    """What was measured of each, with paired differences to the table's choice and to the best."""
    tested = rivals.tested
    best = _best(list(tested.values()), rivals.metric).strategy
    rows = []
    for name in STRATEGIES:
        if name in untried:
            rows.append(Contender(name, untried=untried[name]))
        if name not in tested:  # a blend that is forbidden has no row, nor has what is no transfer
            continue
        row = tested[name]
        if rivals.table in tested:
            gain, noise = (0.0, 0.0) if name == rivals.table else rivals.lead(name, rivals.table)
            half = Z95 * noise
            row = replace(row, difference=gain, low=gain - half, high=gain + half)
        behind, noise = (0.0, 0.0) if name == best else rivals.lead(best, name)
        tied = behind <= Z95 * noise
        rows.append(replace(row, behind=behind, noise=noise, tied=tied))
    return tuple(rows)


def _best(rows: Sequence[Contender], metric: Metric) -> Contender:
    """The best of those that were tried, by the metric; of equal ones the surest."""
    tried = [c for c in rows if c.score is not None]
    sign = -1.0 if metric in LESS_IS_BETTER else 1.0

    def rank(c: Contender) -> tuple[float, float]:
        # what differs by the rounding of sums alone is equal
        return sign * float(f"{c.score or 0:.9g}"), -float(f"{c.log_loss or 0:.9g}")

    return max(tried, key=rank)


def _verdict(
    rows: Sequence[Contender],
    metric: Metric,
    *,
    table: Strategy,
    chosen: Strategy,
    target: OtherTarget | None = None,
) -> str:
    """The sentence that says what the choices cost."""
    best, (scale, form, unit) = _best(rows, metric), unit_of(metric)
    taken = next(c for c in rows if c.strategy == chosen)
    said = f"The classic table{', made for classes,' if target else ''} says {table}"
    # that there is no blend of labels or numbers takes nothing away from the others
    untried = [c.strategy for c in rows if c.untried and not (target and c.strategy == "blend")]
    of = f" (of those with figures: not {', '.join(untried)})" if untried else ""
    if best.difference is None or best.low is None or best.high is None:
        said += f", which has no figures; best of the others was {best.strategy}"
    elif best.strategy == table:
        said += f", and that was best{of}"
    else:
        said += (
            f", best was {best.strategy}{of}: the table cost {scale * best.difference:{form}} "
            f"{unit} (95 % interval {scale * best.low:{form}} to {scale * best.high:{form}})"
        )
    said += f". The measured policy takes {taken.strategy}"
    if taken.score is None or best.score is None:
        return f"{said}, which was not tried."
    if taken.strategy == best.strategy:
        return f"{said}, the best."
    where = "above" if metric in LESS_IS_BETTER else "below"
    return f"{said}: {scale * abs(best.score - taken.score):{form}} {unit} {where} the best."
