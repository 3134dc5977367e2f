"""What the outputs of a network mean: classes, several labels, or numbers; torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.heads import calibration, platt
from finetune.records.answers import LabelAnswer, Prediction
from finetune.records.choices import OtherTarget
from finetune.records.errors import UsageError
from finetune.records.run import RunFacts
from finetune.records.target import TargetFacts
from finetune.storage.arrays import Array

NO_EVIDENCE = "a heat map shows what speaks for a class or a label, and a number is neither"
THRESHOLD = 0.5  # of a label where the run keeps none


def meant(outputs: Array, kind: OtherTarget | None, temperature: float) -> Array:
    """Probabilities of classes, or of each label by itself; numbers as they are.

    Args:
        outputs: float64[N, C] of a head.
        kind: Of the target; None of classes.
        temperature: Of the softmax over classes.

    Returns:
        float64[N, C].
    """
    if kind is None:
        return calibration.probabilities(outputs, temperature)
    return platt.probabilities(outputs) if kind == "labels" else outputs


def thresholds(target: TargetFacts, names: Sequence[str]) -> tuple[float, ...]:
    """From which probability each label is on."""
    kept = target.thresholds
    return kept if len(kept) == len(names) else (THRESHOLD,) * len(names)


def prediction(name: str, outputs: Array, target: TargetFacts, names: Sequence[str]) -> Prediction:
    """An answer of labels or numbers as a record.

    Args:
        name: The picture's.
        outputs: float64[K] of the head.
        target: The run's.
        names: Of the labels or numbers.
    """
    found = meant(outputs[None], target.kind, 1.0)[0].tolist()
    if target.kind == "labels":
        rows = zip(names, found, thresholds(target, names), strict=True)
        return Prediction(
            name,
            labels=tuple(
                LabelAnswer(label=n, probability=p, on=p >= least) for n, p, least in rows
            ),
        )
    return Prediction(
        name,
        value=found[0],
        within=target.within[0] if target.within else None,
        values=dict(zip(names, found, strict=True)) if len(names) > 1 else None,
    )


def called(facts: RunFacts) -> str:
    """What the output of an export is called."""
    number = facts.target is not None and facts.target.kind == "number"
    return "values" if number else "probabilities"


def require_evidence(facts: RunFacts) -> None:
    """Refuse heat maps of a run whose answers are numbers.

    Raises:
        UsageError: they are.
    """
    if facts.target is not None and facts.target.kind == "number":
        raise UsageError(
            f"no heat maps of a run of {facts.classes[0]}: {NO_EVIDENCE}",
            hint="Use a run of classes or labels.",
        )


def require_classes(facts: RunFacts, what: str, why: str) -> None:
    """Refuse what only a run of classes can do.

    Raises:
        UsageError: the run is of labels or numbers.
    """
    if facts.target is not None:
        kind = "several labels" if facts.target.kind == "labels" else "a number"
        raise UsageError(
            f"{what} is for runs of classes, and this run answers {kind}: {why}",
            hint="Leave it out, or use a run of classes.",
        )
