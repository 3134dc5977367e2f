"""Is a model of labels or numbers better than one answer for all; and answers in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from finetune.records.figures import figure
from finetune.records.target import TargetMetrics

Array = npt.NDArray[np.float64]


def standing(kind: str, metrics: TargetMetrics) -> tuple[bool | None, str]:
    """Whether a model is better than always giving the same answer, and that in words.

    Of labels by the lower end of mAP's interval, of numbers by that of R², which is 0 there.
    """
    if kind == "labels":
        low = (metrics.map_interval or (0.0, 0.0))[0]
        better = low > metrics.baseline
        told = (
            f"mAP {metrics.map or 0:.3f}, where the same answer for all has {metrics.baseline:.3f}"
        )
    else:
        low = (metrics.r2_interval or (0.0, 0.0))[0]
        better = low > 0
        told = f"MAE {figure(metrics.mae or 0)}, where answering the mean has "
        told += figure(metrics.baseline)
    return better, f"{'better' if better else 'not surely better'} than one answer for all: {told}"


def in_words(kind: str, called: Sequence[str], values: Array) -> str:
    """Labels that are on, or numbers, as text."""
    if kind == "labels":
        return ";".join(n for n, v in zip(called, values, strict=True) if v) or "none"
    if len(called) == 1:
        return figure(values[0])
    return ", ".join(f"{n} {figure(v)}" for n, v in zip(called, values, strict=True))
