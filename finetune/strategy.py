"""The decision table and the rules that turn a strategy into a plan; pure, no torch.

The table is the classic one of the CS231n lectures (slide "Transfer Learning with CNNs"). It is
the prior: a tuned model is still returned only if it beats the probe on images kept from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from finetune.errors import UsageError
from finetune.records import (
    Augment,
    Lead,
    Plan,
    Reason,
    Recommendation,
    Similarity,
    SimilarityProfile,
    Size,
    SizeProfile,
    Strategy,
    TrialResult,
)


@dataclass(frozen=True)
class Rule:
    """One cell of the decision table."""

    id: str
    size: Size
    similarity: Similarity
    strategy: Strategy
    action: str
    reason: str
    warning: str | None = None
    against: str | None = None  # what speaks against following the table to the letter


RULES = (
    Rule(
        "T1",
        "small",
        "similar",
        "linear-probe",
        "linear classifier on the top layer",
        "the top features already fit, and few images would only distort them",
    ),
    Rule(
        "T2",
        "small",
        "different",
        "stage-probe",
        "linear classifiers from different stages",
        "the top features fit badly and there are too few images to change them: earlier stages "
        "are more general",
        "You are in trouble: little data, and unlike ImageNet. Expect a modest accuracy; more "
        "images help most.",
        "Measured on twelve data sets, tuning often wins in this cell all the same (docs/log.md): "
        "`finetune train DIR` tries it unless --policy table is given.",
    ),
    Rule(
        "T3",
        "large",
        "similar",
        "partial",
        "fine-tune a few layers",
        "the features fit, and there are enough images to adapt the last stage to the classes",
    ),
    Rule(
        "T4",
        "large",
        "different",
        "deep",
        "fine-tune a larger number of layers",
        "the features fit badly, and there are enough images to change most of them",
    ),
)

STRATEGIES: tuple[Strategy, ...] = ("linear-probe", "stage-probe", "partial", "deep", "scratch")
TRANSFERS = STRATEGIES[:4]  # those of the table; `scratch` is for comparison only
TUNED: tuple[Strategy, ...] = ("partial", "deep", "scratch")
SPOKEN: dict[Strategy, str] = {
    "linear-probe": "the linear probe",
    "stage-probe": "the stage probe",
    "partial": "partial fine-tuning",
    "deep": "deep fine-tuning",
    "scratch": "training from scratch",
}
OPTIMISERS = ("sgd", "adam", "adamw", "adadelta", "adagrad")

# The default backbone's stages, so that the table can be explained without torch; a test compares.
DEFAULT_STAGES = ("stem", "1", "2", "3", "4", "5")
DEFAULT_SIDE_PX = 224
# What "small" and "large" stand for when no folder is given.
TYPICAL_IMAGES = {"small": 200, "large": 2000}

# Rate of the last tuned stage at batch 16, on (similar, different) data. AdamW's are measured
# (docs/log.md, 2026-11-23); Adam's are the same. SGD's follow Li et al. 2020: effective rates near
# .01 and .3 at batch 256, momentum .9, moved to batch 16. Adadelta and Adagrad: torch's default
# rates (1 and .01) lowered by the factor that Adam's default has to be.
RATES = {
    "adamw": (3e-4, 1e-3),
    "adam": (3e-4, 1e-3),
    "sgd": (1e-3, 5e-3),
    "adadelta": (0.3, 0.5),
    "adagrad": (3e-3, 5e-3),
}
# Networks without BatchNorm (ViT, ConvNeXt) are tuned at 1e-5 to 1e-4 (shared practice; AutoGluon's
# default is 1e-4 for such a network): a tenth of the rates above.
NO_BATCHNORM_FACTOR = 0.1
HEAD_FACTOR = 3.0  # the head is new, the body is not; measured with the rates above
SLOWER = 3.0  # the rate is divided by this where a training falls apart (docs/log.md, 2026-11-24)
SCRATCH_FACTOR = 4.0  # nothing to preserve: torch's own 2e-3 or so for Adam at this batch
WEIGHT_DECAY = {"adamw": 1e-2, "adam": 0.0, "sgd": 1e-4, "adadelta": 0.0, "adagrad": 0.0}


@dataclass(frozen=True)
class Belief:
    """What other data sets have shown of one way of tuning, as shares of the probe's `stake`.

    `lead` is the mean lead over the best probe at 100 training images, `slope` how much more it is
    with ten times as many, `spread` the standard deviation around that. `handicap` is
    what a short tuning on half of the images falls short of it, and `trial_spread` how far its word
    may be off beside its own noise.
    """

    lead: float
    slope: float
    spread: float
    handicap: float
    trial_spread: float


# Fitted by `python benchmarks/regret.py --report` on twelve data sets (docs/log.md).
BELIEFS: dict[Similarity, dict[Strategy, Belief]] = {
    "similar": {
        "partial": Belief(0.01, 0.09, 0.13, 0.14, 0.19),
        "deep": Belief(0.08, 0.18, 0.13, 0.43, 0.18),
    },
    "different": {
        "partial": Belief(0.19, -0.37, 0.54, 0.14, 0.29),
        "deep": Belief(0.25, 0.05, 0.40, 0.30, 0.50),
    },
}
SURE = 2.0  # spreads; about one chance in forty beyond
# Spreads. Beyond, a second half changed no choice; below, tuning is not taken: where it was, it was
# as often worse than the probe as better (docs/log.md, 2026-11-25).
SETTLED = 0.5
LEAST_STAKE = 0.03  # below this a share is a share of one or two images
# Largest class by smallest; measured at 10 and 40 (docs/log.md, 2026-11-25), below it is a guess.
WEIGHED_FROM = 3.0
TRIAL_STEPS = 100
TARGET_STEPS = 300  # docs/log.md, 2026-11-23; BiT's 500 at batch 512 is out of reach on a CPU
WARMUP = 0.1
# A trial warms up for as many steps as a training of `TARGET_STEPS`: in a third of them the rate
# threw some networks off, and the trial told of that and not of tuning (docs/log.md, 2026-11-24).
TRIAL_WARMUP = WARMUP * TARGET_STEPS / TRIAL_STEPS
EPOCHS = {"fewest": 10, "most": 40, "scratch": 60}
LOW_RESOLUTION_PX = 160  # BiT-HyperRule has the same kind of cut: small pictures are tuned small
TUNE_SIDE_PX = 128
# Where the budget does not allow the backbone's own size these are tried: the truth table was made
# at them, and deep tuning beat the probe there all the same (docs/log.md).
BUDGET_SIDES_PX = (160, 128)
AUGMENT = Augment(crop=0.6, flip=0.5, rotation_deg=10.0, translation=0.05, stretch=0.15, colour=0.2)

# Smallest and largest value an option may have.
_RANGES = {
    "epochs": (1, 10_000),
    "batch_size": (1, 4096),
    "side_px": (16, 2048),
    "lr": (1e-9, 100.0),
    "patience": (1, 10_000),
    "label_smoothing": (0.0, 0.9),
    "dropout": (0.0, 0.9),
    "weight_decay": (0.0, 10.0),
    "crop": (0.05, 1.0),
    "flip": (0.0, 1.0),
    "rotation_deg": (0.0, 180.0),
    "translation": (0.0, 0.5),
    "stretch": (0.0, 1.0),
    "colour": (0.0, 1.0),
}


def check(user: Mapping[str, Any]) -> None:
    """Refuse options out of range before any work is done.

    Raises:
        UsageError: names the option and its value.
    """
    optimiser = user.get("optimiser", OPTIMISERS[0])
    if optimiser not in OPTIMISERS:
        raise UsageError(
            f"unknown optimiser '{optimiser}'", hint=f"Use one of {', '.join(OPTIMISERS)}."
        )
    for name, (low, high) in _RANGES.items():
        if name in user and not low <= user[name] <= high:
            raise UsageError(
                f"--{name.replace('_', '-')} is {user[name]}",
                hint=f"Give a value from {low:g} to {high:g}.",
            )


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
    rule = placed(size, similarity)
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


def undecided(
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
    lead: Lead,
    trials: Sequence[TrialResult],
    untried: str | None,
    needs_s: float | None = None,
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
    """
    rule = placed(size, similarity)
    said = Reason(rule.id, f"The classic table says {spoken(rule.strategy)} ({rule.action})")
    before = Reason(
        "prior",
        f"On other data sets {spoken(tuning)} gained {_measured(lead.prior, lead.prior_spread)} "
        f"over the best probe, with as many {rule.similarity} images and such a probe error "
        "(docs/log.md)",
    )
    evidence = [_trial_reason(t, probed) for t in trials]
    if untried is not None:
        evidence.append(Reason("trial", untried))
    taken = plan.strategy in TUNED
    verdict, flip = _taken(tuning, probed, lead) if taken else _left(tuning, lead, needs_s)
    if plan.strategy == rule.strategy:
        verdict += ". The classic table agrees"
    else:
        verdict += f". This overrules the classic table, which says {spoken(rule.strategy)}"
    by_table = recommend(size, similarity, plan)
    return replace(
        by_table,
        policy="measured",
        reasons=(
            *(*_axes(size, similarity), said, before, *evidence),
            Reason("evidence", f"Chosen: {spoken(plan.strategy)}, because {verdict}"),
        ),
        flips=(flip, *by_table.flips),
        warning=None if taken else rule.warning,
        lead=lead,
        trials=tuple(trials),
    )


