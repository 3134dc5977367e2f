"""What the held-out images of a model say of its doubt, as its run keeps it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from finetune.decision.fitted import FittedModel, Near
from finetune.heads import selective, unknown
from finetune.records.unsure import Doubt, UnknownFacts


def facts(model: FittedModel) -> Doubt:
    """Thresholds of confidence, sets of labels, and distances from which on nothing is known."""
    held, near = model.held, model.near
    return Doubt(
        images=len(held.labels),
        source=model.estimate_source,
        confidence=selective.confidence_rows(held),
        sets=selective.set_rows(held),
        unknown=None if isinstance(near, str) else _kept(near),
        why_not=near if isinstance(near, str) else "",
    )


def reference(model: FittedModel) -> npt.NDArray[np.int8] | None:
    """Features of training images, int8[R, D]; None where nothing tells unknown pictures."""
    return None if isinstance(model.near, str) else model.near.detector.reference


def _kept(near: Near) -> UnknownFacts:
    return UnknownFacts(
        start=near.detector.start,
        stop=near.detector.stop,
        images=len(near.distances),
        rows=unknown.rows(near.distances, near.weights),
    )
