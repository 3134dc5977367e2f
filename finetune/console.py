"""What people see: progress on stderr, answers on stdout; the only module that imports rich."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from finetune import mistakes, verdict
from finetune.errors import FinetuneError, printable
from finetune.records import (
    Advice,
    BackboneRow,
    CacheUsage,
    Check,
    Comparison,
    Contender,
    EpochRecord,
    Evaluation,
    Finding,
    Forecast,
    Health,
    Metrics,
    Plan,
    Prediction,
    Recommendation,
    RunResult,
    RunRow,
    SimilarityProfile,
    Size,
    StageScore,
    Status,
    Stop,
    WrongAnswer,
)
from finetune.report import says
from finetune.strategy import TUNED, rule_for

_PATHS_SHOWN = 3
_FILES_SHOWN = 5
_ERRORS_SHOWN, _PAIRS_SHOWN = 5, 5
_CLASSES_SHOWN, _MATRIX_SHOWN = 20, 20
_OF_RESULTS = frozenset(kind.code for kind in verdict.KINDS)
# Colour and word of each result of a check, the worst first.
_STATUS: dict[Status, tuple[str, str]] = {
    "error": ("bold red", "error"),
    "warning": ("yellow", "warning"),
    "note": ("cyan", "note"),
    "passed": ("green", "passed"),
    "not-applicable": ("dim", "not applicable"),
}
# Counted, not listed: a title such as "image(s) cannot be read" would pass for a finding.
_QUIET: tuple[Status, ...] = ("passed", "not-applicable")
_PIPE_WIDTH = 160  # into a file or pipe: wide enough that no name is cut


class ConsoleListener:
    """Draws progress with time left on a terminal, plain lines elsewhere; all on stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("", visible=False)
        self._began = time.perf_counter()

    def __enter__(self) -> ConsoleListener:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def step(self, name: str) -> None:
        """A step of the story begins."""
        seconds = time.perf_counter() - self._began
        self._console.print(f"[dim]{seconds:6.1f} s[/dim]  {_shown(name)}")
        self._progress.reset(self._task, visible=False, description="         ")

    def progress(self, done: int, total: int) -> None:
        """How far the current step is."""
        visible = done < total
        self._progress.update(self._task, completed=done, total=total, visible=visible)

    def epoch(self, record: EpochRecord) -> None:
        """An epoch has ended."""
        line = f"          epoch {record.epoch:3d}  loss {record.train_loss:.3f}"
        if record.val_loss is not None and record.val_accuracy is not None:
            line += f"  validation {record.val_loss:.3f}, {record.val_accuracy:.1%}"
        mark = "  best" if record.best else ""
        self._console.print(f"{line}  {record.seconds:.1f} s{mark}")

    def note(self, text: str) -> None:
        """Something a person should know."""
        line = f"[dim]·[/dim] {_shown(text)}"
        if self._console.is_terminal:
            self._console.print(Padding(line, (0, 0, 0, 10)))
        else:
            self._console.print(" " * 10 + line)


