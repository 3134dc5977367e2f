"""Answers of `recommend` and `compare` on stdout."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finetune.cli import render_backbones, render_findings, render_targets, style
from finetune.cli.render_training import (
    print_choice,
    print_next,
    print_plan,
    print_reasons,
    print_stages,
)
from finetune.decision.table import rule_for
from finetune.records import durations
from finetune.records.analysis import SimilarityProfile
from finetune.records.answers import Advice, Comparison, Contender, Expectation
from finetune.records.backbone_choice import AUTO
from finetune.records.choices import Similarity, Size, spoken_metric, unit_of
from finetune.records.decision import Forecast, Recommendation
from finetune.report import summary, target_words

_AMOUNT: dict[Size, str] = {"small": "very little data", "large": "quite a lot of data"}
_NEARNESS: dict[Similarity, str] = {"similar": "similar to", "different": "different from"}
_LOG_LOSS_WIDTH = 90  # on a narrower terminal there is no room for the log loss


def show_recommendation(advice: Recommendation, *, verbose: bool = False) -> None:
    """The answer of `recommend` without a folder: the table with its cell, and what would flip it.

    Args:
        advice: What the table says.
        verbose: Show the plan, too.
    """
    out = style.out()
    _print_choice(out, advice)
    _print_flips(out, advice.flips)
    _print_table(out, advice)
    if verbose:
        print_plan(out, advice.plan)


def show_advice(advice: Advice, command: str, *, verbose: bool = False) -> None:
    """The answer of `recommend DIR`: the choice, what to expect, where the data stands.

    Args:
        advice: What was found.
        command: The training to which it leads.
        verbose: Show what was measured, every reason and the plan, too.
    """
    out = style.out()
    found = advice.recommendation
    expected = {e.strategy: e for e in advice.expected}
    mine = expected.pop(found.strategy, None)
    _print_choice(out, found, "" if mine is None else f": {_expected(mine)}")
    render_backbones.print_backbones(out, advice.backbone_choice)
    for e in expected.values():
        style.row(out, "Probe:", f"{e.strategy}: {_expected(e)}")
    size, near = advice.profile.size, advice.profile.similarity
    doubt = ", which is uncertain" if near.verdict == "uncertain" else ""
    made = "" if advice.target is None else ", made for classes,"
    style.row(
        out,
        "Data:",
        f"{_AMOUNT[found.size]} ({size.images} training images), {_NEARNESS[found.similarity]} "
        f"ImageNet{doubt}; the classic table{made} says "
        f"{escape(rule_for(found.size, found.similarity).action)}",
    )
    for forecast in found.forecasts:
        if forecast.strategy == found.strategy:
            style.row(out, "Time:", f"about {durations.in_words(forecast.seconds)} to train it")
    render_findings.print_findings(out, advice.findings, verbose=verbose)
    _print_flips(out, found.flips if verbose else found.flips[:1])
    if verbose:
        if advice.target is None:
            print_stages(out, advice.stages, found.plan.taps)
        else:
            render_targets.print_stages(out, advice.target_stages, found.plan.taps)
        _print_parts(out, near)
        _print_table(out, found)
        print_reasons(out, [r.text for r in found.reasons])
        _print_forecasts(out, found.forecasts)
        print_plan(out, found.plan)
        out.print()
    print_next(out, command)


def show_comparison(found: Comparison, command: str = "", *, verbose: bool = False) -> None:
    """The answer of `compare`: the verdict, then a row for each strategy.

    Args:
        found: What was measured.
        command: The training to which it leads, without the strategy; made up where there is none.
        verbose: Show every finding.
    """
    out = style.out()
    out.print(f"[bold]{escape(found.verdict)}[/]")
    render_backbones.print_backbones(out, found.backbone_choice)
    metric, unit = _title(found)
    out.print(
        f"\n[italic]every strategy, tested on the same {found.counts['test']} images; differences "
        f"in {unit}[/]"
    )
    out.print(_compared(found, metric) if found.target is None else render_targets.compared(found))
    near = [c.strategy for c in found.contenders if c.tied and c.strategy != found.best]
    if near:
        out.print(f"Not told from {found.best} by these images (95 %): {', '.join(near)}")
    for c in found.contenders:
        if c.untried is not None:
            out.print(f"{c.strategy} has no figures: {escape(c.untried)}")
    render_findings.print_findings(out, found.findings, verbose=verbose)
    print_next(out, f"{_training(found, command)} --strategy {found.best}")


def _title(found: Comparison) -> tuple[str | None, str]:
    """The metric that has a column of its own beside the accuracy, and what differences are in."""
    metric = None if found.metric in ("accuracy", "log-loss") else spoken_metric(found.metric)
    unit = unit_of(found.metric)[2].removeprefix("of ")
    rows = [c.measured for c in found.contenders if c.measured is not None]
    if found.metric in ("rmse", "mae") and rows and len(rows[0].per_number) > 1:
        unit += " (standard deviations of the numbers)"
    return metric, unit


def _training(found: Comparison, command: str) -> str:
    """A training of the same data, with the network that was chosen for it."""
    choice = found.backbone_choice
    if not command:
        target = "" if found.target is None else f" --target {found.target}"
        command = f"finetune train {shlex.quote(found.data)}{target}"
        if choice is not None and choice.start is not None:
            command += f" --start-from {shlex.quote(choice.start.run)}"
        elif choice is not None:
            command += f" --backbone {found.backbone}"
    if choice is None or choice.start is not None:
        return command
    return re.sub(rf"--backbone[ =]{AUTO}\b", f"--backbone {found.backbone}", command)


def _compared(found: Comparison, metric: str | None) -> Table:
    """The strategies as models of classes."""
    out = style.out()
    wide = out.width >= _LOG_LOSS_WIDTH
    table = Table(box=None, pad_edge=False)
    table.add_column("strategy", no_wrap=True)
    table.add_column("accuracy (95 %)", justify="right", no_wrap=True)
    if metric is not None:
        table.add_column(metric, justify="right", no_wrap=True)
    table.add_column(f"against {found.table}", justify="right")
    if wide:
        table.add_column("log loss", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("chosen by")
    for c in found.contenders:
        by = [w for w, s in (("table", found.table), ("measured", found.chosen)) if s == c.strategy]
        cells = _figures(c, found)
        score = [] if metric is None else ["" if c.score is None else f"{c.score:.1%}"]
        table.add_row(
            c.strategy,
            cells[0],
            *score,
            *(cells[1:] if wide else (cells[1], cells[3])),
            "both" if len(by) > 1 else "".join(by),
            style="bold green4" if c.strategy == found.best else None,
        )
    return table


def _figures(c: Contender, found: Comparison) -> list[str]:
    """The cells of one strategy in a comparison; of one that was not tested none."""
    if c.accuracy is None or c.interval is None or c.log_loss is None or c.seconds is None:
        return ["–", "", "", ""]
    gained = ""
    gain, low, high = c.difference, c.low, c.high
    if c.strategy != found.table and gain is not None and low is not None and high is not None:
        gained = f"{100 * gain:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        if found.metric == "log-loss":  # less of it is better
            gained = f"{-gain:+.3f} ({-high:+.3f} to {-low:+.3f})"
    low, high = c.interval
    return [
        f"{c.accuracy:.1%} ({100 * low:.1f} to {100 * high:.1f})",
        gained,
        f"{c.log_loss:.3f}",
        durations.in_words(c.seconds),
    ]


def _expected(probe: Expectation) -> str:
    """What a probe will do on new images, by cross-validation."""
    on = f"{probe.images} images, each left out once"
    if probe.measured is not None:
        score, rest = target_words.headline(probe.measured)
        return f"{score} {rest.partition(', on ')[0]} expected ({on})"
    low, high = probe.interval or (0.0, 0.0)
    return f"{probe.accuracy:.1%} accuracy expected (95 % interval {low:.1%} to {high:.1%}; {on})"


def _print_choice(out: Console, advice: Recommendation, expected: str = "") -> None:
    """What to do, what to expect of it, and why, in two or three sentences."""
    out.print(f"[bold green4]{advice.strategy}[/]{expected}")
    print_choice(out, summary.choice(advice))
    if advice.warning:
        color = style.STATUS["warning"][0]
        style.row(out, f"[{color}]Warning:[/]", escape(advice.warning))


def _print_flips(out: Console, flips: Sequence[str]) -> None:
    for flip in flips:
        style.row(out, "What if:", escape(flip.removeprefix("if ")))


def _print_table(out: Console, advice: Recommendation) -> None:
    """The 2×2 table with the cell of this data."""
    table = Table()
    table.add_column("")
    table.add_column("similar to ImageNet")
    table.add_column("different from ImageNet")
    for size, name in _AMOUNT.items():
        cells = []
        for kind in ("similar", "different"):
            rule = rule_for(size, kind)
            text = f"{rule.id} {rule.action}"
            here = (advice.size, advice.similarity) == (size, kind)
            cells.append(f"[bold green4]→ {text}[/]" if here else text)
        table.add_row(name, *cells)
    out.print("\n[italic]the classic table[/]")
    out.print(table)


def _print_parts(out: Console, similarity: SimilarityProfile) -> None:
    """The parts of the distance with their thresholds; what each is stands below."""
    table = Table(box=None, pad_edge=False)
    table.add_column("part")
    for name in ("measured", "similar", "different"):
        table.add_column(name, justify="right")
    table.add_column("says")
    for p in similarity.parts:
        rising = p.similar is None or p.different is None or p.similar < p.different
        table.add_row(
            p.name,
            "–" if p.value is None else f"{p.value:.2f}",
            "" if p.similar is None else f"{'to' if rising else 'from'} {p.similar:.2f}",
            "" if p.different is None else f"{'from' if rising else 'to'} {p.different:.2f}",
            summary.says(p) if p.value is not None else "not measured",
        )
    out.print("\n[italic]distance from ImageNet, part by part[/]")
    out.print(table)
    for p in similarity.parts:
        out.print(f"{p.name}: {escape(p.text)}", style="dim")
    if similarity.drift:
        by_stage = ", ".join(f"{stage} {value:.2f}" for stage, value in similarity.drift.items())
        diversity = similarity.diversity
        tail = "" if diversity is None else f". Diversity {diversity:.3f}"
        out.print(f"Drift by stage: {by_stage}{tail}", style="dim")


def _print_forecasts(out: Console, forecasts: Sequence[Forecast]) -> None:
    """What each strategy would take."""
    if len(forecasts) < 2:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("strategy", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("because", style="dim")
    for f in forecasts:
        time = durations.in_words(f.seconds)
        because = escape(f.text.partition(": ")[2])
        table.add_row(f.strategy, time if f.fits else f"[red]{time}[/]", because)
    out.print("\n[italic]forecast from here to the test[/]")
    out.print(table)
