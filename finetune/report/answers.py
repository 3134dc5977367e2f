"""How the model answered: confusion, classes, and how far its confidence can be trusted."""

from __future__ import annotations

from collections.abc import Container, Sequence

from finetune.metrics import mistakes
from finetune.records.material import Material
from finetune.records.metrics import Metrics
from finetune.report import charts, summary
from finetune.report.charts import Chart
from finetune.report.markup import Html, joined, paragraph, percent, shown_of, table, tag, text

MATRIX_CLASSES = 50  # a larger matrix is no longer read, and grows with the square
_PAIRS = 50


def pair_name(true: int, answer: int) -> str:
    """The name of the place where the pictures of a cell stand."""
    return f"pair-{true}-{answer}"


def confusion(metrics: Metrics, classes: Sequence[str], linked: Container[tuple[int, int]]) -> Html:
    """The matrix; its cells lead to their pictures, those in `linked`. Empty of many classes."""
    if not 2 <= len(classes) <= MATRIX_CLASSES or not metrics.confusion:
        return Html("")
    head = [tag("td", "")]
    head += [tag("th", i + 1, scope="col", title=name) for i, name in enumerate(classes)]
    rows = [tag("tr", joined(*head))]
    for i, (name, row) in enumerate(zip(classes, metrics.confusion, strict=True)):
        total = max(1, sum(row))
        rows.append(
            tag(
                "tr",
                joined(
                    tag("th", f"{i + 1} {name}", scope="row"),
                    *(_cell(i, j, v, v / total, linked) for j, v in enumerate(row)),
                ),
            )
        )
    told = paragraph(
        "Rows are the true classes, columns the answers, in the same order. Right answers stand "
        "on the framed diagonal; the darker a cell, the more of its row. Numbers with a line under "
        "them lead to their pictures.",
        "soft",
    )
    inside = tag("table", tag("tbody", joined(*rows)), kind="confusion")
    label = "Confusion: rows are true classes, columns are answers"
    return joined(
        tag("h3", "Confusion"),
        told,
        tag("div", inside, kind="scroll", tabindex="0", role="region", aria_label=label),
    )


def _cell(
    true: int, answer: int, images: int, share: float, linked: Container[tuple[int, int]]
) -> Html:
    shade = min(9, round(9 * share)) if images else 0
    kind = f"{'right' if true == answer else 'wrong'}{shade}"
    said: str = str(images) if images else ""
    if images and (true, answer) in linked:
        said = tag("a", images, href=f"#{pair_name(true, answer)}")
    return tag("td", said, kind=kind)


def pairs(metrics: Metrics) -> Html:
    """Which classes were taken for which, the most images first."""
    found = mistakes.confused(metrics)
    rows = [[true, answer, f"{v} of {total}"] for true, answer, v, total in found[:_PAIRS]]
    if not rows:
        return Html("")
    return joined(
        tag("h3", "Most frequent confusions"),
        table(["true", "answered", "images"], rows, "Most frequent confusions"),
        shown_of(len(rows), len(found), "pairs", "result.json has the whole matrix"),
    )


def classes(metrics: Metrics, most: int) -> Html:
    """Precision and recall of each class, the least recall first."""
    worst = mistakes.worst_first(metrics.per_class)
    rows = [
        [c.name, c.n, percent(c.precision), percent(c.recall), percent(c.f1), _bar(c.recall)]
        for c in worst[:most]
    ]
    even = summary.balanced(metrics) or f"balanced accuracy {metrics.balanced_accuracy:.1%}"
    told = (
        f"{even} · macro F1 {metrics.macro_f1:.1%} · log loss {metrics.log_loss:.3f} · "
        f"calibration error {metrics.calibration_error:.1%}"
    )
    head = ["class", "images", "precision", "recall", "F1", "recall as a bar"]
    return joined(
        tag("h3", "By class, the least recall first"),
        table(head, rows, "Precision and recall by class"),
        shown_of(len(rows), len(worst), "classes", "result.json has all"),
        paragraph(told, "soft"),
    )


