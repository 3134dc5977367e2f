"""What would be done with labels or numbers, in words: nothing is trained for it."""

from __future__ import annotations

from dataclasses import replace

from finetune.analysis.analyze import Analysis
from finetune.analysis.target_probes import TargetProbes
from finetune.decision import explain, forecast
from finetune.decision.target_choice import TargetChoice
from finetune.records import durations
from finetune.records.analysis import DatasetProfile, Reason
from finetune.records.choices import TUNED, OtherTarget, spoken
from finetune.records.decision import Recommendation

_STRATA: dict[OtherTarget, str] = {
    "labels": "the rarest label of each image",
    "number": "ranges of the number",
}


def recommend(
    analysis: Analysis, probes: TargetProbes, measured: DatasetProfile, choice: TargetChoice
) -> Recommendation:
    """The choice as an answer: with the classic table's cell as a hint, and what would flip it.

    Args:
        analysis: The data.
        probes: Those of the target.
        measured: The two axes.
        choice: What `train` would try.
    """
    asked, target = analysis.options.decision, analysis.dataset.target
    assert target is not None
    by_table = explain.recommend(
        asked.size or measured.size, asked.similarity or measured.similarity, choice.plan
    )
    to_the_letter = asked.policy == "table"
    strata = _STRATA[probes.aim.kind]
    reasons = [
        *(Reason("target", target.reason), *by_table.reasons[:-1]),
        Reason("strata", f"Size and similarity were measured with {strata} in place of classes"),
        *choice.reasons,
    ]
    if not choice.reasons[-1].text.startswith("Chosen: "):
        reasons.append(_last(choice, probes, to_the_letter=to_the_letter))
    if analysis.choice is not None:
        reasons.insert(0, Reason("backbone", analysis.choice.reason))
    return replace(
        by_table,
        strategy=choice.strategy,
        policy="table" if to_the_letter else "measured",
        reasons=tuple(reasons),
        flips=by_table.flips if to_the_letter else _flips(analysis, probes, choice),
        warning=None,
        forecasts=choice.forecasts,
    )


def _last(choice: TargetChoice, probes: TargetProbes, *, to_the_letter: bool) -> Reason:
    """Why that is chosen, in one sentence."""
    name = spoken(choice.strategy)
    text = f"Chosen: {name}, because the best probe makes no error that tuning could fix"
    if to_the_letter:
        text = f"Chosen: {name}, as --policy table follows the classic table to the letter"
    elif choice.strategy in TUNED:
        text = (
            f"Chosen: {name}, to be proved: `finetune train` returns it only where held-out "
            f"images tell it from {spoken(probes.name)}, else that"
        )
    return Reason("evidence", text)


def _flips(analysis: Analysis, probes: TargetProbes, choice: TargetChoice) -> tuple[str, ...]:
    """What would have it otherwise."""
    if choice.strategy in TUNED:
        return (
            f"if {spoken(choice.strategy)} did not beat {spoken(probes.name)} by more than a "
            f"standard error on held-out images: {spoken(probes.name)}",
        )
    if choice.reasons[-1].rule != "budget":
        return ()
    cost = forecast.of(choice.forecasts, "deep")
    needed = forecast.proved(cost, analysis) or cost.seconds
    return (
        f"if --budget were {durations.as_option(needed)} or more: {spoken('deep')} would be tried",
    )
