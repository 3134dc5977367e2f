"""The rows of the option table for answers that are no answer: unsure, unknown, several labels."""

from __future__ import annotations

from finetune.records.option import Option

ANSWERING = "predict evaluate serve"
DOUBT = (
    Option(
        name="min_confidence",
        kind="float",
        commands=ANSWERING,
        ends=(0.0, 1.0),
        help="Answer 'unsure' where the likeliest class is less probable.",
    ),
    Option(
        name="target_error",
        kind="float",
        commands=ANSWERING,
        ends=(0.0, 1.0),
        help="The same, at the probability that kept the share of wrong answers below this on "
        "held-out images.",
    ),
    Option(
        name="coverage",
        kind="float",
        commands=ANSWERING,
        ends=(0.01, 0.9999),
        help="Answer with the set of labels that holds the true one as often as this.",
    ),
    Option(
        name="unknown",
        kind="float",
        commands=ANSWERING,
        ends=(0.0, 0.5),
        unset="0.01",
        help="Share of known pictures that may be marked 'unknown', being far from those trained "
        "on; 0 marks none.",
    ),
)
