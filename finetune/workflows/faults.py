"""What may go wrong after a training, each with its code."""

from __future__ import annotations

from finetune.records.dataset import FindingKind

UNTESTED = FindingKind(
    "FT201",
    "error",
    "the model could not be tested",
    "It is kept as it is. Fix the cause, then measure it: finetune evaluate DIR --unseen.",
)
NO_NETWORK = FindingKind(
    "FT202",
    "warning",
    "no inference file could be written",
    "The model is complete; predictions load torch, which takes seconds.",
)
NO_REPORT = FindingKind(
    "FT203", "error", "report.html could not be made", "Its figures are in result.json, too."
)
ELSEWHERE = FindingKind(
    "FT204",
    "error",
    "the run could not be written where it should go",
    "Move its folder as it is to where there is room.",
)
UNCOMPARED = FindingKind(
    "FT205",
    "error",
    "near duplicates of training images could not be searched for in the test",
    "Fix the cause; finetune check DIR searches for them.",
)
OLD_UNKNOWN = FindingKind(
    "FT206",
    "warning",
    "the run that was started from could not be measured on the test images",
    "Measure it yourself: finetune evaluate DIR --run RUN.",
)
BUG = FindingKind(
    "FT209",
    "error",
    "a bug of ours after the training",
    "The model is kept. Please report it with the lines of the traceback.",
)
KINDS = (UNTESTED, NO_NETWORK, NO_REPORT, ELSEWHERE, UNCOMPARED, OLD_UNKNOWN, BUG)
