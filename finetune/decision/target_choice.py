"""How far to tune for labels and numbers: the table is asked, held-out images decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.analysis.target_probes import TargetProbes
from finetune.decision import forecast, table
from finetune.decision.planning import plan_for
from finetune.records.analysis import DatasetProfile, Reason
from finetune.records.choices import TUNED, Strategy, spoken
from finetune.records.decision import Forecast, Plan
from finetune.records.errors import UsageError
from finetune.training import target_recipe


@dataclass(frozen=True, kw_only=True)
class TargetChoice:
    """What is to be tried, with its plan, and why; a probe needs no proof.

    `rule` is the cell of the classic table, `forecasts` are of what was to be timed.
    """

    strategy: Strategy
    plan: Plan
    reasons: tuple[Reason, ...]
    rule: table.Rule
    forecasts: tuple[Forecast, ...] = ()


def choose(
    analysis: Analysis,
    strata: Probes,
    probes: TargetProbes,
    measured: DatasetProfile,
    clock: Clock,
    names: Sequence[Strategy] = (),
) -> TargetChoice:
    """Choose what to tune, or a probe where tuning is not wanted or does not fit the budget.

    Args:
        analysis: The data.
        strata: Probes of the strata by which images are divided, from which size and similarity
            were measured.
        probes: Those of the target.
        measured: The two axes.
        clock: Times the steps.
        names: Of which the time is forecast besides; of none that is a probe there is need.

    Raises:
        UsageError: the strategy that the user named is none of this target, or does not fit the
            budget that the user gave.
    """
    asked = analysis.options.decision
    size = asked.size or measured.size
    similarity = asked.similarity or measured.similarity
    rule = table.placed(size, similarity)
    wanted, why = _wanted(analysis, rule, probes)
    reasons = [_table_reason(rule, probes), Reason("probes", _probes_told(probes)), why]
    timed = (*names, *(n for n in (wanted,) if n in TUNED and n not in names))
    found = forecast.forecast(analysis, measured, strata, timed, clock) if timed else ()
    plan = None
    if wanted in TUNED:
        cost = forecast.of(found, wanted)
        # the forecast counts short trials, and here a whole proof is made
        more = forecast.proved(cost, analysis) if asked.strategy == "auto" else None
        if not cost.fits or more is not None:
            wanted, last = _cheaper(analysis, wanted, probes, cost.text)
        else:
            last = Reason("budget", f"{spoken(wanted).capitalize()} takes {cost.text}")
            plan = tuning_plan(
                *(analysis, strata, probes, measured, wanted), cost.side_px, refit=cost.refit
            )
        reasons.append(last)
    return TargetChoice(
        strategy=wanted,
        plan=plan or probe_plan(analysis, strata, probes, measured, wanted),
        reasons=tuple(reasons),
        rule=rule,
        forecasts=found,
    )


def tuning_plan(
    analysis: Analysis,
    strata: Probes,
    probes: TargetProbes,
    measured: DatasetProfile,
    name: Strategy,
    most_side_px: int | None = None,
    *,
    refit: bool = True,
) -> Plan:
    """The plan of a way of tuning, which changes no picture so that its target is another one."""
    plan = plan_for(analysis, measured, strata, name, most_side_px, refit=refit)
    overrides = analysis.options.training.overrides
    return target_recipe.for_target(plan, probes.aim.kind, overrides)


def probe_plan(
    analysis: Analysis,
    strata: Probes,
    probes: TargetProbes,
    measured: DatasetProfile,
    name: Strategy,
) -> Plan:
    """The plan of a probe strategy, with the stages that the target's own probe reads."""
    plan = plan_for(analysis, measured, strata, name)
    return replace(plan, taps=probes.of(name).score.taps)


def _wanted(analysis: Analysis, rule: table.Rule, probes: TargetProbes) -> tuple[Strategy, Reason]:
    """What to try: the user's word, the table's letter, or the way of tuning that may win."""
    asked = analysis.options.decision
    if asked.strategy == "blend":
        raise UsageError(
            f"--strategy blend is for classes, and --target is {probes.aim.kind}",
            hint="Leave it out: auto proves deep fine-tuning against the best probe.",
        )
    if asked.strategy != "auto":
        return table.named(asked.strategy), Reason("user", f"You asked for {asked.strategy}")
    if asked.policy == "table":
        name = probes.name if rule.strategy == "stage-probe" else rule.strategy
        return name, Reason("table", f"--policy table follows it to the letter: {spoken(name)}")
    loss = probes.best.score.loss
    if loss == 0:
        return probes.name, Reason("probes", "The best probe makes no error that tuning could fix")
    return "deep", Reason(
        "evidence",
        "Tried: deep fine-tuning; on measured sets of labels and numbers it was ahead of the best "
        "probe on some and behind on others (docs/targets.md), so held-out images decide",
    )


def _table_reason(rule: table.Rule, probes: TargetProbes) -> Reason:
    """What the classic table says, and that it was made for classes."""
    kind = "labels" if probes.aim.kind == "labels" else "numbers"
    return Reason(
        rule.id,
        f"The classic table says {spoken(rule.strategy)} for {rule.size} and {rule.similarity} "
        f"data; it was made for classes, so for {kind} it is a hint and held-out images decide",
    )


def _probes_told(probes: TargetProbes) -> str:
    best, word = probes.best.score, "mAP" if probes.aim.kind == "labels" else "R²"
    return f"The best probe ({best.name}) has {word} {best.score:.3f} on images it left out"


def _cheaper(
    analysis: Analysis, wanted: Strategy, probes: TargetProbes, text: str
) -> tuple[Strategy, Reason]:
    """What is done instead of a tuning that does not fit; the user's word outweighs no budget."""
    asked = analysis.options.decision
    if asked.strategy != "auto" and asked.budget_s is not None:
        raise UsageError(
            f"--strategy {wanted} does not fit --budget: {text}",
            hint="Give a larger --budget, fewer --epochs or a smaller --image-size.",
        )
    left = f"{spoken(wanted)} does not fit the budget ({text})"
    return probes.name, Reason("budget", f"Chosen: {spoken(probes.name)}, because {left}")
