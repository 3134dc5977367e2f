"""Sentences and rows on what was measured of labels and numbers."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.records.choices import spoken_metric
from finetune.records.figures import figure
from finetune.records.robustness import TargetFall
from finetune.records.target import TargetMetrics

_MEDIUM = 2  # of three strengths
_WORST = 3


def headline(metrics: TargetMetrics) -> tuple[str, str]:
    """The score, and the rest of the sentence: interval, other figures and images."""
    if metrics.map is not None:
        low, high = metrics.map_interval or (metrics.map, metrics.map)
        rest = (
            f"mAP ({low:.3f} to {high:.3f}), micro F1 {metrics.micro_f1 or 0:.3f}, macro F1 "
            f"{metrics.macro_f1 or 0:.3f}"
        )
        return f"{metrics.map:.3f}", f"{rest}, on {metrics.n}"
    low, high = metrics.r2_interval or (0.0, 0.0)
    errors = f"MAE {figure(metrics.mae or 0)}, RMSE {figure(metrics.rmse or 0)}"
    rest = f"R² ({low:.3f} to {high:.3f}), {errors}"
    return f"{metrics.r2 or 0:.3f}", f"{rest}, on {metrics.n}"


def ends(metrics: TargetMetrics) -> str:
    """What it is called by with its interval: mAP of labels, R² of numbers."""
    labels = metrics.map is not None
    score, found = (
        (metrics.map, metrics.map_interval) if labels else (metrics.r2, metrics.r2_interval)
    )
    low, high = found or (score or 0.0, score or 0.0)
    return f"{score or 0:.3f} ({low:.3f} to {high:.3f})"


def fragile(falls: Sequence[TargetFall]) -> str | None:
    """Where it loses most, of each kind at medium strength; None where nothing was measured."""
    medium = sorted((f for f in falls if f.strength == _MEDIUM), key=lambda f: -f.lost)
    if not medium:
        return None
    metric = medium[0].metric
    form = ".3f" if metric == "map" else ".3g"
    shown = [f"{f.lost:{form}} ± {f.error:{form}} ({f.what})" for f in medium if f.lost > f.error]
    if not shown:
        return "no medium change costs more than its standard error"
    return f"{spoken_metric(metric)} gets worse most by {', '.join(shown[:_WORST])}"


def rows(metrics: TargetMetrics) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A table of the labels or numbers: its head, and its rows; `–` where nothing is defined."""
    if metrics.per_label:
        head = ("label", "images", "AP", "precision", "recall", "F1", "on from")
        return head, [
            (
                s.name,
                str(s.n),
                *(_told(x) for x in (s.average_precision, s.precision, s.recall, s.f1)),
                f"{s.threshold:.2f}",
            )
            for s in metrics.per_label
        ]
    head = ("number", "R²", "MAE", "RMSE", "MAE of the mean", "mean", "deviation")
    return head, [
        (
            s.name,
            _told(s.r2),
            *(figure(x) for x in (s.mae, s.rmse, s.baseline_mae, s.mean, s.deviation)),
        )
        for s in metrics.per_number
    ]


def _told(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