def show_error(error: FinetuneError) -> None:
    """One line and what to try, on stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error:[/] {_shown(error.message)}")
    console.print(f"[bold]try:[/]   {_shown(error.hint)}")


def show_line(text: str, *, error: bool = False) -> None:
    """One plain line, exactly as it is on stdout, without effect on the terminal on stderr."""
    if error:
        sys.stderr.write(printable(text) + "\n")
    else:
        sys.stdout.write(text + "\n")


def show_result(result: RunResult) -> None:
    """The answer of `train`."""
    out = _out()
    metrics = result.test or result.estimate
    source = "test images" if result.test else result.estimate_source
    low, high = metrics.interval
    out.print()
    if len(result.stages) > 1:
        out.print(_stage_table(result.stages, result.recommendation.plan.taps))
    _print_findings(out, result.findings)
    out.print(
        f"[bold]{result.strategy}[/]: [bold green]{metrics.accuracy:.1%}[/] accuracy on "
        f"{metrics.n} {source} (95 % interval {low:.1%} to {high:.1%}; commonest class "
        f"{metrics.majority_baseline:.1%})"
    )
    _print_standing(out, result)
    if result.test is not None:
        _print_errors(out, result.errors, result.test)
    _print_confused(out, metrics)
    if result.floor is not None:
        out.print(f"Why: {escape(result.floor.reason)}")
    for reason in result.recommendation.reasons:
        out.print(f"Why: {escape(reason.text)}")
    # not broken over lines, so that path and command can be copied
    out.print(
        f"Took {result.seconds['total']:.0f} s. Run: [bold]{_shown(result.run)}[/]", soft_wrap=True
    )
    command = f"finetune predict IMAGE --run {shlex.quote(result.run)}"
    out.print(f"Next: {_shown(command)}", style="dim", soft_wrap=True)


def show_stop(stop: Stop) -> None:
    """Why a training ended before its time, on stderr as a fault is."""
    show_error(FinetuneError(stop.text, hint=stop.hint))


def show_recommendation(advice: Recommendation) -> None:
    """The answer of `recommend` without a folder."""
    out = _out()
    out.print(_decision_table(advice))
    out.print(f"[bold]{advice.strategy}[/]")
    for reason in advice.reasons:
        out.print(f"Why: {escape(reason.text)}")
    for flip in advice.flips:
        out.print(f"What would flip it: {escape(flip)}", style="dim")
    if advice.warning:
        out.print(f"[bold yellow]Warning:[/] {escape(advice.warning)}")
    if len(advice.forecasts) > 1:
        out.print(_forecast_table(advice.forecasts))
    out.print(_plan_table(advice.plan))


def show_advice(advice: Advice) -> None:
    """The answer of `recommend DIR`."""
    out = _out()
    for finding in advice.findings:
        _print_finding(out, finding)
    out.print(_stage_table(advice.stages, advice.recommendation.plan.taps))
    for e in advice.expected:
        out.print(
            f"Expected of {e.strategy}: {e.accuracy:.1%} (95 % interval {e.interval[0]:.1%} to "
            f"{e.interval[1]:.1%}, {e.images} images each left out once)"
        )
    near = advice.profile.similarity
    out.print(_parts_table(near))
    if near.drift:
        by_stage = ", ".join(f"{stage} {value:.2f}" for stage, value in near.drift.items())
        out.print(f"Drift by stage: {by_stage}. Diversity {near.diversity:.3f}.", style="dim")
    show_recommendation(advice.recommendation)


def show_health(health: Health) -> None:
    """The answer of `check`: what was found with what to do, the worst first; the rest counted."""
    out = _out()
    ranked = sorted(health.checks, key=lambda c: (list(_STATUS).index(c.status), c.code))
    for check in ranked:
        if check.status not in _QUIET:
            _print_check(out, check)
    counts = health.counts
    alarms = sum(c.alarming for c in health.checks)
    out.print(
        f"{sum(counts.values())} images of {len(health.classes)} classes: {counts['train']} train, "
        f"{counts['val']} validation, {counts['test']} test. "
        f"{alarms or 'No'} warning{'' if alarms == 1 else 's'}. Took {health.seconds:.1f} s."
    )
    numbers = {word: sum(c.status == word for c in health.checks) for word in _QUIET}
    quiet = ", ".join(f"{n} {_STATUS[word][1]}" for word, n in numbers.items() if n)
    out.print(f"{quiet}; --json lists them.", style="dim")


def show_comparison(found: Comparison) -> None:
    """The answer of `compare`."""
    out = _out()
    for finding in found.findings:
        _print_finding(out, finding)
    table = Table(
        title=f"every strategy, tested on the same {found.counts['test']} images",
        title_justify="left",
    )
    table.add_column("strategy")
    for name in ("accuracy", "95 %", f"against {found.table}", "95 %", "log loss", "seconds"):
        table.add_column(name, justify="right")
    for c in found.contenders:
        mark = " (table)" if c.strategy == found.table else ""
        mark += " (measured)" if c.strategy == found.chosen else ""
        table.add_row(
            c.strategy + mark,
            *_figures(c, table=found.table),
            style="bold green" if c.strategy == found.best else None,
        )
    out.print(table)
    for c in found.contenders:
        if c.untried is not None:
            out.print(f"{c.strategy} has no figures: {escape(c.untried)}")
    out.print(found.verdict)


def _figures(c: Contender, *, table: str) -> list[str]:
    """The cells of one strategy in a comparison; of one that was not tested none."""
    if c.accuracy is None or c.interval is None or c.log_loss is None or c.seconds is None:
        return ["–", "", "", "", "", ""]
    lead = ["", ""]
    gain, low, high = c.difference, c.low, c.high
    if c.strategy != table and gain is not None and low is not None and high is not None:
        lead = [f"{100 * gain:+.1f} points", f"{100 * low:+.1f} to {100 * high:+.1f}"]
    return [
        f"{c.accuracy:.1%}",
        f"{c.interval[0]:.1%} to {c.interval[1]:.1%}",
        *lead,
        f"{c.log_loss:.3f}",
        f"{c.seconds:.0f}",
    ]


def show_predictions(predictions: Sequence[Prediction]) -> None:
    """The answer of `predict`, one line per image."""
    out = _out()
    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("label", style="bold")
    table.add_column("probability", justify="right")
    table.add_column("then", style="dim")
    for p in predictions:
        if p.error is not None:
            table.add_row(_shown(p.path), "[red]error[/]", "", _shown(p.error))
            continue
        rest = ", ".join(f"{c.label} {c.probability:.1%}" for c in p.top[1:])
        table.add_row(_shown(p.path), _shown(p.label or ""), f"{p.probability:.1%}", _shown(rest))
    out.print(table)


def show_evaluation(evaluation: Evaluation) -> None:
    """The answer of `evaluate`."""
    out = _out()
    metrics = evaluation.metrics
    _print_findings(out, evaluation.findings)
    out.print(_class_table(metrics))
    classes = len(metrics.per_class)
    if classes > _CLASSES_SHOWN:
        out.print(f"{_CLASSES_SHOWN} of {classes} classes shown; all in --json", style="dim")
    if classes <= _MATRIX_SHOWN:
        out.print(_confusion_table(metrics))
    _print_confused(out, metrics)
    _print_errors(out, evaluation.errors, metrics)
    low, high = metrics.interval
    out.print(
        f"[bold green]{metrics.accuracy:.1%}[/] accuracy on {metrics.n} images of "
        f"{_shown(evaluation.data)} (95 % interval {low:.1%} to {high:.1%}; commonest class "
        f"{metrics.majority_baseline:.1%})"
    )
    out.print(
        f"balanced accuracy {metrics.balanced_accuracy:.1%} · macro F1 {metrics.macro_f1:.1%} · "
        f"log loss {metrics.log_loss:.3f} · calibration error {metrics.calibration_error:.1%}"
    )
    _print_standing(out, evaluation)


def show_runs(rows: Sequence[RunRow]) -> None:
    """The answer of `runs`: a path stands on one line, so that it can be copied."""
    whole = [r for r in rows if r.error is None]
    columns = {
        "run": [_shown(r.run) for r in whole],
        "made": [_shown(_local(r.created)) for r in whole],
        "strategy": [_shown(r.strategy) for r in whole],
        "backbone": [_shown(r.backbone) for r in whole],
        "classes": [str(r.classes) for r in whole],
        "accuracy": ["" if r.accuracy is None else f"{r.accuracy:.1%}" for r in whole],
        "measured on": [_shown(r.accuracy_source) for r in whole],
    }
    out = _out()
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
            out.print(f"{_shown(r.run)}  [red]{_shown(r.error)}[/]", soft_wrap=True)


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    """How wide a table of these columns is, two blanks between them."""
    widest = (max(Text.from_markup(c).cell_len for c in [n, *v]) for n, v in columns.items())
    return sum(widest) + 2 * (len(columns) - 1)


def _local(created: str) -> str:
    """A moment of a run's record as clocks show it here, like the date in a run's own name."""
    try:
        return datetime.fromisoformat(created).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # a stranger's run
        return created[:16]


def show_backbones(rows: Sequence[BackboneRow]) -> None:
    """The answer of `backbones`."""
    table = Table(box=None, pad_edge=False)
    table.add_column("backbone", no_wrap=True)
    for name in ("ready", "parameters", "input", "stages", "licence", "weights"):
        table.add_column(name, overflow="fold")
    for r in rows:
        ready = "[green]yes[/]" if r.ready else "no"
        table.add_row(
            r.name,
            ready,
            f"{r.parameters / 1e6:.1f} M",
            f"{r.side_px} px",
            " ".join(r.stages),
            r.licence,
            r.weights,
        )
    out = _out()
    out.print(table)
    out.print(
        "Any other timm name works with --weights FILE, or fetched by timm where there is a "
        "network.",
        style="dim",
    )


def show_cache(found: CacheUsage, *, cleared: bool) -> None:
    """What lies in the cache, or what lay there."""
    if found.folder is None:
        show_line("the cache is switched off (FINETUNE_CACHE=off)")
        return
    size = (found.feature_bytes + found.model_bytes) / 1e6
    show_line(f"{printable(found.folder)}" + (": emptied" if cleared else ""))
    show_line(
        f"{'it held ' if cleared else ''}{size:.0f} MB: features of {found.images} images "
        f"({found.feature_bytes / 1e6:.0f} MB of at most {found.limit_bytes / 1e6:.0f}), "
        f"{found.models} converted network(s)"
    )
    if not cleared:
        show_line(
            "FINETUNE_CACHE sets the folder (off: none), FINETUNE_CACHE_GB the limit; "
            "finetune cache --clear empties it"
        )


def _out() -> Console:
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, soft_wrap=True, width=_PIPE_WIDTH)


def _print_check(out: Console, check: Check) -> None:
    """One check that did not pass: what to do, and the first of its files."""
    colour, word = _STATUS[check.status]
    out.print(f"[{colour}]{check.code} {word}[/]  {escape(printable(check.text))}")
    out.print(f"    {escape(check.hint)}", style="dim")
    remarks = check.details or ("",) * len(check.paths)
    for path, remark in list(zip(check.paths, remarks, strict=True))[:_FILES_SHOWN]:
        tail = f" [dim]({escape(printable(remark))})[/]" if remark else ""
        out.print(f"    {escape(printable(path))}{tail}")
    if len(check.paths) > _FILES_SHOWN:
        out.print(f"    and {len(check.paths) - _FILES_SHOWN} more (--json lists all)", style="dim")
    out.print()


def _shown(text: str) -> str:
    """A text from outside, such as a class of a stranger's run, without effect on the terminal."""
    return escape(printable(text))


