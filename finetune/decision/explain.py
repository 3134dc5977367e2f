"""The choice in words: every reason, and what would change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from finetune.decision import table
from finetune.decision.prior import PER_DECADE
from finetune.decision.table import Rule
from finetune.records import durations
from finetune.records.analysis import Reason, SimilarityProfile, SizeProfile
from finetune.records.choices import TUNED, Similarity, Size, Strategy, spoken, spoken_metric
from finetune.records.decision import Beyond, Gain, Plan, Recommendation, TrialResult

_UNPROVED = (
    "The trial was behind by more than two standard errors, so it proves nothing: {tuning} is "
    "returned only if it beats the probe on held-out images"
)
_BLENDED = ", blended with the probe,"
_NEARNESS: dict[Similarity, str] = {"similar": "similar to", "different": "different from"}


def recommend(
    size: SizeProfile | Size,
    similarity: SimilarityProfile | Similarity,
    plan: Plan,
    *,
    forced: Strategy | None = None,
    instead: str | None = None,
) -> Recommendation:
    """Place the data in the table and say why.

    Args:
        size: Measured, or the user's word.
        similarity: The same.
        plan: Of the table's strategy, of `forced`, or of what is done `instead`.
        forced: A strategy the user named.
        instead: Why neither the table nor the user is followed.
    """
    rule = table.placed(size, similarity)
    if instead is not None:
        last = Reason("budget", instead)
    elif forced is None:
        text = f"Chosen: {spoken(rule.strategy)}, as the classic table says ({rule.action})"
        last = Reason(rule.id, f"{text}: {rule.reason}")
    else:
        text = f"Chosen: {spoken(forced)}, because you asked for it"
        agrees = "agrees" if forced == rule.strategy else f"says {spoken(rule.strategy)}"
        last = Reason("user", f"{text}. The classic table {agrees} ({rule.id})")
    return Recommendation(
        strategy=plan.strategy,
        policy="table",
        rule=rule.id,
        table=rule.strategy,
        size=rule.size,
        similarity=rule.similarity,
        reasons=(*_axes(size, similarity), last),
        flips=tuple(_flips(rule, size, similarity)),
        warning=" ".join(t for t in (rule.warning, rule.against) if t) or None,
        plan=plan,
    )


def undecided_in_words(
    size: SizeProfile | Size, similarity: SimilarityProfile | Similarity, plan: Plan
) -> Recommendation:
    """What to say of the best probe, where a training was stopped before anything was decided."""
    text = f"stopped before anything was decided: the best probe, {plan.strategy}, is kept"
    return replace(
        recommend(size, similarity, plan),
        policy="undecided",
        reasons=(*_axes(size, similarity), Reason("stopped", text)),
        flips=(),
        warning=None,
    )


def by_evidence(  # noqa: PLR0913 - all that is known
    size: SizeProfile | Size,
    similarity: SimilarityProfile | Similarity,
    plan: Plan,
    *,
    probed: Strategy,
    tuning: Strategy,
    lead: Gain,
    trials: Sequence[TrialResult],
    untried: str | None,
    needs_s: float | None = None,
    blends: bool = False,
    together: str | None = None,
) -> Recommendation:
    """Choose between the best probe and tuning by what is believed of tuning's lead, and say why.

    Args:
        size: Where the data stands in the table.
        similarity: The same.
        plan: Of the strategy that is chosen.
        probed: The strategy that the best probe is.
        tuning: The way of tuning that might be better.
        lead: What is believed of tuning's lead over it.
        trials: What was tried.
        untried: Why no trial was run, where none was.
        needs_s: Seconds that tuning takes, where the budget has fewer.
        blends: Whether what is believed is of tuning blended with the probe.
        together: What the tuned model and the probe did together in the trial, where that pays.
    """
    rule = table.placed(size, similarity)
    said = Reason(rule.id, f"The classic table says {spoken(rule.strategy)} ({rule.action})")
    before = Reason(
        "prior",
        f"On other data sets {spoken(tuning)}{_BLENDED if blends else ''} gained "
        f"{_measured(lead.prior, lead.prior_spread)} "
        f"over the best probe ({_NEARNESS[rule.similarity]} ImageNet, as many images"
        f"{' if their line goes on' if lead.beyond else ''}, such a probe error; docs/log.md)",
    )
    evidence = [Reason("beyond", _beyond(b)) for b in lead.beyond]
    evidence += [_trial_reason(t, probed) for t in trials]
    if untried is not None:
        evidence.append(Reason("trial", untried))
    taken = plan.strategy in TUNED
    if taken and lead.contradicted:
        evidence.append(Reason("proof", _UNPROVED.format(tuning=spoken(tuning))))
    strategy: Strategy = "blend" if together is not None else plan.strategy
    if together is not None:
        verdict, flip = _together(tuning, probed, together)
    else:
        verdict, flip = _taken(tuning, probed, lead) if taken else _left(tuning, lead, needs_s)
    if strategy == rule.strategy:
        verdict += ". The classic table agrees"
    else:
        verdict += f". This overrules the classic table, which says {spoken(rule.strategy)}"
    by_table = recommend(size, similarity, plan)
    return replace(
        by_table,
        strategy=strategy,
        policy="measured",
        reasons=(
            *(*_axes(size, similarity), said, before, *evidence),
            Reason("evidence", f"Chosen: {spoken(strategy)}, because {verdict}"),
        ),
        flips=(flip, *by_table.flips),
        warning=None if taken else rule.warning,
        lead=lead,
        trials=tuple(trials),
    )


def beside_prior(advice: Recommendation, reason: Reason) -> Recommendation:
    """The recommendation with one more reason, behind the prior's where it has that."""
    reasons = []
    for known in advice.reasons:
        reasons += [known, reason] if known.rule == "prior" else [known]
    return replace(advice, reasons=tuple(reasons))


