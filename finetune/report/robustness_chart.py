"""How accuracy falls on pictures that are dark, blurred, covered and so on."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.records.robustness import Fall
from finetune.report import charts, summary
from finetune.report.charts import Axis, Chart
from finetune.report.markup import Html, joined, paragraph, percent, table, text

_ROW = 46


def picture(falls: Sequence[Fall]) -> Html:
    """Accuracy lost to each kind at three strengths; empty where nothing was measured."""
    if not falls:
        return Html("")
    kinds = list(dict.fromkeys(f.kind for f in falls))
    high = _ROW * len(kinds) + 44
    most = max(0.1, *(f.lost + f.error for f in falls))
    x = Axis(low=0, high=most, start=104, end=charts.WIDTH - 12)
    drawn = [
        joined(
            charts.line(x(v), 4, x(v), high - 36, "grid"),
            charts.words(x(v), high - 22, f"{100 * v:.3g}", "middle", "soft"),
        )
        for v in x.ticks(4)
    ]
    for i, kind in enumerate(kinds):
        drawn.append(charts.words(98, _ROW * i + 27, kind, "end"))
        for fall in (f for f in falls if f.kind == kind):
            y = _ROW * i + 10 + 13 * (fall.strength - 1)
            told = f"{fall.what}: {100 * fall.lost:.1f} ± {100 * fall.error:.1f} points lost"
            drawn += [
                charts.box(x(0), y, x(fall.lost) - x(0), 10, f"strength{fall.strength}", told),
                charts.line(
                    *(x(fall.lost - fall.error), y + 5, x(fall.lost + fall.error), y + 5), "error"
                ),
            ]
    named = "points of accuracy lost: slight, medium, strong"
    drawn.append(charts.words(x(0), high - 6, named, "start", "soft"))
    rows = [
        [f.what, percent(f.accuracy), f"{100 * f.lost:.1f} ± {100 * f.error:.1f} points"]
        for f in falls
    ]
    told = summary.fragile(falls) or ""
    said = paragraph(f"{told[0].upper()}{told[1:]}, at medium strength.")
    chart = Chart(
        name="robustness-chart",
        title="Accuracy lost to poor pictures",
        told=f"At medium strength: {told}.",
        drawing=joined(*drawn),
        numbers=table(["the test images", "accuracy", "lost"], rows, "Accuracy lost"),
        caption=text(
            f"{falls[0].images} test images, each changed in one way; three bars for each kind "
            "from slight (above) to strong (below). Lines: one standard error either way."
        ),
        size=(charts.WIDTH, high),
    )
    return joined(said, chart.html())