def _print_findings(out: Console, findings: Sequence[Finding]) -> None:
    """Those about the data; what they say of the result stands beside its figures."""
    for finding in findings:
        if finding.code not in _OF_RESULTS:
            _print_finding(out, finding)


def _print_standing(out: Console, found: RunResult | Evaluation) -> None:
    """That a result is no better than the commonest class, or that this cannot be said."""
    for finding in found.findings:
        if finding.code in _OF_RESULTS:
            _print_finding(out, finding)
    if found.better_than_commonest is None and found.verdict:
        out.print(escape(printable(found.verdict)), style="dim")


def _print_errors(out: Console, errors: Sequence[WrongAnswer], metrics: Metrics) -> None:
    """The wrong answers that were given most surely."""
    wrong = mistakes.count(metrics)
    if not errors:
        if not wrong:
            out.print(f"No wrong answer on {metrics.n} images.")
        return  # runs of older versions do not say which
    # no title of the table: it would be broken where the table is narrow
    out.print(f"{wrong} of {metrics.n} answers are wrong, the surest first")
    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("truth")
    table.add_column("answer", style="bold")
    table.add_column("probability", justify="right")
    for e in errors[:_ERRORS_SHOWN]:
        table.add_row(_shown(e.path), _shown(e.truth), _shown(e.answer), f"{e.probability:.1%}")
    out.print(table)
    if wrong > _ERRORS_SHOWN:
        text = f"{_ERRORS_SHOWN} of {wrong} shown; all in --json, or --errors FILE.csv"
        out.print(text, style="dim")


