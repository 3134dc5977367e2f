"""Take the choice: the table is the prior, short trials of tuning are the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from finetune import checks, strategy
from finetune.errors import UsageError
from finetune.records import (
    DatasetProfile,
    Forecast,
    Reason,
    Recommendation,
    Size,
    SizeProfile,
    Strategy,
)
from finetune.survey import Clock, Probes, Survey, plan_for

if TYPE_CHECKING:
    from finetune import tune

# Nobody waits for longer without having asked for it.
DEFAULT_BUDGET_S = 900.0


@dataclass(frozen=True)
class Decision:
    """The choice, and what was made on the way to it that its realisation can use.

    `proof` is the trial in which the chosen tuning beat the probe; `made` its images, where they
    have the resolution of the plan.
    """

    advice: Recommendation
    made: tune.Material | None = None
    proof: tune.Trial | None = None


def decide(
    survey: Survey, probes: Probes, measured: DatasetProfile, clock: Clock, *, trials: bool
) -> Decision:
    """Choose a strategy and resolve its plan.

    Args:
        survey: The data.
        probes: Linear classifiers, cross-validated.
        measured: The two axes.
        clock: Times the steps.
        trials: Whether short trials of tuning may be run; without them the prior decides.

    Raises:
        UsageError: the strategy that the user named does not fit the budget that the user gave.
    """
    request = survey.request
    size: SizeProfile | Size = request.size or measured.size
    similarity = request.similarity or measured.similarity
    rule = strategy.placed(size, similarity)
    forced = None if request.strategy == "auto" else strategy.named(request.strategy)
    by_table = forced is not None or request.policy == "table"
    wanted = forced or rule.strategy
    if forced is None and (blank := _blank(survey)):
        return _untuned(survey, measured, probes, f"{blank}, which leaves nothing to tune on")
    if not by_table:
        return _by_evidence(survey, probes, measured, clock, trials=trials)
    names = (wanted,) if trials else strategy.TRANSFERS
    forecasts = forecast(survey, measured, probes, names, clock)
    instead = None
    if wanted in strategy.TUNED and not _forecast(forecasts, wanted).fits:
        wanted, instead = _cheaper(survey, wanted, probes, forecasts, forced=forced is not None)
    allowed = next((f.side_px for f in forecasts if f.strategy == wanted), None)
    plan = plan_for(survey, measured, probes, wanted, allowed)
    advice = strategy.recommend(size, similarity, plan, forced=forced, instead=instead)
    return Decision(replace(advice, forecasts=forecasts))


def _untuned(survey: Survey, measured: DatasetProfile, probes: Probes, because: str) -> Decision:
    """The best probe, and no time spent on anything else."""
    advice = undecided(survey, probes, measured)
    last = Reason("data", f"{probes.name}: {because}")
    return Decision(
        replace(advice, policy=survey.request.policy, reasons=(*advice.reasons[:-1], last))
    )


def _blank(survey: Survey) -> str:
    """That most pictures are of one colour, where they are."""
    if survey.examined is None:
        return ""
    subject = survey.examined.subject
    blank, images = len(subject.plain), len(subject.glances)
    told = f"{blank} of {images} images show one colour and nothing else (FT125)"
    return told if checks.mostly_blank(blank, images) else ""


def undecided(survey: Survey, probes: Probes, measured: DatasetProfile) -> Recommendation:
    """The best probe, where the training was stopped before a choice was made."""
    request = survey.request
    return strategy.undecided(
        request.size or measured.size,
        request.similarity or measured.similarity,
        plan_for(survey, measured, probes, probes.name),
    )


def _by_evidence(
    survey: Survey, probes: Probes, measured: DatasetProfile, clock: Clock, *, trials: bool
) -> Decision:
    """Try tuning where it may win and the budget allows it; choose by all that is known then."""
    request = survey.request
    beliefs = strategy.BELIEFS[request.similarity or measured.similarity.column]
    images, error = survey.images, probes.error
    tuning = strategy.candidate(beliefs, images, error)
    belief = beliefs[tuning]
    lead = strategy.weigh(belief, images, error, ())
    worth = strategy.worth_trying(lead, error)
    names: tuple[Strategy, ...] = (probes.name, tuning) if worth else (probes.name,)
    forecasts = forecast(survey, measured, probes, names if trials else strategy.TRANSFERS, clock)
    attempt, untried, needs_s = None, None, None
    name = strategy.spoken(tuning)
    if not worth:
        untried = f"No trial: {name} hardly ever beats the probe on such data"
        if error == 0:
            untried = "No trial: the best probe makes no error that tuning could mend"
    elif not (cost := _forecast(forecasts, tuning)).fits:
        needs_s = cost.seconds
        untried = f"No trial: {name} does not fit the budget ({cost.text})"
    elif not trials:
        untried = "No trial here: `finetune train` settles it by a short one"
    else:
        from finetune import trials as tuned  # noqa: PLC0415 - torch, which takes seconds

        attempt = tuned.attempt(survey, probes, measured, clock, tuning, belief)
        lead = strategy.weigh(belief, images, error, attempt.results)
    chosen = tuning if worth and needs_s is None and strategy.wins(lead) else probes.name
    plan = plan_for(survey, measured, probes, chosen, _forecast(forecasts, chosen).side_px)
    advice = strategy.by_evidence(
        request.size or measured.size,
        request.similarity or measured.similarity,
        plan,
        probed=probes.name,
        tuning=tuning,
        lead=lead,
        trials=attempt.results if attempt else (),
        untried=untried,
        needs_s=needs_s,
    )
    advice = replace(advice, forecasts=forecasts)
    if attempt is None or chosen != tuning:
        return Decision(advice)
    same = len(attempt.made.labels) == len(survey.labels) and (
        attempt.made.plain.shape[1] == plan.side_px
    )
    return Decision(advice, attempt.made if same else None, attempt.trial)


def _cheaper(
    survey: Survey, wanted: Strategy, probes: Probes, forecasts: Sequence[Forecast], *, forced: bool
) -> tuple[Strategy, str | None]:
    """What is done instead of a strategy that does not fit the budget.

    The user's own word, a named strategy, outweighs a budget that nobody gave.
    """
    text = _forecast(forecasts, wanted).text
    if forced and survey.request.budget_s is None:
        survey.listener.note(
            f"{strategy.spoken(wanted)} takes {text}: started because you asked for it"
        )
        return wanted, None
    if forced:
        raise UsageError(
            f"--strategy {wanted} does not fit --budget: {text}",
            hint="Give a larger --budget, fewer --epochs or a smaller --side-px.",
        )
    taken, left = strategy.spoken(probes.name), strategy.spoken(wanted)
    return probes.name, f"Chosen: {taken}, because {left} does not fit the budget ({text})"


def forecast(
    survey: Survey,
    measured: DatasetProfile,
    probes: Probes,
    names: Sequence[Strategy],
    clock: Clock,
) -> tuple[Forecast, ...]:
    """What each strategy will cost from here; for tuning, two batches are timed.

    A training that goes on takes what it forecast at first, so that it decides the same.
    """
    known = survey.progress.begun.forecasts if survey.progress is not None else None
    # those of a run that is repeated may be of other strategies, where other images are given
    if known is not None and set(names) <= {f.strategy for f in known}:
        return known
    budget = survey.request.budget_s or DEFAULT_BUDGET_S
    free = survey.request.strategy == "auto" and "side_px" not in survey.request.options
    sides = strategy.BUDGET_SIDES_PX if free else ()
    test = len(survey.splits.test) * survey.seconds_per_image
    found = []
    with clock.step("forecast", f"forecasting the time of {', '.join(names)}"):
        for name in names:
            one = _forecast_of(survey, measured, probes, name, None, budget, test)
            for side in sides:
                if not one.fits and one.side_px > side:
                    one = _forecast_of(survey, measured, probes, name, side, budget, test)
            found.append(one)
    if survey.progress is not None:
        survey.progress.keep_forecasts(tuple(found))
    return tuple(found)


def _forecast_of(
    survey: Survey,
    measured: DatasetProfile,
    probes: Probes,
    name: Strategy,
    most_side_px: int | None,
    budget: float,
    test: float,
) -> Forecast:
    """One strategy at no more than some resolution."""
    plan = plan_for(survey, measured, probes, name, most_side_px)
    seconds, text = test, f"{len(survey.splits.test)} test images to read"
    if name in strategy.TUNED:
        from finetune import trials  # noqa: PLC0415 - torch, which takes seconds

        tuning, text = trials.seconds(survey, plan)
        seconds += tuning
    given = survey.request.budget_s is not None or survey.request.strategy == "auto"
    limit = f"the budget is {budget:.0f} s" if given else "no budget was given"
    text = f"about {seconds:.0f} s: {text}; {limit}"
    return Forecast(name, plan.side_px, seconds, seconds <= budget, text)


def _forecast(forecasts: Sequence[Forecast], name: Strategy) -> Forecast:
    return next(f for f in forecasts if f.strategy == name)