def _together(tuning: Strategy, probed: Strategy, figures: str) -> tuple[str, str]:
    """Why a blend is taken, and what would have it otherwise."""
    both = f"{spoken(tuning)} and {spoken(probed)}"
    verdict = f"of what {both} do on the trial's held-out images: {figures}"
    return verdict, "if --single were given: one network"


def _taken(tuning: Strategy, probed: Strategy, lead: Gain) -> tuple[str, str]:
    """Why tuning is taken, and what would have it otherwise."""
    verdict = f"it is expected to beat the best probe by {_expected(lead)}"
    flip = f"if the gain expected of {spoken(tuning)} were {_doubt(lead)} or less: {spoken(probed)}"
    return verdict, flip


def _left(tuning: Strategy, lead: Gain, needs_s: float | None) -> tuple[str, str]:
    """Why tuning is not taken, and what would have it otherwise."""
    name = spoken(tuning)
    if needs_s is not None:
        verdict = f"{name} does not fit the budget; the gain expected of it is {_expected(lead)}"
        return (
            verdict,
            f"if --budget were {durations.as_option(needs_s)} or more: {name} would be tried",
        )
    if lead.mean > 0 and lead.behind:
        verdict = (
            f"{name} was further behind it in the trial than the error of a short trial explains"
        )
        return verdict, f"if {name} had not fallen behind in its trial: {name}"
    verdict = f"the gain expected of {name} is {_expected(lead)}"
    if lead.mean > 0:
        verdict += ", too little to be sure: in doubt the cheap probe is kept"
    return verdict, f"if the gain expected of {name} were more than {_doubt(lead)}: {name}"


def _doubt(lead: Gain) -> str:
    return f"{100 * lead.needed:.1f} points"


def _expected(lead: Gain) -> str:
    return _measured(lead.mean, lead.spread)


def _measured(value: float, error: float) -> str:
    """A difference in points with its standard error."""
    return f"{100 * value:+.1f} ± {100 * error:.1f} points"


def _beyond(b: Beyond) -> str:
    """How far the data lies outside of what was measured."""
    more = "more" if b.value > b.measured else "fewer"
    times = f"{b.times:.1f}" if b.times < 10 else f"{b.times:.0f}"
    fewer = f"{100 * b.less:.1f} points are counted off, since many classes with few images each "
    fewer += "are where tuning gains less; "
    return (
        f"This data has {times} times {more} {b.of} than the data sets on which that was measured "
        f"({b.value} instead of {b.measured}): {fewer if b.less else ''}a standard deviation of "
        f"{100 * b.spread:.1f} points is added, {100 * PER_DECADE:.0f} % of what tuning may gain "
        "for each factor of ten (by so much data sets differ; docs/log.md)"
    )


def _axes(
    size: SizeProfile | Size, similarity: SimilarityProfile | Similarity
) -> tuple[Reason, Reason]:
    """Why the data has its place in the table."""
    return (
        size.reason if isinstance(size, SizeProfile) else Reason("user", f"--size {size}"),
        similarity.reason
        if isinstance(similarity, SimilarityProfile)
        else Reason("user", f"--similarity {similarity}"),
    )


def _flips(
    rule: Rule, size: SizeProfile | Size, similarity: SimilarityProfile | Similarity
) -> list[str]:
    """How far the neighbouring cells of the table are, and what they would do."""
    other_size: Size = "large" if rule.size == "small" else "small"
    other_kind: Similarity = "different" if rule.similarity == "similar" else "similar"
    across = table.rule_for(other_size, rule.similarity)
    beside = table.rule_for(rule.size, other_kind)
    away = "" if isinstance(size, str) else f" ({size.images} images now)"
    parts = () if isinstance(similarity, str) else similarity.parts
    nearest = "; ".join(
        f"{p.name} {p.value:.2f}, {other_kind} from {getattr(p, other_kind):.2f} on"
        for p in parts
        if p.value is not None and getattr(p, other_kind) is not None and p.verdict != other_kind
    )
    return [
        f"if the data were {other_size}{away}, the table would say {spoken(across.strategy)} "
        f"({across.action})",
        f"if it were {other_kind}{f' ({nearest})' if nearest else ''}, the table would say "
        f"{spoken(beside.strategy)} ({beside.action})",
    ]


def _trial_reason(trial: TrialResult, probed: Strategy) -> Reason:
    """What a short trial has shown."""
    verb = "beat" if trial.gain >= 0 else "fell behind"
    of = "" if trial.metric == "accuracy" else f" of {spoken_metric(trial.metric)}"
    if trial.metric == "log-loss":
        of = ", its share of the log loss counted as one of the errors,"
    return Reason(
        "trial",
        f"In a short trial {spoken(trial.strategy)} {verb} {spoken(probed)} by "
        f"{100 * abs(trial.gain):.1f} ± {100 * trial.noise:.1f} points{of} on {trial.judged_on} "
        f"held-out images ({trial.epochs} epochs at {trial.side_px} px on {trial.learnt_from} "
        f"others, {durations.in_words(trial.seconds)})",
    )