def _print_confused(out: Console, metrics: Metrics) -> None:
    """Which classes were taken for which, the most images first."""
    pairs = mistakes.confused(metrics)
    if not pairs:
        return
    shown = [
        f"'{_shown(true)}' taken for '{_shown(answer)}' ({images} of {total})"
        for true, answer, images, total in pairs[:_PAIRS_SHOWN]
    ]
    more = len(pairs) - _PAIRS_SHOWN
    tail = f" and {more} more pairs (--json)" if more > 0 else ""
    out.print(f"Most confused: {', '.join(shown)}{tail}")


def _print_finding(out: Console, finding: Finding) -> None:
    colour, _ = _STATUS[finding.severity]
    names = ", ".join(printable(p) for p in finding.paths[:_PATHS_SHOWN])
    more = len(finding.paths) - _PATHS_SHOWN
    tail = f" ({names}{f' and {more} more' if more > 0 else ''})" if names else ""
    text = escape(printable(finding.title) + tail)
    out.print(f"[{colour}]{finding.code}[/] {text}. {escape(finding.hint)}")


def _decision_table(advice: Recommendation) -> Table:
    table = Table(title="the classic table", title_justify="left")
    table.add_column("")
    table.add_column("similar to ImageNet")
    table.add_column("different from ImageNet")
    names: dict[Size, str] = {"small": "very little data", "large": "quite a lot of data"}
    for size, name in names.items():
        cells = []
        for kind in ("similar", "different"):
            rule = rule_for(size, kind)
            text = f"{rule.id} {rule.action}"
            here = (advice.size, advice.similarity) == (size, kind)
            cells.append(f"[bold green]→ {text}[/]" if here else text)
        table.add_row(name, *cells)
    return table


