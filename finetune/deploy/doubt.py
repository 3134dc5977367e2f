"""When an answer is given, doubted, or refused: by what held-out images said; torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from finetune.deploy import outputs
from finetune.metrics import classification, clusters
from finetune.records.answers import ClassProbability, Prediction
from finetune.records.errors import UsageError
from finetune.records.run import RunFacts
from finetune.records.target import TargetFacts
from finetune.records.unsure import (
    NO_DOUBT,
    ConfidenceRow,
    Doubt,
    DoubtOptions,
    Selected,
    SetRow,
    Standing,
)
from finetune.storage.arrays import Array, Labels

# Of a hundred known pictures one may be marked: it keeps its label (docs/decisions/0025-unsure.md).
UNKNOWN = 0.01


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a run's answers are doubted.

    Answers of less than `min_confidence` are unsure; labels of at least `min_probability` are in
    the set (None: no sets); of pictures that are known with at most `least_known` nothing is known
    (0: never). `distances` float64[R] and `refused` float64[R] are the rows of `UnknownFacts`.
    `reasons` say it in words. `target` is None of classes: else `classes` are the names of labels
    or numbers, and nothing is doubted.
    """

    classes: tuple[str, ...]
    distances: Array
    refused: Array
    min_confidence: float = 0.0
    min_probability: float | None = None
    least_known: float = 0.0
    reasons: tuple[str, ...] = ()
    target: TargetFacts | None = None

    def known(self, distance: float) -> float:
        """At most this share of held-out images lies as far from the training images, 0 to 1."""
        beyond = self.refused[distance > self.distances]
        return float(beyond.min()) if len(beyond) else 1.0

    def standing(self, confidence: float, known: float | None) -> Standing:
        """What becomes of an answer of some probability."""
        if known is not None and known <= self.least_known:
            return "unknown"
        return "unsure" if confidence < self.min_confidence else "answered"

    def labels(self, likely: Array) -> np.ndarray:
        """Which labels are in the set, the likeliest first, int64; that one always is.

        Args:
            likely: Probabilities float64[C].
        """
        assert self.min_probability is not None
        order = np.argsort(-likely, kind="stable")
        return order[: max(1, int((likely >= self.min_probability).sum()))]

    def prediction(self, name: str, likely: Array, distance: float | None, top: int) -> Prediction:
        """An answer as a record.

        Args:
            name: The picture's.
            likely: Probabilities float64[C].
            distance: From the training images; None where the run cannot tell.
            top: How many of the likeliest classes to list.
        """
        best = np.argsort(-likely, kind="stable")[:top].tolist()
        listed = tuple(ClassProbability(self.classes[c], float(likely[c])) for c in best)
        known = None if distance is None else self.known(distance)
        inside = None
        if self.min_probability is not None:
            inside = tuple(self.classes[c] for c in self.labels(likely).tolist())
        return Prediction(
            name,
            listed[0].label,
            listed[0].probability,
            listed,
            standing=self.standing(listed[0].probability, known),
            known=known,
            set=inside,
        )


def resolve(facts: RunFacts, asked: DoubtOptions = NO_DOUBT) -> Policy:
    """What was asked for, by the figures that a run keeps.

    Raises:
        UsageError: the run keeps none, or its held-out images cannot vouch for it; doubts of a run
            of labels or numbers.
    """
    if facts.target is not None:
        if asked != NO_DOUBT:
            outputs.require_classes(
                facts,
                "--min-confidence, --target-error, --coverage or --unknown",
                "there is no one label to doubt",
            )
        nothing = np.empty(0)
        return Policy(
            classes=facts.classes, distances=nothing, refused=nothing, target=facts.target
        )
    doubt = facts.doubt
    reasons = []
    threshold, probability = asked.min_confidence or 0.0, None
    if asked.target_error is not None:
        if asked.min_confidence is not None:
            raise UsageError("--min-confidence and --target-error", hint="Give one of them.")
        row = _row(_kept(doubt, "--target-error"), asked.target_error)
        threshold = row.min_confidence
        reasons.append(_told(_kept(doubt, ""), asked.target_error, row))
    if asked.coverage is not None:
        found = _set(_kept(doubt, "--coverage"), asked.coverage)
        probability = found.min_probability
        reasons.append(
            f"--coverage {asked.coverage:g}: labels of at least {probability:.2%} are in the set; "
            f"for new images like the {_kept(doubt, '').images} held-out ones it holds the true "
            f"label in {found.coverage:.1%} or more"
        )
    least, why = _least_known(doubt, asked.unknown)
    rows = doubt.unknown.rows if doubt is not None and doubt.unknown is not None else ()
    return Policy(
        classes=facts.classes,
        distances=np.array([row.distance for row in rows]),
        refused=np.array([row.refused for row in rows]),
        min_confidence=threshold,
        min_probability=probability,
        least_known=least,
        reasons=(*reasons, *([why] if why else [])),
    )


