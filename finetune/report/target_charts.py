"""Charts of labels and numbers: score and baseline, each label, answers against the truth."""

from __future__ import annotations

from finetune.records.figures import figure
from finetune.records.target import TargetMetrics
from finetune.records.target_result import TargetResult
from finetune.report import charts
from finetune.report.charts import Axis
from finetune.report.markup import Html, cut, joined, table

LABELS = 30  # bars that are drawn; all labels stand in the table


def against(metrics: TargetMetrics) -> Html:
    """The score with its interval, beside always giving the same answer."""
    if metrics.map is not None:
        name, value, ends, base = "mAP", metrics.map, metrics.map_interval, metrics.baseline
        title = "Mean average precision, and one answer for all"
    else:
        name, value, ends, base = "R²", metrics.r2 or 0.0, metrics.r2_interval, 0.0
        title = "R², and always answering the mean"
    low, high = ends or (value, value)
    rows = [("this model", value, (low, high)), ("one answer for all", base, (base, base))]
    tall = 30 * len(rows) + 26
    x = Axis(low=min(0.0, low), high=1.0, start=128, end=charts.WIDTH - 16)
    drawn = [
        joined(
            charts.line(x(v), 4, x(v), tall - 22, "grid"),
            charts.words(x(v), tall - 6, f"{v:.2g}", "middle", "soft"),
        )
        for v in x.ticks(4)
    ]
    for i, (said, score, (least, most)) in enumerate(rows):
        y = 30 * i + 18
        drawn.append(charts.words(120, y + 4, said, "end"))
        if most > least:
            drawn.append(charts.line(x(least), y, x(most), y, "interval"))
        drawn.append(charts.marker(3 if i == 0 else 0, x(score), y, 5, f"{score:.3f}", "own"))
    return charts.Chart(
        name="against",
        title=title,
        told=f"{name} {value:.3f} (95 % interval {low:.3f} to {high:.3f}); one answer for all has "
        f"{base:.3f}.",
        drawing=joined(*drawn),
        size=(charts.WIDTH, tall),
    ).html()


def labels(metrics: TargetMetrics) -> Html:
    """The average precision of each label, the worst first, and how frequent the label is."""
    found = sorted(
        (s for s in metrics.per_label if s.average_precision is not None),
        key=lambda s: (s.average_precision or 0.0, s.name),
    )
    if not found:
        return Html("")
    shown = found[:LABELS]
    tall = 20 * len(shown) + 30
    x = Axis(low=0, high=1, start=128, end=charts.WIDTH - 16)
    drawn = [
        joined(
            charts.line(x(v), 4, x(v), tall - 24, "grid"),
            charts.words(x(v), tall - 8, f"{v:.2g}", "middle", "soft"),
        )
        for v in x.ticks(4)
    ]
    for i, score in enumerate(shown):
        y, value, share = 20 * i + 14, score.average_precision or 0.0, score.n / metrics.n
        drawn += [
            charts.words(120, y + 4, cut(score.name, 16), "end"),
            charts.line(x(0), y, x(value), y, "interval"),
            charts.marker(3, x(value), y, 4, f"{score.name}: {value:.3f}", "own"),
            charts.marker(1, x(share), y, 3, f"{score.name}: {share:.1%} of the images", "own"),
        ]
    worst = ", ".join(f"{s.name} {s.average_precision:.3f}" for s in shown[:3])
    return charts.Chart(
        name="labels",
        title="Average precision by label, the worst first",
        told=f"Average precision of {len(shown)} of {len(metrics.per_label)} labels; the worst are "
        f"{worst}. Squares are the labels' shares of the images, which is what chance gives.",
        drawing=joined(*drawn),
        caption="Squares: the share of images that have the label, which is what chance gives.",
        size=(charts.WIDTH, tall),
    ).html()


def answers(result: TargetResult) -> Html:
    """The answers of the test images against the truth; on the line they are equal."""
    points = result.points
    if len(points) < 2:
        return Html("")
    values = [v for pair in points for v in pair]
    low, high = min(values), max(values)
    if high <= low:
        return Html("")
    x, y = charts.across(low, high), charts.upward(low, high)
    name = result.names[0]
    drawn = [
        charts.frame(x, y, (f"truth: {cut(name)}", "answer"), (_number, _number)),
        charts.line(x(low), y(low), x(high), y(high), "axis"),
        *(
            charts.marker(
                0, x(truth), y(answer), 2.5, f"truth {figure(truth)}, answer {figure(answer)}"
            )
            for truth, answer in points
        ),
    ]
    far = sorted(points, key=lambda p: -abs(p[1] - p[0]))[:20]
    return charts.Chart(
        name="answers",
        title=f"Answers against the truth: {cut(name)}",
        told=f"{len(points)} test images from {figure(low)} to {figure(high)}; on the line answer "
        "and truth are equal, above it the answer is too large.",
        drawing=joined(*drawn),
        caption="On the line answer and truth are equal; above it the answer is too large.",
        numbers=table(
            ["truth", "answer", "off by"],
            [[figure(t), figure(a), figure(a - t, signed=True)] for t, a in far],
            "The twenty answers furthest from the truth",
        ),
    ).html()


def _number(value: float) -> str:
    return figure(value)
