"""Answers of `train`, `recommend` and `compare` on stdout."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from finetune.cli import render_findings, style
from finetune.decision.table import rule_for
from finetune.records import option_table
from finetune.records.analysis import SimilarityProfile, StageScore
from finetune.records.answers import Advice, Comparison, Contender
from finetune.records.choices import TUNED, Size
from finetune.records.decision import Forecast, Plan, Recommendation
from finetune.records.run import RunResult
from finetune.report.html import says


def show_result(result: RunResult) -> None:
    """The answer of `train`."""
    out = style.out()
    metrics = result.test or result.estimate
    source = "test images" if result.test else result.estimate_source
    low, high = metrics.interval
    out.print()
    if len(result.stages) > 1:
        out.print(_stage_table(result.stages, result.recommendation.plan.taps))
    render_findings.print_findings(out, result.findings)
    out.print(
        f"[bold]{result.strategy}[/]: [bold green]{metrics.accuracy:.1%}[/] accuracy on "
        f"{metrics.n} {source} (95 % interval {low:.1%} to {high:.1%}; commonest class "
        f"{metrics.majority_baseline:.1%})"
    )
    render_findings.print_standing(out, result)
    if result.test is not None:
        render_findings.print_errors(out, result.errors, result.test)
    render_findings.print_confused(out, metrics)
    if result.floor is not None:
        out.print(f"Why: {escape(result.floor.reason)}")
    for reason in result.recommendation.reasons:
        out.print(f"Why: {escape(reason.text)}")
    # not broken over lines, so that path and command can be copied
    out.print(
        f"Took {result.seconds['total']:.0f} s. Run: [bold]{style.shown(result.run)}[/]",
        soft_wrap=True,
    )
    command = f"finetune predict IMAGE --run {shlex.quote(result.run)}"
    out.print(f"Next: {style.shown(command)}", style="dim", soft_wrap=True)


def show_recommendation(advice: Recommendation) -> None:
    """The answer of `recommend` without a folder."""
    out = style.out()
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
    out = style.out()
    for finding in advice.findings:
        render_findings.print_finding(out, finding)
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


def show_comparison(found: Comparison) -> None:
    """The answer of `compare`."""
    out = style.out()
    for finding in found.findings:
        render_findings.print_finding(out, finding)
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
        table.add_row(option_table.spoken(name), shown, escape(plan.why.get(name, "")))
    return table
