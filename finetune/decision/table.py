"""The classic decision table: four cells by size and similarity.

It is that of the CS231n lectures (slide "Transfer Learning with CNNs"), and the prior: a tuned
model is still returned only if it beats the probe on images kept from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetune.records.analysis import SimilarityProfile, SizeProfile
from finetune.records.choices import STRATEGIES, Similarity, Size, Strategy
from finetune.records.errors import UsageError


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
        "You are in trouble, as the lectures say: little data, and unlike ImageNet. More images "
        "help most.",
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
# What "small" and "large" stand for when no folder is given.
TYPICAL_IMAGES = {"small": 200, "large": 2000}


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


def actions() -> dict[tuple[Size, Similarity], str]:
    """What the table says in each cell, for those who draw it."""
    return {(r.size, r.similarity): r.action for r in RULES}
