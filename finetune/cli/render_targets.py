"""Answers and figures of runs of labels and numbers in a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finetune.cli import render_backbones, render_findings, render_training, style
from finetune.records import durations
from finetune.records.answers import Comparison, Prediction
from finetune.records.choices import spoken_metric
from finetune.records.figures import figure
from finetune.records.robustness import TargetFall
from finetune.records.target import TargetMetrics, TargetStage
from finetune.records.target_result import TargetEvaluation, TargetResult
from finetune.report import target_words

WORST = 10
ROWS = 20
NEXT = 3  # labels that are not on, the likeliest first


def show_training(result: TargetResult, *, verbose: bool = False) -> None:
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
    render_backbones.print_backbones(out, result.backbone_choice)
    if result.start is not None and result.start.old is not None:
        style.row(out, "Before:", style.shown(result.start.old.text))
    _print_outputs(out, metrics)
    render_findings.print_findings(out, result.findings, verbose=verbose)
    if verbose:
        print_stages(out, result.stages, result.plan.taps)
        render_training.print_reasons(out, [r.text for r in result.reasons])
        render_training.print_plan(out, result.plan)
        out.print()
    style.row(out, "Time:", durations.in_words(result.seconds["total"]))
    style.row(out, "Run:", f"[bold]{style.shown(result.run)}[/]", whole=True)
    render_training.print_next(out, f"finetune predict IMAGE --run {shlex.quote(result.run)}")


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


def show_evaluation(found: TargetEvaluation, *, verbose: bool = False) -> None:
    """The answer of `evaluate`: the verdict, each label or number, the worst finding.

    Args:
        found: What was measured.
        verbose: Show the worst answers and every finding, too.
    """
    out = style.out()
    score, rest = target_words.headline(found.metrics)
    out.print(f"[bold green4]{score}[/] {style.shown(f'{rest} images of {found.data}')}")
    style.row(out, "Verdict:", style.shown(found.verdict))
    _print_outputs(out, found.metrics)
    _print_robustness(out, found.robustness)
    if verbose and found.worst:
        out.print("\n[italic]answers furthest from the truth[/]")
        table = Table(box=None, pad_edge=False)
        for name in ("image", "truth", "answer"):
            table.add_column(name, overflow="fold")
        for row in found.worst[:WORST]:
            table.add_row(*map(style.shown, (row.path, row.truth, row.answer)))
        out.print(table)
    render_findings.print_findings(out, found.findings, verbose=verbose)


def compared(found: Comparison) -> Table:
    """A row for each strategy, in what the target is measured by.

    Args:
        found: A comparison of labels or numbers.
    """
    labels = found.target == "labels"
    table = Table(box=None, pad_edge=False)
    table.add_column("strategy", no_wrap=True)
    table.add_column("mAP (95 %)" if labels else "R² (95 %)", justify="right", no_wrap=True)
    for name in ("micro F1", "macro F1") if labels else ("MAE", "RMSE"):
        table.add_column(name, justify="right")
    if found.metric == "log-loss":
        table.add_column("log loss", justify="right")
    table.add_column("behind best", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    for c in found.contenders:
        m = c.measured
        if m is None or c.seconds is None or c.behind is None:
            table.add_row(c.strategy, "–")
            continue
        form: Callable[[float], str] = "{:.3f}".format if labels else figure
        figures = [m.micro_f1, m.macro_f1] if labels else [m.mae, m.rmse]
        figures += [m.log_loss] if found.metric == "log-loss" else []
        best = c.strategy == found.best
        table.add_row(
            c.strategy,
            target_words.ends(m),
            *(form(value or 0) for value in figures),
            "best" if best else f"{form(c.behind)} ± {form(c.noise or 0)}",
            durations.in_words(c.seconds),
            style="bold green4" if best else None,
        )
    return table


def _print_robustness(out: Console, falls: Sequence[TargetFall]) -> None:
    """Where it loses most, and the score under each kind at each strength."""
    fragile = target_words.fragile(falls)
    if fragile is None:
        return
    style.row(out, "Fragile:", fragile)
    metric = falls[0].metric
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{spoken_metric(metric)} on {falls[0].images} images")
    for name in ("slight", "medium", "strong"):
        table.add_column(name, justify="right")
    table.add_column("what strong is", style="dim")
    form: Callable[[float], str] = "{:.3f}".format if metric == "map" else figure
    for kind in dict.fromkeys(f.kind for f in falls):
        mine = [f for f in falls if f.kind == kind]
        table.add_row(kind, *(form(f.score) for f in mine), mine[-1].what)
    out.print(table)


def _answer(p: Prediction) -> str:
    if p.labels is None:
        return p.told
    return ", ".join(f"{r.label} {r.probability:.0%}" for r in p.labels if r.on) or "none"


def _then(p: Prediction) -> str:
    if p.labels is None:
        return "" if p.within is None else f"± {figure(p.within)} for nine of ten"
    off = sorted((r for r in p.labels if not r.on), key=lambda r: -r.probability)
    return ", ".join(f"{r.label} {r.probability:.0%}" for r in off[:NEXT])


def _print_outputs(out: Console, metrics: TargetMetrics) -> None:
    """Each label, or each number, and how well it is told."""
    head, rows = target_words.rows(metrics)
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    for row in rows[:ROWS]:
        table.add_row(*map(escape, row))
    out.print(table)
    if len(rows) > ROWS:
        out.print(f"{len(rows) - ROWS} more in --json", style="dim")


def print_stages(out: Console, stages: tuple[TargetStage, ...], used: tuple[str, ...]) -> None:
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
