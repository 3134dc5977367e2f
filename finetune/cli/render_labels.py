"""Labels that look wrong, and images to label next, on stdout."""

from __future__ import annotations

import shlex

from rich.console import Console
from rich.table import Table

from finetune.cli import style
from finetune.records.labels import LabelIssues, Suggestions
from finetune.records.option_table import DEFAULTS

_SHOWN, _FAULTS_SHOWN = 10, 3


def print_suspects(out: Console, issues: LabelIssues, data: str, *, written: bool) -> None:
    """How many labels look wrong, the worst of them, and where to get them all.

    Args:
        out: Where it goes.
        issues: What was found.
        data: The folder of images.
        written: Whether they go to a file anyway.
    """
    color = "dark_orange3" if issues.found else "green4"
    out.print(f"[bold {color}]{style.shown(issues.text)}[/]")
    by = f"Judged by a probe ({issues.probe} features) that has not seen the image or its copies; "
    out.print(f"{by}it agrees with {issues.accuracy:.1%} of the labels.", style="dim")
    if not issues.found:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("label")
    table.add_column("rather", style="bold")
    table.add_column("probability", justify="right")
    table.add_column("nearest", justify="right")
    for one in issues.suspects[:_SHOWN]:
        table.add_row(
            style.shown(one.path),
            style.shown(one.given),
            style.shown(one.suggested),
            f"{one.given_probability:.1%} → {one.suggested_probability:.1%}",
            f"{one.agreeing} of {one.compared}",
        )
    out.print(table)
    more = issues.found - _SHOWN
    told = f"{more} more. " if more > 0 else ""
    out.print(
        f"{told}nearest: how many of the most similar images bear the other label. Nothing was "
        "relabelled.",
        style="dim",
    )
    if not written:
        words = f"finetune check {shlex.quote(data)} --labels --csv suspects.csv"
        style.row(out, "Next:", style.shown(words), whole=True)


def show_suggestions(found: Suggestions, *, written: bool = False) -> None:
    """The answer of `suggest`: how many, the first of them, and where to get them all.

    Args:
        found: What was found.
        written: Whether they go to a file anyway.
    """
    out = style.out()
    out.print(f"[bold]{style.shown(found.text)}[/]")
    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("answer now", style="bold")
    table.add_column("probability", justify="right")
    table.add_column("similar", justify="right")
    for one in found.suggestions[:_SHOWN]:
        table.add_row(
            style.shown(one.path),
            style.shown(one.label),
            f"{one.probability:.1%}",
            f"{one.similar}",
        )
    out.print(table)
    more = len(found.suggestions) - _SHOWN
    told = f"{more} more. " if more > 0 else ""
    out.print(f"{told}similar: how many images it stands for, itself counted.", style="dim")
    for text in found.unreadable[:_FAULTS_SHOWN]:
        style.row(out, "Note:", style.shown(text))
    if len(found.unreadable) > _FAULTS_SHOWN:
        style.row(out, "", f"and {len(found.unreadable) - _FAULTS_SHOWN} more (--json)")
    if not written:
        count = len(found.suggestions)
        words = f"finetune suggest {shlex.quote(found.run)} {shlex.quote(found.data)}"
        words += "" if count == DEFAULTS["count"] else f" --count {count}"
        style.row(out, "Next:", style.shown(f"{words} --csv next.csv"), whole=True)


def print_remark(out: Console, issues: LabelIssues | None) -> None:
    """The same after a training, in one row; nothing where no label looks wrong."""
    if issues is not None and issues.found:
        text = f"{style.shown(issues.text)} finetune check DIR --labels lists them."
        style.row(out, "Labels:", text)
