"""The answer of `train` on stdout, and the tables that `recommend` shares with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finetune.cli import render_backbones, render_findings, render_labels, style
from finetune.records import durations, option_table
from finetune.records.analysis import StageScore
from finetune.records.choices import TUNED
from finetune.records.decision import Plan
from finetune.records.file_names import REPORT
from finetune.records.run import RunResult
from finetune.report import summary


def show_result(result: RunResult, *, verbose: bool = False) -> None:
    """The answer of `train`: the verdict first; tables and every reason where they are wanted."""
    out = style.out()
    metrics = result.test or result.estimate
    source = "test images" if result.test else result.estimate_source
    out.print(
        f"[bold]{result.strategy}[/]: [bold green4]{metrics.accuracy:.1%}[/] "
        f"{escape(summary.accuracy(metrics, source))}"
    )
    if result.parts:
        out.print(escape(summary.together(result.parts)))
    if (even := summary.balanced(metrics)) is not None:
        style.row(out, "Classes:", even)
    render_findings.print_standing(out, result)
    print_choice(out, summary.reasons(result))
    render_backbones.print_backbones(out, result.backbone_choice)
    if result.start is not None and result.start.old is not None:
        style.row(out, "Before:", style.shown(result.start.old.text))
    render_findings.print_mistakes(out, metrics)
    render_findings.print_findings(out, result.findings, verbose=verbose)
    render_labels.print_remark(out, result.labels)
    if verbose:
        _print_details(out, result)
    style.row(out, "Time:", durations.in_words(result.seconds["total"]))
    style.row(out, "Report:", f"[bold]{style.shown(result.run)}/{REPORT}[/]", whole=True)
    print_next(out, f"finetune predict IMAGE --run {shlex.quote(result.run)}")


def _print_details(out: Console, result: RunResult) -> None:
    """What is also in the report and in --json."""
    advice = result.recommendation
    if result.test is not None:
        render_findings.print_errors(out, result.errors, result.test)
    render_findings.print_confused(out, result.test or result.estimate)
    if len(result.stages) > 1:
        print_stages(out, result.stages, advice.plan.taps)
    floor = [] if result.floor is None else [result.floor.reason]
    print_reasons(out, [*(r.text for r in advice.reasons), *floor])
    print_plan(out, advice.plan)
    out.print()


def print_next(out: Console, command: str) -> None:
    """What to type next, on one line."""
    style.row(out, "Next:", style.shown(command), whole=True)


def print_choice(out: Console, reasons: Sequence[str]) -> None:
    """What was chosen and why, then what has shown it."""
    first, *others = (escape(text) for text in reasons)
    style.row(out, "Chosen:", first.removeprefix("Chosen: "))
    for text in others:
        style.row(out, "", text)


def print_reasons(out: Console, texts: Sequence[str]) -> None:
    """Every reason of a choice."""
    out.print("\n[italic]every reason[/]")
    for text in texts:
        style.row(out, "*", escape(text), width=2)


def print_stages(out: Console, stages: Sequence[StageScore], used: tuple[str, ...]) -> None:
    """All candidates; the one whose features the head reads is marked."""
    table = Table(box=None, pad_edge=False)
    table.add_column("features")
    for name in ("accuracy", "± se", "log loss", "dimensions"):
        table.add_column(name, justify="right")
    table.add_column("")
    for s in stages:
        table.add_row(
            s.name,
            f"{s.accuracy:.1%}",
            f"{s.standard_error:.1%}",
            f"{s.log_loss:.3f}",
            str(s.dimensions),
            "used" if s.taps == used else "",
            style="bold green4" if s.taps == used else None,
        )
    out.print("\n[italic]linear classifiers by stage, cross-validated[/]")
    out.print(table)


def print_plan(out: Console, plan: Plan) -> None:
    """Every setting with its reason."""
    table = Table(box=None, pad_edge=False)
    table.add_column("setting")
    table.add_column("value")
    table.add_column("because", style="dim")
    names = ["taps", "side_px"]
    if plan.strategy in TUNED:
        names = [n for n in vars(plan) if n not in ("strategy", "augment", "why", "taps")]
    values = {n: getattr(plan, n) for n in names}
    if plan.strategy in TUNED:
        values |= vars(plan.augment)
    for name, value in values.items():
        shown = ", ".join(value) or "–" if isinstance(value, tuple) else str(value)
        if isinstance(value, float):
            shown = f"{value:.4g}"
        table.add_row(option_table.spoken(name), shown, escape(plan.why.get(name, "")))
    out.print("\n[italic]plan[/]")
    out.print(table)