def _taken(tuning: Strategy, probed: Strategy, lead: Lead) -> tuple[str, str]:
    """Why tuning is taken, and what would have it otherwise."""
    verdict = f"it is expected to beat the best probe by {_expected(lead)}"
    flip = f"if the gain expected of {spoken(tuning)} were {_doubt(lead)} or less: {spoken(probed)}"
    return verdict, flip


def _left(tuning: Strategy, lead: Lead, needs_s: float | None) -> tuple[str, str]:
    """Why tuning is not taken, and what would have it otherwise."""
    name = spoken(tuning)
    if needs_s is not None:
        verdict = f"{name} does not fit the budget; the gain expected of it is {_expected(lead)}"
        return verdict, f"if --budget were {math.ceil(needs_s)}s or more: {name} would be tried"
    if lead.mean > 0 and lead.behind:
        verdict = f"{name} fell further behind it in the trial than so short a trial may mislead"
        return verdict, f"if {name} had not fallen behind in its trial: {name}"
    verdict = f"the gain expected of {name} is {_expected(lead)}"
    if lead.mean > 0:
        verdict += ", too little to be sure: in doubt the cheap probe is kept"
    return verdict, f"if the gain expected of {name} were more than {_doubt(lead)}: {name}"


def _doubt(lead: Lead) -> str:
    return f"{100 * SETTLED * lead.spread:.1f} points"


