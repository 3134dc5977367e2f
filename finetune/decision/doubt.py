"""What the held-out images of a model say of its doubt, as its run keeps it."""

from __future__ import annotations

from finetune.decision.fitted import FittedModel
from finetune.heads import selective
from finetune.records.unsure import Doubt


def facts(model: FittedModel) -> Doubt:
    """Thresholds of confidence and sets of labels."""
    held = model.held
    return Doubt(
        images=len(held.labels),
        source=model.estimate_source,
        confidence=selective.confidence_rows(held),
        sets=selective.set_rows(held),
    )
