"""Sentences and rows on what was measured of labels and numbers."""

from __future__ import annotations

from finetune.records.target import TargetMetrics


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
    rest = f"R² ({low:.3f} to {high:.3f}), MAE {metrics.mae or 0:.4g}, RMSE {metrics.rmse or 0:.4g}"
    return f"{metrics.r2 or 0:.3f}", f"{rest}, on {metrics.n}"


def ends(metrics: TargetMetrics) -> str:
    """What it is called by with its interval: mAP of labels, R² of numbers."""
    labels = metrics.map is not None
    score, found = (
        (metrics.map, metrics.map_interval) if labels else (metrics.r2, metrics.r2_interval)
    )
    low, high = found or (score or 0.0, score or 0.0)
    return f"{score or 0:.3f} ({low:.3f} to {high:.3f})"


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
            *(f"{x:.4g}" for x in (s.mae, s.rmse, s.baseline_mae, s.mean, s.deviation)),
        )
        for s in metrics.per_number
    ]


def _told(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