def _expected(lead: Lead) -> str:
    return _measured(lead.mean, lead.spread)


def _measured(value: float, error: float) -> str:
    """A difference in points with its standard error."""
    return f"{100 * value:+.1f} ± {100 * error:.1f} points"


def weigh(belief: Belief, images: int, probe_error: float, trials: Sequence[TrialResult]) -> Lead:
    """What to believe of tuning's lead over the best probe: a prior, and trials counted in.

    Prior and trials are taken as normal, so the result is their mean weighted by precision.

    Args:
        belief: What other data sets of this column have shown.
        images: How many there are to learn from.
        probe_error: Cross-validated error of the best probe, a fraction of 1.
        trials: Short tunings, each judged on other images.
    """
    share = belief.lead + belief.slope * math.log10(max(images, 1) / 100)
    scale = stake(probe_error)
    prior, spread = share * scale, belief.spread * scale
    if not trials:
        return Lead(prior, spread, prior, spread)
    handicap = belief.handicap * scale
    gain, noise = pooled(trials)
    off = math.hypot(noise, belief.trial_spread * scale)
    precision = 1 / spread**2 + 1 / off**2
    mean = (prior / spread**2 + (gain + handicap) / off**2) / precision
    allowed = handicap + off
    return Lead(prior, spread, mean, math.sqrt(1 / precision), allowed, gain < -allowed)


def stake(probe_error: float) -> float:
    """What tuning may gain over a probe of this error: error times accuracy, but never nothing.

    Of a small error tuning removes a share; an error beyond one half tells of classes that vary too
    much for the images there are, and of that it removes less (docs/log.md, 2026-11-23).
    """
    return max(probe_error * (1 - probe_error), LEAST_STAKE)


