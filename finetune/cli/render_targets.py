"""Answers and figures of runs of labels and numbers in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from finetune.cli import style
from finetune.records.answers import Prediction

NEXT = 3  # labels that are not on, the likeliest first


def show_predictions(predictions: Sequence[Prediction]) -> None:
    """One line per image: the labels that are on and the likeliest of the others, or the number."""
    out = style.out()
    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    labels = any(p.labels is not None for p in predictions)
    table.add_column("labels" if labels else "value", style="bold", overflow="fold")
    table.add_column("then" if labels else "within", style="dim", overflow="fold")
    for p in predictions:
        if p.error is not None:
            table.add_row(style.shown(p.path), "[red]error[/]", style.shown(p.error))
            continue
        table.add_row(style.shown(p.path), style.shown(_answer(p)), style.shown(_then(p)))
    out.print(table)


def _answer(p: Prediction) -> str:
    if p.labels is None:
        return p.told
    return ", ".join(f"{r.label} {r.probability:.0%}" for r in p.labels if r.on) or "none"


def _then(p: Prediction) -> str:
    if p.labels is None:
        return "" if p.within is None else f"± {p.within:.3g} for nine of ten"
    off = sorted((r for r in p.labels if not r.on), key=lambda r: -r.probability)
    return ", ".join(f"{r.label} {r.probability:.0%}" for r in off[:NEXT])
