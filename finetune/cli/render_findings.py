"""Findings and wrong answers, as every answer shows them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finetune.cli import style
from finetune.cli.style import STATUS
from finetune.metrics import mistakes, verdict
from finetune.records.answers import Evaluation
from finetune.records.dataset import Finding
from finetune.records.metrics import Metrics, WrongAnswer
from finetune.records.run import RunResult
from finetune.report import summary

_PATHS_SHOWN = 3
_ERRORS_SHOWN, _PAIRS_SHOWN = 5, 5


def print_findings(out: Console, findings: Sequence[Finding], *, verbose: bool) -> None:
    """Those about the data, the worst first, or the worst alone and how many more there are.

    What they say of the result stands beside its figures.
    """
    found = summary.worst_first([f for f in findings if f.code not in verdict.CODES])
    for finding in found if verbose else found[:1]:
        print_finding(out, finding, "Data:")
    if len(found) > 1 and not verbose:
        more = len(found) - 1
        text = f"{more} more finding{'s' if more > 1 else ''} on the data: --verbose"
        style.row(out, "", f"[dim]{text}[/]")


def print_standing(out: Console, found: RunResult | Evaluation) -> None:
    """That a result is no better than the commonest class, or that this cannot be said."""
    for finding in found.findings:
        if finding.code in verdict.CODES:
            print_finding(out, finding, "Note:")
    if found.better_than_commonest is None and found.verdict:
        style.row(out, "Note:", style.shown(found.verdict))


def print_mistakes(out: Console, metrics: Metrics) -> None:
    """The most confused pair of classes, and those that are recognized least."""
    confused, weakest = summary.most_confused(metrics), summary.weakest(metrics)
    if confused is None:
        style.row(out, "Mistakes:", f"none on {metrics.n} images")
        return
    style.row(out, "Mistakes:", style.shown(confused))
    if weakest is not None:
        style.row(out, "", style.shown(weakest))


def print_errors(out: Console, errors: Sequence[WrongAnswer], metrics: Metrics) -> None:
    """The wrong answers that were given most surely."""
    wrong = mistakes.count(metrics)
    if not errors:
        return  # there are none, or runs of older versions do not say which
    # no title of the table: it would be broken where the table is narrow
    out.print(f"\n{wrong} of {metrics.n} answers are wrong, the most confident first")
    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("truth")
    table.add_column("answer", style="bold")
    table.add_column("probability", justify="right")
    for e in errors[:_ERRORS_SHOWN]:
        table.add_row(
            style.shown(e.path), style.shown(e.truth), style.shown(e.answer), f"{e.probability:.1%}"
        )
    out.print(table)
    if wrong > _ERRORS_SHOWN:
        text = f"{_ERRORS_SHOWN} of {wrong} shown; all in --json, or --errors FILE.csv"
        out.print(text, style="dim")


def print_confused(out: Console, metrics: Metrics) -> None:
    """Which classes were taken for which, the most images first."""
    pairs = mistakes.confused(metrics)
    if not pairs:
        return
    out.print("\nclasses taken for others, the most images first")
    for true, answer, images, total in pairs[:_PAIRS_SHOWN]:
        out.print(style.shown(f"'{true}' taken for '{answer}' ({images} of {total})"))
    if (more := len(pairs) - _PAIRS_SHOWN) > 0:
        out.print(f"and {more} more pairs (--json)", style="dim")


def print_finding(out: Console, finding: Finding, label: str) -> None:
    """One finding, what to do, and the first of its files."""
    color, word = STATUS[finding.severity]
    names = ", ".join(finding.paths[:_PATHS_SHOWN])
    more = len(finding.paths) - _PATHS_SHOWN
    tail = f" ({names}{f' and {more} more' if more > 0 else ''})" if names else ""
    text = style.shown(finding.title + tail)
    style.row(out, label, f"[{color}]{finding.code} {word}[/]  {text}. {escape(finding.hint)}")