def pooled(trials: Sequence[TrialResult]) -> tuple[float, float]:
    """Gain of all trials together, weighted by precision, and its noise."""
    # one image more or less is never beyond noise, even where all happened to agree
    weights = [1 / max(t.noise, 1 / t.judged_on) ** 2 for t in trials]
    gain = sum(w * t.gain for w, t in zip(weights, trials, strict=True)) / sum(weights)
    return gain, 1 / math.sqrt(sum(weights))


def wins(lead: Lead) -> bool:
    """Whether tuning is to be preferred: that it leads is settled, and it was not seen behind.

    Behind means by more than a short trial falls short and its word may be off, on images that it
    did not learn from: the floor. In doubt the cheap probe is kept.
    """
    return lead.mean > 0 and settled(lead) and not lead.behind


def candidate(beliefs: Mapping[Strategy, Belief], images: int, probe_error: float) -> Strategy:
    """The way of tuning that is expected to do best, before any trial: the only one tried."""
    return max(beliefs, key=lambda name: weigh(beliefs[name], images, probe_error, ()).prior)


def worth_trying(lead: Lead, probe_error: float) -> bool:
    """Whether tuning may win at all: the probe makes errors, and the lead could be above zero."""
    return probe_error > 0 and lead.mean + SURE * lead.spread > 0


def settled(lead: Lead) -> bool:
    """Whether the sign of the lead is beyond reasonable doubt, so that no more need be tried."""
    return abs(lead.mean) > SETTLED * lead.spread


def short(plan: Plan, images: int, *, one_size: bool = False) -> Plan:
    """The plan of a trial that learns from so many images: few steps, low resolution.

    Args:
        plan: Of the training that it stands for.
        images: How many the trial learns from.
        one_size: Whether the backbone takes pictures of no other size than the plan's.
    """
    steps = math.ceil(images / plan.batch_size)
    epochs = min(plan.epochs, max(1, round(TRIAL_STEPS / steps)))
    side = plan.side_px if one_size else min(plan.side_px, TUNE_SIDE_PX)
    return replace(plan, epochs=epochs, side_px=side, warmup=TRIAL_WARMUP)


def slower(plan: Plan, times: int) -> Plan:
    """The plan at a rate that was lowered so often, since the training fell apart at a larger."""
    factor = SLOWER**times
    text = f"{plan.why['lr']}; divided by {factor:g}: at {plan.lr:g} the training fell apart"
    why = plan.why if times == 0 else {**plan.why, "lr": text}
    return replace(plan, lr=plan.lr / factor, head_lr=plan.head_lr / factor, why=why)


def rule_for(size: Size, similarity: Similarity) -> Rule:
    """The cell of the table."""
    return next(r for r in RULES if (r.size, r.similarity) == (size, similarity))


def placed(size: SizeProfile | Size, similarity: SimilarityProfile | Similarity) -> Rule:
    """The cell that the data stands in, measured or by the user's word."""
    row = size.verdict if isinstance(size, SizeProfile) else size
    column = similarity.column if isinstance(similarity, SimilarityProfile) else similarity
    return rule_for(row, column)