def _bar(share: float | None) -> Html:
    if share is None:
        return text("–")
    inside = f'<rect width="80" height="10" class="field"/><rect width="{80 * share:.0f}" '
    return Html(
        f'<svg class="inline" viewBox="0 0 80 10" aria-hidden="true">{inside}'
        'height="10" class="bar"/></svg>'
    )


def reliability(material: Material) -> Html:
    """Whether answers of a confidence are right as often."""
    bins = material.reliability
    if not bins:
        return Html("")
    least = min(0.9, *(int(10 * b.confidence) / 10 for b in bins))
    low = int(10 * min(least, *(b.interval[0] for b in bins))) / 10
    x, y = charts.across(least, 1.0), charts.upward(low, 1.0)
    names = ("confidence of the answer", "share that is right")
    drawn = [
        charts.frame(x, y, names, (charts.short, charts.short)),
        charts.line(x(least), y(least), x(1), y(1), "dashed"),
    ]
    for b in bins:
        at = x(b.confidence)
        drawn.append(charts.line(at, y(b.interval[0]), at, y(b.interval[1]), "error"))
    drawn.append(charts.path([(x(b.confidence), y(b.accuracy)) for b in bins], "s0"))
    for b in bins:
        told = f"{b.images} images: {b.accuracy:.1%} right at {b.confidence:.1%}"
        drawn.append(charts.marker(0, x(b.confidence), y(b.accuracy), 4, told))
    rows = [[percent(b.confidence), percent(b.accuracy), _ends(b.interval), b.images] for b in bins]
    head = ["confidence", "right", "95 % interval", "images"]
    told = "; ".join(f"{row[0]} confident, {row[1]} right" for row in rows)
    return Chart(
        name="reliability",
        title="Can the confidence be believed?",
        told=f"By tenths of the test images: {told}.",
        drawing=joined(*drawn),
        numbers=table(head, rows, "Reliability"),
        caption=text(
            "Test images in groups of equal size. On the dashed line answers are right as often as "
            "they are confident; below it they are too confident. Lines: 95 % intervals."
        ),
    ).html()


def answered(material: Material) -> Html:
    """How the accuracy rises where the least confident answers are left out."""
    rows = material.answered
    if len(rows) < 2:
        return Html("")
    low = max(0.0, int(10 * min(r.interval[0] for r in rows)) / 10)
    x, y = charts.across(0.0, 1.0), charts.upward(low, 1.0)
    names = ("share of the images that is answered", "accuracy of these")
    drawn = joined(
        charts.frame(x, y, names, (charts.short, charts.short)),
        charts.band([(x(r.share), y(r.interval[0]), y(r.interval[1])) for r in rows], "band"),
        charts.path([(x(r.share), y(r.accuracy)) for r in rows], "s0"),
        *(
            charts.marker(0, x(r.share), y(r.accuracy), 3, f"from {r.threshold:.1%} on")
            for r in rows
        ),
    )
    numbers = [
        [percent(r.threshold), percent(r.share), percent(r.accuracy), _ends(r.interval)]
        for r in rows
    ]
    head = ["answered from a confidence of", "share answered", "accuracy", "95 % interval"]
    ends = rows[0], rows[len(rows) // 2]
    told = "; ".join(f"{r.share:.0%} answered, {r.accuracy:.1%} right" for r in ends)
    return Chart(
        name="answered",
        title="Accuracy against the share answered",
        told=f"From all answers to the most confident: {told}.",
        drawing=drawn,
        numbers=table(head, numbers, "Accuracy against share answered"),
        caption=text(
            "To the left only the more confident answers count, and the rest is left to a person; "
            "the numbers have the confidence to ask for (finetune predict --min-confidence). "
            "Shaded: 95 % intervals."
        ),
    ).html()


def _ends(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"
