"""A run's result → one self-contained HTML page; pure, every name escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from finetune.metrics import classification, mistakes, verdict
from finetune.records import option_table
from finetune.records.analysis import DatasetProfile, Part
from finetune.records.choices import Similarity, Size
from finetune.records.errors import printable
from finetune.records.metrics import Metrics
from finetune.records.run import RunFacts, RunResult
from finetune.records.training import EpochRecord
from finetune.report import summary
from finetune.report.summary import together

_MATRIX_CLASSES = 50  # a larger matrix is no longer read, and grows with the square
_PAIRS, _ERRORS = 50, 200
_STYLE = """
:root { color-scheme: light dark; }
html { background: light-dark(#fff, #161616); color: light-dark(#1a1a1a, #e8e8e8); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.big { font-size: 2.6rem; font-weight: 650; margin: 0; }
.soft { color: light-dark(#5c5c5c, #a8a8a8); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #8883; }
th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; }
.confusion td { text-align: center; border: 0; min-width: 2.2rem; }
.here { background: #3a7d4433; font-weight: 600; }
svg { width: 100%; height: 10rem; }
"""


def to_html(
    facts: RunFacts,
    result: RunResult,
    profile: DatasetProfile,
    history: Sequence[EpochRecord],
    actions: Mapping[tuple[Size, Similarity], str],
) -> str:
    """The report of one run; `actions` is the decision table, a text for each of its cells."""
    name = escape(facts.data_root.rstrip("/").rpartition("/")[2])
    metrics = result.test or result.estimate
    source = f"{metrics.n} test images" if result.test else result.estimate_source
    parts = [
        f"<h1>{name}: {escape(result.strategy)} on {escape(facts.backbone.name)}</h1>",
        f'<p class="big">{metrics.accuracy:.1%}</p>',
        f'<p class="soft">accuracy on {escape(source)}, {classification.interval_text(metrics)}; '
        f"always answering the commonest class gives {metrics.majority_baseline:.1%}</p>",
        _standing(result),
        _blended(result),
        _stopped(result),
        _why(result, profile, actions),
        _backbones(result),
        _stages(result),
        _history(history),
        _classes(metrics),
        _confusion(metrics, result.classes),
        _pairs(metrics),
        _errors(result),
        _findings(result),
        _plan(result),
        _origin(facts),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: finetune report</title><style>{_STYLE}</style></head><body>"
        + "\n".join(p for p in parts if p)
        + "</body></html>\n"
    )


def _standing(result: RunResult) -> str:
    """That the result is no better than the commonest class, or that this cannot be said."""
    if result.better_than_commonest or not result.verdict:
        return ""
    advice = "".join(f" {escape(f.hint)}" for f in result.findings if f.code in verdict.CODES)
    told = escape(printable(result.verdict[0].upper() + result.verdict[1:]))
    return f"<p><b>{told}.</b>{advice}</p>"


def _blended(result: RunResult) -> str:
    """Which networks answer together."""
    if not result.parts:
        return ""
    return f"<p>{escape(together(result.parts))}</p>"


def _stopped(result: RunResult) -> str:
    if result.stopped is None:
        return ""
    return f"<p><b>Stopped early: {escape(result.stopped.text)}.</b></p>"


def _why(
    result: RunResult, profile: DatasetProfile, actions: Mapping[tuple[Size, Similarity], str]
) -> str:
    advice = result.recommendation
    body = "".join(
        f"<tr><th>{size}</th>"
        + "".join(
            f"<td{' class=here' if (size, kind) == (advice.size, advice.similarity) else ''}>"
            f"{escape(actions[size, kind])}</td>"
            for kind in ("similar", "different")
        )
        + "</tr>"
        for size in ("small", "large")
    )
    reasons = "".join(f"<li>{escape(r.text)}</li>" for r in advice.reasons)
    floor = f"<p>{escape(result.floor.reason)}</p>" if result.floor else ""
    flips = "".join(f"<li>{escape(f)}</li>" for f in advice.flips)
    if advice.warning:
        floor = f"<p><b>{escape(advice.warning)}</b></p>{floor}"
    pixels = f"{profile.median_side_px} px" if profile.median_side_px else "unknown"
    return (
        f"<h2>What was chosen, and why</h2><table><tr><th></th><th>similar</th><th>different</th>"
        f"</tr>{body}</table><ul>{reasons}<li>median short side of the images: {pixels}</li>{flips}"
        f"</ul>{floor}{_parts(profile)}"
    )


def _parts(profile: DatasetProfile) -> str:
    """The distance from ImageNet part by part, with thresholds."""
    rows = [
        [p.name, *(_bound(v) for v in (p.value, p.similar, p.different)), says(p), p.text]
        for p in profile.similarity.parts
    ]
    head = ["part", "measured", "similar at", "different at", "says", "what it is"]
    return "<h3>Distance from ImageNet, part by part</h3>" + _table(head, rows)


def says(part: Part) -> str:
    """What a part says, for people: one without a threshold is only shown."""
    return part.verdict if part.different is not None else "no vote"


def _bound(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _backbones(result: RunResult) -> str:
    """What the backbone was chosen of, where it was not named."""
    choice = result.backbone_choice
    if choice is None:
        return ""
    rows = [
        [
            printable(c.name),
            printable(c.licence) + ("" if c.permissive else " (opt-in)"),
            "–" if c.parameters is None else f"{c.parameters / 1e6:.1f} M",
            "–" if c.latency_ms is None else f"{c.latency_ms:.1f} ms",
            c.images or "–",
            "–" if c.accuracy is None else f"{c.accuracy:.1%}",
            "–" if c.log_loss is None else f"{c.log_loss:.3f}",
            ("in: " if c.standing == "chosen" else "out: ") + printable(c.why),
        ]
        for c in choice.candidates
    ]
    head = ["backbone", "license", "parameters", "one image", "images", "accuracy", "log loss"]
    table = _table([*head, "why"], rows)
    return (
        f"<h2>Which backbone</h2><p>{escape(printable(choice.reason))}.</p>{table}"
        '<p class="soft">accuracy and log loss of the best linear classifier, each image left out '
        "once</p>"
    )


def _stages(result: RunResult) -> str:
    if len(result.stages) < 2:
        return ""
    rows = [
        [s.name, f"{s.accuracy:.1%}", f"{s.standard_error:.1%}", f"{s.log_loss:.3f}", s.dimensions]
        for s in result.stages
    ]
    return "<h2>Linear classifiers by stage (cross-validated)</h2>" + _table(
        ["features", "accuracy", "± standard error", "log loss", "dimensions"], rows
    )


def _history(history: Sequence[EpochRecord]) -> str:
    if len(history) < 2:
        return ""
    curves = [("training gray", "#888", [r.train_loss for r in history])]
    held = [r.val_loss for r in history if r.val_loss is not None]
    if len(held) == len(history):
        curves.append(("validation green", "#3a7d44", held))
    top = max(max(values) for _, _, values in curves) or 1.0
    lines = []
    for _, colour, values in curves:
        points = " ".join(
            f"{100 * i / (len(values) - 1):.2f},{40 - 38 * v / top:.2f}"
            for i, v in enumerate(values)
        )
        lines.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" '
            f'vector-effect="non-scaling-stroke" points="{points}"/>'
        )
    best = max((r.epoch for r in history if r.best), default=0)
    kept = f"kept: epoch {best}" if held else f"kept: the last, {history[-1].epoch}"
    if held and best == 0:
        kept = "no epoch was better than the probe's head it started from"
    names = ", ".join(name for name, _, _ in curves)
    return (
        "<h2>Tuning</h2>"
        f'<svg viewBox="0 0 100 40" preserveAspectRatio="none">{"".join(lines)}</svg>'
        f'<p class="soft">loss by epoch, 1 to {len(history)}, from 0 to {top:.2f}: {names}; '
        f"{kept}</p>"
    )


def _classes(metrics: Metrics) -> str:
    def rate(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    rows = [
        [c.name, c.n, rate(c.precision), rate(c.recall), rate(c.f1)]
        for c in mistakes.worst_first(metrics.per_class)
    ]
    even = summary.balanced(metrics) or f"balanced accuracy {metrics.balanced_accuracy:.1%}"
    told = (
        f'<p class="soft">{even} · macro F1 '
        f"{metrics.macro_f1:.1%} · log loss {metrics.log_loss:.3f} · calibration error "
        f"{metrics.calibration_error:.1%}</p>"
    )
    table = _table(["class", "images", "precision", "recall", "F1"], rows)
    return f"<h2>By class, the least recall first</h2>{table}{told}"


def _confusion(metrics: Metrics, classes: Sequence[str]) -> str:
    if len(classes) > _MATRIX_CLASSES:
        return ""
    head = "".join(f"<th>{i + 1}</th>" for i in range(len(classes)))
    rows = []
    for i, (name, row) in enumerate(zip(classes, metrics.confusion, strict=True)):
        total = max(1, sum(row))
        cells = "".join(
            f'<td style="background: rgba({"58,125,68" if i == j else "200,60,40"},'
            f'{0.75 * v / total:.2f})">{v or ""}</td>'
            for j, v in enumerate(row)
        )
        rows.append(f"<tr><th>{i + 1} {escape(name)}</th>{cells}</tr>")
    return (
        '<h2>Confusion: rows are true, columns are answers</h2><div class="scroll" tabindex="0">'
        f'<table class="confusion"><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'
    )


def _pairs(metrics: Metrics) -> str:
    """Which classes were taken for which, the most images first."""
    pairs = mistakes.confused(metrics)
    rows = [[true, answer, f"{v} of {total}"] for true, answer, v, total in pairs[:_PAIRS]]
    if not rows:
        return ""
    cut = _cut(len(rows), len(pairs), "pairs", "result.json has the whole matrix")
    table = _table(["true", "answered", "images"], rows)
    return f"<h2>Most frequent confusions</h2>{table}{cut}"


def _errors(result: RunResult) -> str:
    """The wrong answers on the test images, the most confident first."""
    if not result.errors or result.test is None:
        return ""
    rows = [
        [printable(e.path), e.truth, e.answer, f"{e.probability:.1%}"]
        for e in result.errors[:_ERRORS]
    ]
    cut = _cut(len(rows), mistakes.count(result.test), "wrong answers", "more are in result.json")
    table = _table(["image", "truth", "answer", "probability"], rows)
    return f"<h2>Wrong answers on the test images, the most confident first</h2>{table}{cut}"


def _cut(shown: int, total: int, what: str, where: str) -> str:
    """That a table is cut, and where the rest is."""
    if shown == total:
        return ""
    return f'<p class="soft">{shown} of {total} {what} shown; {where}</p>'


def _findings(result: RunResult) -> str:
    items = "".join(
        f"<li><b>{escape(f.code)}</b> {escape(printable(f.title))}. {escape(f.hint)} "
        f"<span class=soft>{escape(printable(', '.join(f.paths[:5])))}"
        f"{' …' if len(f.paths) > 5 else ''}"
        "</span></li>"
        for f in result.findings
        if f.code not in verdict.CODES  # `_standing` tells these
    )
    return f"<h2>Findings about the data</h2><ul>{items}</ul>" if items else ""


def _plan(result: RunResult) -> str:
    plan = result.recommendation.plan
    skip = {"why", "augment"}
    values = {k: v for k, v in vars(plan).items() if k not in skip} | vars(plan.augment)
    rows = [[option_table.spoken(k), _show(v), plan.why.get(k, "")] for k, v in values.items()]
    return "<details><summary>Plan: every setting and where it comes from</summary>" + (
        _table(["setting", "value", "because"], rows) + "</details>"
    )


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _origin(facts: RunFacts) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in facts.versions.items())
    return (
        f'<p class="soft">Weights: {escape(facts.backbone.weights)} '
        f"({escape(facts.backbone.licence)}). Made {escape(facts.created)} by "
        f"<code>{escape(facts.command)}</code>, seed {facts.seed}; {escape(versions)}.</p>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll" tabindex="0"><table><tr>{top}</tr>{body}</table></div>'