def named(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        UsageError: there is none.
    """
    found: Strategy | None = next((s for s in STRATEGIES if s == name), None)
    if found is None:
        raise UsageError(
            f"unknown strategy '{name}'", hint=f"Use auto or one of {', '.join(STRATEGIES)}."
        )
    return found


def spoken(strategy: Strategy) -> str:
    """A strategy as it is called in a sentence."""
    return SPOKEN[strategy]


def actions() -> dict[tuple[Size, Similarity], str]:
    """What the table says in each cell, for those who draw it."""
    return {(r.size, r.similarity): r.action for r in RULES}


@dataclass(frozen=True)
class Facts:
    """What the rules for a plan look at; `rarest` and `commonest` count images of a class.

    `most_side_px` is the resolution that the budget allows, where it allows less than the rule's.
    """

    images: int
    similarity: Similarity
    stages: tuple[str, ...] = DEFAULT_STAGES
    side_px: int = DEFAULT_SIDE_PX
    fixed_side: bool = False
    batchnorm: bool = True
    median_side_px: int | None = None
    most_side_px: int | None = None
    symbols: bool = False
    symbols_reason: str = "no class names given"
    rarest: int = 1
    commonest: int = 1


def resolve(
    strategy: Strategy, facts: Facts, user: Mapping[str, Any], taps: tuple[str, ...] = ("top",)
) -> Plan:
    """Resolve every hyper-parameter, each with the rule or the user's option behind it.

    Args:
        strategy: What is to be done.
        facts: Size, distance and shape of the data and the backbone.
        user: Options given by hand, by field name of `Plan` or `Augment`.
        taps: The stages whose features the head reads; none where no data has chosen them yet.

    Raises:
        UsageError: an option out of range.
    """
    check(user)
    if strategy not in TUNED:
        return _probe_plan(strategy, facts, taps)
    if facts.fixed_side and user.get("side_px", facts.side_px) != facts.side_px:
        raise UsageError(
            f"--side-px is {user['side_px']}, this backbone takes {facts.side_px} only",
            hint="Leave it out, or choose another --backbone.",
        )
    why: dict[str, str] = {"strategy": "see the reasons"}
    scratch = strategy == "scratch"
    side, why["side_px"] = _side(facts)
    batch, why["batch_size"] = _batch(facts.images)
    batch = int(user.get("batch_size", batch))
    optimiser = str(user.get("optimiser", "adamw"))
    why["optimiser"] = "steady on few images without tuning of its own (docs/log.md)"
    lr, why["lr"] = _rate(strategy, optimiser, batch, facts)
    lr = float(user.get("lr", lr))
    factor = 1.0 if scratch else HEAD_FACTOR
    epochs, why["epochs"] = _epochs(strategy, facts.images, batch)
    epochs = int(user.get("epochs", epochs))
    augment, augment_why = _augmentation(facts, user)
    imbalance = facts.commonest / max(1, facts.rarest)
    why |= augment_why | {
        "tuned_stages": _STAGES_WHY[strategy],
        "taps": "the top features",
        "head_lr": "as the body's" if scratch else f"{factor:g} times the body's: it is new",
        "stage_decay": "all stages start from nothing"
        if scratch
        else "smaller rates toward the stem, whose features are the most general",
        "weight_decay": f"usual for {optimiser}",
        "warmup": "a tenth of the steps, then cosine",
        "patience": "half of the epochs, at least 6: a cosine schedule gains most near its end",
        "label_smoothing": "as measured (docs/log.md)",
        "dropout": "on the top features",
        "class_weights": _weights_why(imbalance),
    }
    plan = Plan(
        strategy=strategy,
        taps=taps,
        tuned_stages=_stages(strategy, facts.stages),
        side_px=side,
        epochs=epochs,
        batch_size=batch,
        optimiser=optimiser,
        lr=lr,
        head_lr=factor * lr,
        stage_decay=1.0 if scratch else 0.8,
        weight_decay=WEIGHT_DECAY[optimiser],
        warmup=WARMUP,
        patience=max(6, epochs // 2),
        label_smoothing=0.1,
        dropout=0.1,
        class_weights=imbalance >= WEIGHED_FROM,
        augment=augment,
        why={},
    )
    direct = {f.name for f in fields(Plan)} & set(user)
    known = direct | ({f.name for f in fields(Augment)} & set(user))
    why |= dict.fromkeys(known, "user")
    return replace(plan, why=why, **{name: user[name] for name in direct})


def _probe_plan(strategy: Strategy, facts: Facts, taps: tuple[str, ...]) -> Plan:
    """The backbone stays frozen, so nothing that belongs to tuning is used."""
    names = {f.name for f in (*fields(Plan), *fields(Augment))} - {"why", "augment"}
    chosen = "the features with the least cross-validated log loss, by a standard error at least"
    why = dict.fromkeys(names, "not used: the backbone stays frozen") | {
        "strategy": "see the reasons",
        "side_px": "the backbone's input size",
        "taps": "the top features"
        if strategy == "linear-probe"
        else chosen
        if taps
        else f"chosen on the data: {chosen}",
    }
    return Plan(
        strategy=strategy,
        taps=taps,
        tuned_stages=(),
        side_px=facts.side_px,
        epochs=0,
        batch_size=0,
        optimiser="none",
        lr=0.0,
        head_lr=0.0,
        stage_decay=1.0,
        weight_decay=0.0,
        warmup=0.0,
        patience=0,
        label_smoothing=0.0,
        dropout=0.0,
        class_weights=False,
        augment=Augment(1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        why=why,
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
    across = rule_for(other_size, rule.similarity)
    beside = rule_for(rule.size, other_kind)
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
    return Reason(
        "trial",
        f"In a short trial {spoken(trial.strategy)} {verb} {spoken(probed)} by "
        f"{100 * abs(trial.gain):.1f} ± {100 * trial.noise:.1f} points on {trial.judged_on} "
        f"held-out images ({trial.epochs} epochs at {trial.side_px} px on {trial.learnt_from} "
        f"others, {trial.seconds:.0f} s)",
    )


def _stages(strategy: Strategy, stages: tuple[str, ...]) -> tuple[str, ...]:
    if strategy == "partial":
        return stages[-1:]
    if strategy == "deep":
        return stages[1:]
    return stages if strategy == "scratch" else ()


_STAGES_WHY = {
    "partial": "a few layers: the last stage",
    "deep": "a larger number of layers: all stages but the stem",
    "scratch": "everything starts from random values",
}


def _side(facts: Facts) -> tuple[int, str]:
    if facts.fixed_side:
        return facts.side_px, "this backbone takes one size only"
    if facts.median_side_px is not None and facts.median_side_px <= LOW_RESOLUTION_PX:
        side = min(TUNE_SIDE_PX, facts.side_px)
        reason = f"median short side is {facts.median_side_px} px (at most {LOW_RESOLUTION_PX})"
        return side, f"{reason}: more pixels add no detail and cost three times as much"
    if facts.most_side_px is not None and facts.most_side_px < facts.side_px:
        return facts.most_side_px, f"{facts.side_px} px would not fit the budget"
    return facts.side_px, "the backbone's input size: the images have as much detail"


def _batch(images: int) -> tuple[int, str]:
    for limit, batch in ((1000, 16), (10_000, 32)):
        if images < limit:
            return batch, f"{images} images, fewer than {limit}: enough steps in an epoch"
    return 64, f"{images} images"


def _rate(strategy: Strategy, optimiser: str, batch: int, facts: Facts) -> tuple[float, str]:
    near, far = RATES[optimiser]
    rate = near if facts.similarity == "similar" else far
    # Linear scaling for SGD (Goyal et al. 2017), square root for adaptive methods
    power = 1.0 if optimiser == "sgd" else 0.5
    scaled = rate * (batch / 16) ** power
    if strategy == "scratch":
        return near * (batch / 16) ** power * SCRATCH_FACTOR, f"{optimiser} from scratch"
    text = f"{optimiser} at batch {batch} on {facts.similarity} data (docs/log.md, Li et al. 2020)"
    if not facts.batchnorm:
        return scaled * NO_BATCHNORM_FACTOR, text + "; a tenth without BatchNorm"
    return scaled, text


def _epochs(strategy: Strategy, images: int, batch: int) -> tuple[int, str]:
    if strategy == "scratch":
        return EPOCHS["scratch"], "from scratch takes long"
    steps = max(1, math.ceil(images / batch))
    epochs = min(EPOCHS["most"], max(EPOCHS["fewest"], math.ceil(TARGET_STEPS / steps)))
    return epochs, f"about {TARGET_STEPS} steps of {batch} images, {EPOCHS['fewest']} to " + str(
        EPOCHS["most"]
    ) + " epochs"


def _weights_why(imbalance: float) -> str:
    times = f"the largest class is {imbalance:.1f} times the smallest"
    if imbalance < WEIGHED_FROM:
        return f"{times}, less than {WEIGHED_FROM:g}"
    return (
        f"{times}, {WEIGHED_FROM:g} or more: 1/sqrt of the count, which found more of the rare "
        "classes and on average cost no accuracy (docs/log.md, 2026-11-25)"
    )


def _augmentation(facts: Facts, user: Mapping[str, Any]) -> tuple[Augment, dict[str, str]]:
    flip = 0.0 if facts.symbols else AUGMENT.flip
    augment = replace(AUGMENT, flip=flip)
    given = {f.name: user[f.name] for f in fields(Augment) if f.name in user}
    state = "off" if facts.symbols else "on"
    why = {
        "flip": f"{state}: {facts.symbols_reason}",
        "crop": "objects stay in view with at least this share of the area",
        **dict.fromkeys(
            ("rotation_deg", "translation", "stretch", "colour"), "mild: keeps the class"
        ),
    }
    return replace(augment, **given), why
