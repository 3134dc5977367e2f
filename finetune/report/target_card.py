"""The model card of a run of labels or numbers."""

from __future__ import annotations

from finetune.records.run import RunFacts
from finetune.records.target_result import TargetResult
from finetune.report import card, target_words
from finetune.report.markup import Html

_NAMED = 40  # labels


def model(facts: RunFacts, result: TargetResult) -> Html:
    """What the model is for, what it is not for, and what it was made of."""
    names = ", ".join(facts.classes[:_NAMED])
    names += f" and {len(facts.classes) - _NAMED} more" if len(facts.classes) > _NAMED else ""
    labels = result.target == "labels"
    use = f"{len(facts.classes)} labels" if labels else "a number"
    score, rest = target_words.headline(result.test or result.estimate)
    counts = ", ".join(f"{n:,} {part}" for part, n in result.counts.items())
    about, size = facts.backbone, facts.preprocess.side_px
    network = f"{about.name}, {about.parameters / 1e6:.1f} million parameters, {size} px"
    limits = (
        "A label is on from a threshold of its own, chosen on held-out images for F1."
        if labels
        else "Beyond the numbers of the training images nothing is known of the answers."
    )
    return card.terms(
        [
            ("Intended use", f"To find {use} in images like those in {facts.data_root}: {names}."),
            ("Not for", "Images of another kind, from another camera or place, before it has been "
             "measured on them (finetune evaluate). Not for decisions about people or health "
             "without their own validation."),
            ("Limits", f"{limits} The held-out images are from the same source: what they share "
             "with the training images (camera, place, season) is not tested."),
            ("Network", f"{network}; {result.strategy}, loss {result.loss}"),
            ("Weights", f"{about.weights}; license: {about.licence}"),
            ("Images", counts),
            ("Training data", f"{facts.data_root}, fingerprint {facts.data_fingerprint}"),
            ("Measured", f"{score} {rest} {facts.accuracy_source}"),
        ]
    )  # fmt: skip
