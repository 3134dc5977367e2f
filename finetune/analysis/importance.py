"""How much images count in learning, where a table says so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finetune.records.dataset import Sample
from finetune.storage.arrays import Array


def of(samples: Sequence[Sample]) -> Array | None:
    """Weights float64[N] of mean one, so that l2 and a learning rate mean what they mean without.

    None where all images count the same.
    """
    given = np.array([s.weight for s in samples], np.float64)
    if not len(given) or given.min() == given.max():
        return None
    out: Array = given / given.mean()
    return out