def _kept(doubt: Doubt | None, flag: str) -> Doubt:
    if doubt is None:
        raise UsageError(
            f"{flag}: the run keeps no figures of held-out images: an older version made it",
            hint="Train again (train --from-run RUN), or give --min-confidence.",
        )
    return doubt


def _row(doubt: Doubt, target: float) -> ConfidenceRow:
    """The lowest threshold that keeps the error, one more wrong answer counted, at the target."""
    for row in doubt.confidence:
        if row.bound <= target:
            return row
    best = doubt.confidence[-1]
    least = math.ceil(best.bound * 1e4) / 1e4
    raise UsageError(
        f"--target-error {target:g}: no threshold keeps it on the {doubt.images} held-out images: "
        f"the least that they can vouch for is {least:g}, at {best.answered:.1%} answered",
        hint=f"Give --target-error {least:g} or more, or train on more images.",
    )


def _set(doubt: Doubt, coverage: float) -> SetRow:
    for row in doubt.sets:
        if row.coverage >= coverage:
            return row
    best = doubt.sets[-1].coverage
    most = math.floor(best * 1e4) / 1e4
    raise UsageError(
        f"--coverage {coverage:g}: {doubt.images} held-out images vouch for {most:g} at most",
        hint=f"Give --coverage {most:g} or less.",
    )


def _told(doubt: Doubt, target: float, row: ConfidenceRow) -> str:
    low, high = row.interval
    return (
        f"--target-error {target:g}: answers of at least {row.min_confidence:.1%} are given; of "
        f"{doubt.images} held-out images that answered {row.answered:.1%}, {row.error:.1%} of them "
        f"wrong (95 % interval {low:.1%} to {high:.1%})"
    )


def _least_known(doubt: Doubt | None, asked: float | None) -> tuple[float, str]:
    """The share of known pictures that may be marked as unknown, and why it is another."""
    wanted = UNKNOWN if asked is None else asked
    if doubt is None or doubt.unknown is None:
        if asked:
            kept = _kept(doubt, "--unknown")
            raise UsageError(
                f"--unknown {asked:g}: the run cannot tell: {kept.why_not}", hint="Leave it out."
            )
        return 0.0, ""
    if wanted == 0:
        return 0.0, ""
    least = doubt.unknown.rows[0].refused
    if wanted >= least:
        return wanted, ""
    if asked is not None:
        possible = math.ceil(least * 1e4) / 1e4
        raise UsageError(
            f"--unknown {asked:g}: {doubt.unknown.images} held-out images vouch for {possible:g} "
            "at least",
            hint=f"Give --unknown {possible:g} or more, or 0 for none.",
        )
    return least, ""


def measure(
    policy: Policy,
    parts: Iterable[Array],
    distances: Array | None,
    labels: Labels,
    groups: clusters.Clusters | None,
) -> Selected:
    """What doubt does to labelled images.

    Args:
        policy: From `resolve`.
        parts: Probabilities float64[n, C], some images at a time.
        distances: From the training images, float64[N]; None where the run cannot tell.
        labels: int64[N].
        groups: Which images go together, int64[N]; None where each is one by itself.
    """
    sure, right, inside, sizes = [], [], [], []
    start = 0
    for likely in parts:
        true = labels[start : start + len(likely)]
        start += len(likely)
        sure.append(likely.max(axis=1))
        right.append(likely.argmax(axis=1) == true)
        if policy.min_probability is not None:
            within = likely >= policy.min_probability
            within[np.arange(len(likely)), likely.argmax(axis=1)] = True
            inside.append(within[np.arange(len(likely)), true])
            sizes.append(within.sum(axis=1))
    far = np.zeros(start, np.bool_)
    if distances is not None:
        far = np.array([policy.known(d) <= policy.least_known for d in distances.tolist()])
    told = ~far & (np.concatenate(sure) >= policy.min_confidence)
    correct, rows = np.concatenate(right)[told], np.flatnonzero(told)
    covered, interval = (
        np.concatenate(inside) if inside else None,
        classification.accuracy_interval,
    )
    return Selected(
        min_confidence=policy.min_confidence,
        answered=float(told.mean()),
        unsure=float((~told & ~far).mean()),
        unknown=float(far.mean()),
        accuracy=float(correct.mean()) if len(correct) else None,
        interval=interval(correct, clusters.renumbered(groups, rows)) if len(correct) else None,
        covered=None if covered is None else float(covered.mean()),
        covered_interval=None if covered is None else interval(covered, groups),
        set_size=float(np.concatenate(sizes).mean()) if sizes else None,
        reasons=policy.reasons,
    )
