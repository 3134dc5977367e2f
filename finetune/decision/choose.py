"""Take the choice: the table is the prior, short trials of tuning are the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.data import check_pictures
from finetune.decision import explain, forecast, full_size, imbalance, prior, table, transfer
from finetune.decision.planning import plan_for
from finetune.records.analysis import DatasetProfile, Reason, SizeProfile
from finetune.records.choices import TRANSFERS, TUNED, Size, Strategy, spoken
from finetune.records.decision import Forecast, Plan, Recommendation, TrialResult
from finetune.records.errors import UsageError

if TYPE_CHECKING:
    from finetune.decision.trials import Trials
    from finetune.training import holdout


@dataclass(frozen=True)
class Decision:
    """The choice, and what was made on the way to it that its realisation can use.

    `proof` is the trial that stands for a proof of the chosen tuning where images are few, None
    where it contradicts the choice and a real proof is needed; `made` its images, where they have
    the resolution of the plan.
    """

    advice: Recommendation
    made: holdout.Material | None = None
    proof: holdout.Trial | None = None


def decide(
    analysis: Analysis, probes: Probes, measured: DatasetProfile, clock: Clock, *, trials: bool
) -> Decision:
    """Choose a strategy and resolve its plan.

    Args:
        analysis: The data.
        probes: Linear classifiers, cross-validated.
        measured: The two axes.
        clock: Times the steps.
        trials: Whether short trials of tuning may be run; without them the prior decides.

    Raises:
        UsageError: the strategy that the user named does not fit the budget that the user gave.
    """
    found = _decided(analysis, probes, measured, clock, trials=trials)
    advice = imbalance.told(found.advice, analysis, probes.best)
    if analysis.choice is not None:
        reasons = (Reason("backbone", analysis.choice.reason), *advice.reasons)
        advice = replace(advice, reasons=reasons)
    return replace(found, advice=advice)


def _decided(
    analysis: Analysis, probes: Probes, measured: DatasetProfile, clock: Clock, *, trials: bool
) -> Decision:
    """The choice without what came before it, and what is to be said of uneven classes."""
    asked = analysis.options.decision
    size: SizeProfile | Size = asked.size or measured.size
    similarity = asked.similarity or measured.similarity
    rule = table.placed(size, similarity)
    forced = None if asked.strategy == "auto" else table.named(asked.strategy)
    by_table = forced is not None or asked.policy == "table"
    wanted = forced or rule.strategy
    blended = wanted == "blend"
    if blended:  # its plan is that of the tuned part
        wanted = candidate(analysis, probes, measured, clock)
    if forced is None and (blank := _blank(analysis)):
        return _untuned(analysis, measured, probes, f"{blank}, which leaves nothing to tune on")
    if not by_table:
        return _by_evidence(analysis, probes, measured, clock, trials=trials)
    names = (wanted,) if trials else TRANSFERS
    forecasts = forecast.forecast(analysis, measured, probes, names, clock)
    instead = None
    if wanted in TUNED and not forecast.of(forecasts, wanted).fits:
        wanted, instead = _cheaper(analysis, wanted, probes, forecasts, forced=forced)
    plan = _planned(analysis, measured, probes, wanted, forecasts)
    advice = explain.recommend(size, similarity, plan, forced=forced, instead=instead)
    strategy = "blend" if blended else advice.strategy
    return Decision(replace(advice, strategy=strategy, forecasts=forecasts))


def candidate(
    analysis: Analysis, probes: Probes, measured: DatasetProfile, clock: Clock
) -> Strategy:
    """The way of tuning that is expected to do best; a blend has it for a part."""
    return prior.candidate(*_believed(analysis, probes, measured, clock), blends=True)[0]


def _believed(
    analysis: Analysis, probes: Probes, measured: DatasetProfile, clock: Clock
) -> tuple[Mapping[Strategy, prior.Belief], prior.Setting]:
    """What other data sets have shown of such data, and what is asked of that."""
    column = analysis.options.decision.similarity or measured.similarity.column
    beliefs = transfer.beliefs_for(prior.BELIEFS[column], analysis.facts)
    with clock.step("headroom", "the best probe's error with all images"):
        error = full_size.probe_error(analysis, probes)
    classes = len(analysis.dataset.classes)
    setting = prior.Setting(images=analysis.images, classes=classes, probe_error=error)
    return beliefs, setting


def _planned(
    analysis: Analysis,
    measured: DatasetProfile,
    probes: Probes,
    chosen: Strategy,
    forecasts: Sequence[Forecast],
) -> Plan:
    """The plan of a strategy as its forecast has it, where it has one."""
    cost = next((f for f in forecasts if f.strategy == chosen), None)
    if cost is None:
        return plan_for(analysis, measured, probes, chosen)
    return plan_for(analysis, measured, probes, chosen, cost.side_px, refit=cost.refit)


def _untuned(
    analysis: Analysis, measured: DatasetProfile, probes: Probes, because: str
) -> Decision:
    """The best probe, and no time spent on anything else."""
    advice = undecided(analysis, probes, measured)
    last = Reason("data", f"{probes.name}: {because}")
    return Decision(
        replace(
            advice, policy=analysis.options.decision.policy, reasons=(*advice.reasons[:-1], last)
        )
    )


def _blank(analysis: Analysis) -> str:
    """That most pictures are of one colour, where they are."""
    if analysis.examined is None:
        return ""
    subject = analysis.examined.subject
    blank, images = len(subject.plain), len(subject.glances)
    told = f"{blank} of {images} images show one color and nothing else (FT125)"
    return told if check_pictures.mostly_blank(blank, images) else ""


def undecided(analysis: Analysis, probes: Probes, measured: DatasetProfile) -> Recommendation:
    """The best probe, where the training was stopped before a choice was made."""
    asked = analysis.options.decision
    return explain.undecided_in_words(
        asked.size or measured.size,
        asked.similarity or measured.similarity,
        plan_for(analysis, measured, probes, probes.name),
    )


def _pointless(
    tuning: Strategy, forecasts: Sequence[Forecast], error: float, *, worth: bool
) -> str:
    """Why tuning need not be tried whatever the budget; empty where it may win."""
    if not worth and error == 0:
        return "the best probe makes no error that tuning could fix"
    if not worth:
        return f"{spoken(tuning)} hardly ever beats the probe on such data"
    return next((f.memory for f in forecasts if f.strategy == tuning), "")


def _by_evidence(
    analysis: Analysis, probes: Probes, measured: DatasetProfile, clock: Clock, *, trials: bool
) -> Decision:
    """Try tuning where it may win and the budget allows it; choose by all that is known then."""
    asked = analysis.options.decision
    beliefs, setting = _believed(analysis, probes, measured, clock)
    error = setting.probe_error
    tuning, belief = prior.candidate(beliefs, setting, blends=not asked.single)
    lead = prior.weigh(belief, setting, ())
    worth = prior.worth_trying(lead, error)
    names: tuple[Strategy, ...] = (probes.name, tuning) if worth else (probes.name,)
    forecasts = forecast.forecast(analysis, measured, probes, names if trials else TRANSFERS, clock)
    attempt, untried, needs_s, together = None, None, None, None
    name = spoken(tuning)
    if pointless := _pointless(tuning, forecasts, error, worth=worth):
        worth, untried = False, f"No trial: {pointless}"
    elif not (cost := forecast.of(forecasts, tuning)).fits:
        needs_s = cost.seconds
        untried = f"No trial: {name} does not fit the budget ({cost.text})"
    elif not trials:
        untried = "No trial here: `finetune train` settles it by a short one"
    else:
        from finetune.decision import blend  # noqa: PLC0415 - torch, which takes seconds
        from finetune.decision.trials import run_trials  # noqa: PLC0415

        def enough(results: Sequence[TrialResult]) -> bool:
            return prior.settled(prior.weigh(belief, setting, results))

        attempt = run_trials(analysis, probes, measured, clock, tuning, enough)
        lead = prior.weigh(belief, setting, attempt.results)
        if lead.contradicted and (dearer := forecast.proved(cost, analysis)) is not None:
            needs_s = dearer
        together = blend.paying(analysis, probes, attempt.trial)
    chosen = tuning if worth and needs_s is None and prior.wins(lead) else probes.name
    together = together if chosen == tuning else None
    plan = _planned(analysis, measured, probes, chosen, forecasts)
    advice = explain.by_evidence(
        asked.size or measured.size,
        asked.similarity or measured.similarity,
        plan,
        probed=probes.name,
        tuning=tuning,
        lead=lead,
        trials=attempt.results if attempt else (),
        untried=untried,
        needs_s=needs_s,
        blends=belief is beliefs.get("blend"),
        together=None if together is None else together.text,
    )
    advice = transfer.told(replace(advice, forecasts=forecasts), analysis.facts)
    if not analysis.learnt.any():
        advice = full_size.told(advice, probes, setting)
    if attempt is None or chosen != tuning:
        return Decision(advice)
    return _with_what_was_made(advice, attempt, analysis)


def _with_what_was_made(advice: Recommendation, attempt: Trials, analysis: Analysis) -> Decision:
    """The choice of tuning with its trials, where they can be used again."""
    every = len(attempt.made.labels) == len(analysis.labels)
    same = every and attempt.made.plain.shape[1] == advice.plan.side_px
    contradicted = advice.lead is not None and advice.lead.contradicted
    proof = None if contradicted else attempt.trial
    return Decision(advice, attempt.made if same else None, proof)


def _cheaper(
    analysis: Analysis,
    wanted: Strategy,
    probes: Probes,
    forecasts: Sequence[Forecast],
    *,
    forced: Strategy | None,
) -> tuple[Strategy, str | None]:
    """What is done instead of a strategy that does not fit the budget.

    The user's own word, a named strategy, outweighs a budget that nobody gave.
    """
    text = forecast.of(forecasts, wanted).text
    if forced is not None and analysis.options.decision.budget_s is None:
        analysis.listener.note(f"{spoken(wanted)} takes {text}: started because you asked for it")
        return wanted, None
    if forced is not None:
        raise UsageError(
            f"--strategy {forced} does not fit --budget: {text}",
            hint="Give a larger --budget, fewer --epochs or a smaller --image-size.",
        )
    taken, left = spoken(probes.name), spoken(wanted)
    return probes.name, f"Chosen: {taken}, because {left} does not fit the budget ({text})"
