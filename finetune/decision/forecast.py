"""What each strategy will cost from here, and whether the budget allows it."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.backbones import ranks
from finetune.decision.planning import plan_for
from finetune.records import durations
from finetune.records.analysis import DatasetProfile
from finetune.records.choices import TUNED, Strategy
from finetune.records.decision import Forecast
from finetune.records.errors import MemoryShortError

# Where the budget does not allow the backbone's own size these are tried: the truth table was made
# at them, and deep tuning beat the probe there all the same (docs/log.md).
BUDGET_SIDES_PX = (160, 128)
# Nobody waits for longer without having asked for it.
DEFAULT_BUDGET_S = 900.0


def forecast(
    analysis: Analysis,
    measured: DatasetProfile,
    probes: Probes,
    names: Sequence[Strategy],
    clock: Clock,
) -> tuple[Forecast, ...]:
    """What each strategy will cost from here; for tuning, two batches are timed.

    A training that goes on takes what it forecast at first, so that it decides the same.
    """
    known = analysis.progress.begun.forecasts if analysis.progress is not None else None
    known = ranks.agreed(known)
    # those of a run that is repeated may be of other strategies, where other images are given
    if known is not None and set(names) <= {f.strategy for f in known}:
        return known
    asked, overrides = analysis.options.decision, analysis.options.training.overrides
    budget = _budget(analysis)
    free = asked.strategy == "auto" and "side_px" not in overrides
    sides = BUDGET_SIDES_PX if free else ()
    test = len(analysis.splits.test) * analysis.seconds_per_image
    found = []
    with clock.step("forecast", f"forecasting the time of {', '.join(names)}"):
        for name in names:
            one = _forecast_of(analysis, measured, probes, name, None, budget, test)
            for side in sides:
                if not one.fits and one.side_px > side:
                    one = _forecast_of(analysis, measured, probes, name, side, budget, test)
            found.append(one)
    if analysis.progress is not None:
        analysis.progress.keep_forecasts(tuple(found))
    return tuple(found)


def _forecast_of(  # noqa: PLR0913 - all of it is needed for one figure
    analysis: Analysis,
    measured: DatasetProfile,
    probes: Probes,
    name: Strategy,
    most_side_px: int | None,
    budget: float,
    test: float,
    *,
    refit: bool = True,
) -> Forecast:
    """One strategy at no more than some resolution; a second training is the first to be left."""
    plan = plan_for(analysis, measured, probes, name, most_side_px, refit=refit)
    seconds, text = test, f"{len(analysis.splits.test)} test images to read"
    if name in TUNED:
        from finetune.decision import timing  # noqa: PLC0415 - torch, which takes seconds

        try:
            tuning, text = ranks.agreed(timing.seconds(analysis, plan))
        except MemoryShortError as fault:
            if name == analysis.options.decision.strategy:
                raise  # the user's own word: there is nothing to do instead
            return Forecast(
                strategy=name,
                side_px=plan.side_px,
                seconds=0.0,
                fits=False,
                text=fault.message,
                refit=refit,
                memory=fault.message,
            )
        seconds += tuning
    asked = analysis.options.decision
    given = asked.budget_s is not None or asked.strategy == "auto"
    if plan.refit and plan.why["refit"] != "user" and given and seconds > budget:
        known = (analysis, measured, probes, name, most_side_px, budget, test)
        return _forecast_of(*known, refit=False)
    limit = f"the budget is {durations.in_words(budget)}" if given else "no budget was given"
    if given and analysis.choice is not None:
        limit += ", less what choosing the backbone took"
    text = f"about {durations.in_words(seconds)}: {text}; {limit}"
    return Forecast(
        strategy=name,
        side_px=plan.side_px,
        seconds=seconds,
        fits=seconds <= budget,
        text=text,
        refit=refit,
    )


def proved(cost: Forecast, analysis: Analysis) -> float | None:
    """Seconds of a tuning that no trial proves, where the budget has fewer; else None.

    Where there are enough validation images its proof is part of it already.
    """
    from finetune.decision import timing, trials  # noqa: PLC0415 - torch, which takes seconds

    if trials.judged_on_split(analysis, cost.strategy):
        return None
    seconds = (1 + timing.PROOF) * cost.seconds
    return seconds if seconds > _budget(analysis) else None


def _budget(analysis: Analysis) -> float:
    """Seconds there are, less those that choosing the backbone took."""
    budget = analysis.options.decision.budget_s or DEFAULT_BUDGET_S
    return budget if analysis.choice is None else max(1.0, budget - analysis.choice.seconds)


def of(forecasts: Sequence[Forecast], name: Strategy) -> Forecast:
    """The forecast of one strategy."""
    return next(f for f in forecasts if f.strategy == name)
