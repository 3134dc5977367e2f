"""The answer of `train` on stdout where labels or numbers were learned."""

from __future__ import annotations

import shlex

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finetune.cli import render_findings, render_training, style
from finetune.records import durations
from finetune.records.target import TargetMetrics, TargetStage
from finetune.records.target_result import TargetResult
from finetune.report import target_words

_ROWS_SHOWN = 20


def show_target_result(result: TargetResult, *, verbose: bool = False) -> None:
    """The verdict first; tables and every reason where they are wanted."""
    out = style.out()
    metrics = result.test or result.estimate
    source = "test images" if result.test else result.estimate_source
    score, rest = target_words.headline(metrics)
    out.print(
        f"[bold]{result.strategy}[/]: [bold green4]{score}[/] {escape(rest)} {escape(source)}"
    )
    style.row(out, "Verdict:", escape(result.verdict))
    last = result.floor.reason if result.floor else result.reasons[-1].text
    style.row(out, "Chosen:", escape(last.removeprefix("Chosen: ")))
    print_outputs(out, metrics)
    render_findings.print_findings(out, result.findings, verbose=verbose)
    if verbose:
        _print_stages(out, result.stages, result.plan.taps)
        render_training.print_reasons(out, [r.text for r in result.reasons])
        render_training.print_plan(out, result.plan)
        out.print()
    style.row(out, "Time:", durations.in_words(result.seconds["total"]))
    style.row(out, "Run:", f"[bold]{style.shown(result.run)}[/]", whole=True)
    render_training.print_next(out, f"finetune predict IMAGE --run {shlex.quote(result.run)}")


def print_outputs(out: Console, metrics: TargetMetrics) -> None:
    """Each label, or each number, and how well it is told."""
    head, rows = target_words.rows(metrics)
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    for row in rows[:_ROWS_SHOWN]:
        table.add_row(*map(escape, row))
    out.print(table)
    if len(rows) > _ROWS_SHOWN:
        out.print(f"{len(rows) - _ROWS_SHOWN} more in --json", style="dim")


def _print_stages(out: Console, stages: tuple[TargetStage, ...], used: tuple[str, ...]) -> None:
    """All probes; the one whose features the head reads is marked."""
    table = Table(box=None, pad_edge=False)
    table.add_column("features")
    for name in ("score", "loss", "dimensions"):
        table.add_column(name, justify="right")
    table.add_column("")
    for s in stages:
        mark = "used" if s.taps == used else ""
        table.add_row(s.name, f"{s.score:.3f}", f"{s.loss:.3f}", str(s.dimensions), mark)
    out.print("\n[italic]linear probes by stage, each image left out[/]")
    out.print(table)