def _parts_table(similarity: SimilarityProfile) -> Table:
    table = Table(title="distance from ImageNet, part by part", title_justify="left")
    table.add_column("part")
    for name in ("measured", "similar", "different"):
        table.add_column(name, justify="right")
    table.add_column("says")
    table.add_column("what it is", style="dim")
    for p in similarity.parts:
        rising = p.similar is None or p.different is None or p.similar < p.different
        table.add_row(
            p.name,
            "–" if p.value is None else f"{p.value:.2f}",
            "" if p.similar is None else f"{'to' if rising else 'from'} {p.similar:.2f}",
            "" if p.different is None else f"{'from' if rising else 'to'} {p.different:.2f}",
            says(p) if p.value is not None else "not measured",
            escape(p.text),
        )
    return table


def _forecast_table(forecasts: Sequence[Forecast]) -> Table:
    table = Table(title="forecast from here to the test", title_justify="left")
    table.add_column("strategy")
    table.add_column("seconds", justify="right")
    table.add_column("because", style="dim")
    for f in forecasts:
        shown = f"{f.seconds:.0f}" if f.fits else f"[red]{f.seconds:.0f}[/]"
        table.add_row(f.strategy, shown, escape(f.text))
    return table


def _stage_table(stages: Sequence[StageScore], used: tuple[str, ...]) -> Table:
    """All candidates; the one whose features the head reads is green."""
    table = Table(title="linear classifiers by stage, cross-validated", title_justify="left")
    table.add_column("features")
    for name in ("accuracy", "± se", "log loss", "dimensions"):
        table.add_column(name, justify="right")
    for s in stages:
        table.add_row(
            s.name,
            f"{s.accuracy:.1%}",
            f"{s.standard_error:.1%}",
            f"{s.log_loss:.3f}",
            str(s.dimensions),
            style="bold green" if s.taps == used else None,
        )
    return table


def _plan_table(plan: Plan) -> Table:
    table = Table(title="plan", title_justify="left", box=None)
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
        table.add_row(name, shown, escape(plan.why.get(name, "")))
    return table


def _class_table(metrics: Metrics) -> Table:
    """The classes that need attention first."""
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for name in ("images", "precision", "recall", "F1"):
        table.add_column(name, justify="right")

    def rate(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    for c in mistakes.worst_first(metrics.per_class)[:_CLASSES_SHOWN]:
        table.add_row(_shown(c.name), str(c.n), rate(c.precision), rate(c.recall), rate(c.f1))
    return table


def _confusion_table(metrics: Metrics) -> Table:
    table = Table(title="rows are true, columns are answers", title_justify="left", box=None)
    table.add_column("")
    for i in range(len(metrics.confusion)):
        table.add_column(str(i + 1), justify="right")
    for i, row in enumerate(metrics.confusion):
        cells = [
            f"[green]{v}[/]" if i == j else (f"[red]{v}[/]" if v else "[dim]·[/]")
            for j, v in enumerate(row)
        ]
        table.add_row(f"{i + 1} {_shown(metrics.per_class[i].name)}", *cells)
    return table
