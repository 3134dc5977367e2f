"""Answers on stdout."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from finetune.cli import render_findings, render_labels, render_targets, style
from finetune.cli.render_training import print_next
from finetune.cli.style import QUIET, STATUS
from finetune.metrics import mistakes
from finetune.records.answers import CacheUsage, Evaluation, Health, Prediction
from finetune.records.dataset import Check
from finetune.records.errors import printable
from finetune.records.metrics import Metrics
from finetune.records.robustness import Fall
from finetune.records.run import RunRow
from finetune.records.target_result import TargetEvaluation
from finetune.report import summary

_FILES_SHOWN = 5
_CLASSES_SHOWN, _MATRIX_SHOWN = 20, 20


def show_health(
    health: Health, *, verbose: bool = False, written: bool = False, command: str = ""
) -> None:
    """The answer of `check`: the verdict, then what was found with what to do, the worst first.

    Suspect labels, where they were asked for, come before all that.

    Args:
        health: What the checks say.
        verbose: List those that passed or do not apply, too.
        written: Whether suspect labels go to a file.
        command: The training that follows, with the options of this check.
    """
    out = style.out()
    if health.labels is not None:
        render_labels.print_suspects(out, health.labels, health.data, written=written)
        out.print()
    counts = health.counts
    alarms = sum(c.alarming for c in health.checks)
    color = STATUS["warning" if alarms else "passed"][0]
    what = f"{len(health.classes)} classes"
    if health.target is not None:
        many = len(health.target.names)
        kind = "label" if health.target.kind == "labels" else "number"
        what = f"{many} {kind}{'' if many == 1 else 's'}"
    out.print(
        f"[bold {color}]{alarms or 'No'} warning{'' if alarms == 1 else 's'}[/] on "
        f"{sum(counts.values())} images of {what} ({counts['train']} train, "
        f"{counts['val']} validation, {counts['test']} test; checked in {health.seconds:.1f} s)"
    )
    ranked = sorted(health.checks, key=lambda c: (list(STATUS).index(c.status), c.code))
    for check in ranked:
        if check.status not in QUIET:
            _print_check(out, check)
        elif verbose:
            color, word = STATUS[check.status]
            out.print(f"[{color}]{check.code} {word}[/]  {style.shown(check.title)}")
    numbers = {word: sum(c.status == word for c in health.checks) for word in QUIET}
    quiet = ", ".join(f"{n} {STATUS[word][1]}" for word, n in numbers.items() if n)
    if not verbose:
        out.print(f"{quiet}; --verbose and --json list them.", style="dim")
    if not alarms and not (health.labels and health.labels.found):
        print_next(out, command or f"finetune train {shlex.quote(health.data)}")


def show_predictions(predictions: Sequence[Prediction]) -> None:
    """The answer of `predict`, one line per image."""
    out = style.out()
    table = Table(box=None, pad_edge=False)
    if any(p.labels is not None or p.value is not None for p in predictions):
        render_targets.show_predictions(predictions)
        return
    table.add_column("image", overflow="fold")
    table.add_column("label", style="bold")
    table.add_column("probability", justify="right")
    table.add_column("then", style="dim")
    for p in predictions:
        if p.error is not None:
            table.add_row(style.shown(p.path), "[red]error[/]", "", style.shown(p.error))
            continue
        rest = ", ".join(f"{c.label} {c.probability:.1%}" for c in p.top[1:])
        if p.set is not None:
            rest = f"one of {', '.join(p.set)}" if len(p.set) > 1 else ""
        doubted = "" if p.standing in (None, "answered") else f"[yellow]{p.standing}[/]: "
        table.add_row(
            style.shown(p.path),
            f"{doubted}{style.shown(p.label or '')}",
            f"{p.probability:.1%}",
            style.shown(rest),
        )
    out.print(table)


def show_sorted(folder: Path, counts: Mapping[str, int]) -> None:
    """The answer of `predict --sort-into`: how many images went into which folder."""
    out = style.out()
    table = Table(box=None, pad_edge=False)
    table.add_column("folder", overflow="fold")
    table.add_column("images", justify="right")
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(style.shown(str(folder / name)), f"{count:,}")
    out.print(table)


def show_evaluation(evaluation: Evaluation | TargetEvaluation, *, verbose: bool = False) -> None:
    """The answer of `evaluate`: the verdict, what is confused, the worst finding.

    Args:
        evaluation: What was measured.
        verbose: Show the classes, the confusion matrix, wrong answers and every finding, too.
    """
    if isinstance(evaluation, TargetEvaluation):
        render_targets.show_evaluation(evaluation, verbose=verbose)
        return
    out = style.out()
    metrics = evaluation.metrics
    on = f"images of {evaluation.data}"
    out.print(
        f"[bold green4]{metrics.accuracy:.1%}[/] {style.shown(summary.accuracy(metrics, on))}"
    )
    render_findings.print_standing(out, evaluation)
    even = summary.balanced(metrics) or f"balanced accuracy {metrics.balanced_accuracy:.1%}"
    style.row(
        out,
        "Also:",
        f"{even} · macro F1 {metrics.macro_f1:.1%} · "
        f"log loss {metrics.log_loss:.3f} · calibration error {metrics.calibration_error:.1%}",
    )
    if evaluation.selected is not None:
        for name, text in summary.selected(evaluation.selected):
            style.row(out, name, text)
    render_findings.print_mistakes(out, metrics)
    _print_robustness(out, evaluation.robustness)
    render_findings.print_findings(out, evaluation.findings, verbose=verbose)
    if verbose:
        _print_classes(out, metrics)
        render_findings.print_confused(out, metrics)
        render_findings.print_errors(out, evaluation.errors, metrics)
    elif evaluation.errors:
        # not broken over lines, so that it can be copied
        data, run = shlex.quote(evaluation.data), shlex.quote(evaluation.run)
        print_next(out, f"finetune evaluate {data} --run {run} --verbose --errors wrong.csv")


def _print_robustness(out: Console, falls: Sequence[Fall]) -> None:
    """Where it loses most, and the accuracy under each kind at each strength."""
    fragile = summary.fragile(falls)
    if fragile is None:
        return
    style.row(out, "Fragile:", fragile)
    table = Table(box=None, pad_edge=False)
    table.add_column(f"accuracy on {falls[0].images} images")
    for name in ("slight", "medium", "strong"):
        table.add_column(name, justify="right")
    table.add_column("what strong is", style="dim")
    for kind in dict.fromkeys(f.kind for f in falls):
        mine = [f for f in falls if f.kind == kind]
        table.add_row(kind, *(f"{f.accuracy:.1%}" for f in mine), mine[-1].what)
    out.print(table)


def _print_classes(out: Console, metrics: Metrics) -> None:
    """Each class, and which was taken for which."""
    classes = len(metrics.per_class)
    out.print()
    out.print(_class_table(metrics))
    if classes > _CLASSES_SHOWN:
        out.print(f"{_CLASSES_SHOWN} of {classes} classes shown; all in --json", style="dim")
    if classes <= _MATRIX_SHOWN:
        out.print("\n[italic]rows are true, columns are answers[/]")
        out.print(_confusion_table(metrics))


def show_runs(rows: Sequence[RunRow]) -> None:
    """The answer of `runs`: a path stands on one line, so that it can be copied."""
    whole = [r for r in rows if r.error is None]
    columns = {
        "run": [style.shown(r.run) for r in whole],
        "made": [style.shown(_local(r.created)) for r in whole],
        "strategy": [style.shown(r.strategy) for r in whole],
        "backbone": [style.shown(r.backbone) for r in whole],
        "classes": [str(r.classes) for r in whole],
        "accuracy": [_score(r) for r in whole],
        "measured on": [style.shown(r.accuracy_source) for r in whole],
    }
    out = style.out()
    # from the least useful on; the usual path tells strategy and date, too
    for name in ("backbone", "classes", "measured on", "made", "strategy"):
        if _width(columns) > out.width:
            del columns[name]
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    out.width = max(out.width, _width(columns))
    if whole:
        out.print(table)
    for r in rows:
        if r.error is not None:
            out.print(f"{style.shown(r.run)}  [red]{style.shown(r.error)}[/]", soft_wrap=True)


def _score(row: RunRow) -> str:
    """The accuracy; of labels and numbers what they are measured by instead."""
    if row.score is not None:
        return f"{'mAP' if row.target == 'labels' else 'R²'} {row.score:.3f}"
    return "" if row.accuracy is None else f"{row.accuracy:.1%}"


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    """How wide a table of these columns is, two blanks between them."""
    widest = (max(Text.from_markup(c).cell_len for c in [n, *v]) for n, v in columns.items())
    return sum(widest) + 2 * (len(columns) - 1)


def _local(created: str) -> str:
    """A moment of a run's record as clocks show it here, like the date in a run's own name."""
    try:
        return datetime.fromisoformat(created).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # an untrusted run
        return created[:16]


def show_cache(found: CacheUsage, *, cleared: bool) -> None:
    """What lies in the cache, or what lay there."""
    if found.folder is None:
        style.show_line("the cache is switched off (FINETUNE_CACHE=off)")
        return
    size = (found.feature_bytes + found.model_bytes + found.part_bytes) / 1e6
    parts = f", {found.parts} part(s) of finetune features ({found.part_bytes / 1e6:.0f} MB)"
    style.show_line(f"{printable(found.folder)}" + (": emptied" if cleared else ""))
    style.show_line(
        f"{'it held ' if cleared else ''}{size:.0f} MB: features of {found.images} images "
        f"({found.feature_bytes / 1e6:.0f} MB of at most {found.limit_bytes / 1e6:.0f}), "
        f"{found.models} converted network(s){parts if found.parts else ''}"
    )
    if not cleared:
        style.show_line(
            "FINETUNE_CACHE sets the folder (off: none), FINETUNE_CACHE_GB the limit; "
            "finetune cache --clear empties it"
        )


def _print_check(out: Console, check: Check) -> None:
    """One check that did not pass: what to do, and the first of its files."""
    color, word = STATUS[check.status]
    out.print(f"[{color}]{check.code} {word}[/]  {style.shown(check.text)}")
    style.row(out, "", f"[dim]{escape(check.hint)}[/]")
    remarks = check.details or ("",) * len(check.paths)
    for path, remark in list(zip(check.paths, remarks, strict=True))[:_FILES_SHOWN]:
        tail = f" [dim]({style.shown(remark)})[/]" if remark else ""
        style.row(out, "", f"{style.shown(path)}{tail}", whole=True)
    if len(check.paths) > _FILES_SHOWN:
        more = len(check.paths) - _FILES_SHOWN
        style.row(out, "", f"[dim]and {more} more (--json lists all)[/]")


def _class_table(metrics: Metrics) -> Table:
    """The classes that need attention first."""
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for name in ("images", "precision", "recall", "F1"):
        table.add_column(name, justify="right")

    def rate(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    for c in mistakes.worst_first(metrics.per_class)[:_CLASSES_SHOWN]:
        table.add_row(style.shown(c.name), str(c.n), rate(c.precision), rate(c.recall), rate(c.f1))
    return table


def _confusion_table(metrics: Metrics) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for i in range(len(metrics.confusion)):
        table.add_column(str(i + 1), justify="right")
    for i, row in enumerate(metrics.confusion):
        cells = [
            f"[green4]{v}[/]" if i == j else (f"[red]{v}[/]" if v else "[dim]·[/]")
            for j, v in enumerate(row)
        ]
        table.add_row(f"{i + 1} {style.shown(metrics.per_class[i].name)}", *cells)
    return table
