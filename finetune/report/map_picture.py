"""The map of the images: where each lies for the probe, by class, mistakes marked."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.records.material import ImageMap, MapPoint
from finetune.report import charts
from finetune.report.charts import Axis, Chart
from finetune.report.markup import Html, joined, paragraph, table, tag, text

_SIZE = (560, 440)
_NAMED = 8  # classes with a shape of their own; more could not be told apart


def picture(found: ImageMap | None, classes: Sequence[str]) -> Html:
    """The map with its key; empty without one."""
    if found is None or not found.points:
        return Html("")
    counts = [sum(p.label == c for p in found.points) for c in range(len(classes))]
    named = sorted(range(len(classes)), key=lambda c: (-counts[c], c))[:_NAMED]
    if len(classes) > _NAMED:
        named = sorted(_troubled(found.points), key=lambda c: -counts[c])[:_NAMED] or named
    series = {c: i for i, c in enumerate(sorted(named))}
    x = Axis(low=-1, high=1, start=14, end=_SIZE[0] - 14)
    y = Axis(low=-1, high=1, start=_SIZE[1] - 14, end=14)
    right = [p for p in found.points if p.label == p.answer]
    wrong = [p for p in found.points if p.label != p.answer]
    drawn = [charts.box(6, 6, _SIZE[0] - 12, _SIZE[1] - 12, "field")]
    drawn += [_point(p, series, classes, x, y) for p in (*right, *wrong)]
    drawn += [charts.ring(x(p.x), y(p.y), 9, "mistake") for p in wrong]
    rows = [[name, counts[c], sum(p.label == c for p in wrong)] for c, name in enumerate(classes)]
    cut = "" if len(found.points) == found.images else f" {len(found.points)} of {found.images}."
    return Chart(
        name="map",
        title="Map of the images to learn from",
        told=f"{len(found.points)} images by {found.text}. {len(wrong)} are taken for another "
        "class and ringed.",
        drawing=joined(*drawn),
        numbers=table(["class", "images on the map", "mistakes"], rows[:500], "Images on the map"),
        caption=joined(
            _key(series, classes),
            paragraph(
                f"Images that lie together are similar for the probe ({found.text}).{cut} Ringed: "
                "taken for another class; one deep inside another class may be labelled "
                "wrongly. Point at one for its name.",
            ),
        ),
        size=_SIZE,
        wide=True,
    ).html()


def _troubled(points: Sequence[MapPoint]) -> list[int]:
    """The classes with most mistakes, of many that cannot all be named."""
    wrong = [p.label for p in points if p.label != p.answer]
    return sorted(set(wrong), key=lambda c: (-wrong.count(c), c))[:_NAMED]


def _point(p: MapPoint, series: dict[int, int], classes: Sequence[str], x: Axis, y: Axis) -> Html:
    said = f"{p.path}: {classes[p.label]}"
    if p.answer != p.label:
        said += f", taken for {classes[p.answer]}"
    if p.label not in series:
        return charts.marker(0, x(p.x), y(p.y), 3, said, "faint")
    return charts.marker(series[p.label], x(p.x), y(p.y), 5, said)


def _key(series: dict[int, int], classes: Sequence[str]) -> Html:
    """Which shape stands for which class."""
    entries = [
        tag(
            "li",
            joined(
                Html(
                    '<svg class="sign" viewBox="-8 -8 16 16" aria-hidden="true">'
                    f"{charts.marker(number, 0, 0, 5)}</svg>"
                ),
                text(classes[c]),
            ),
        )
        for c, number in series.items()
    ]
    if len(classes) > len(series):
        entries.append(tag("li", "faint: the other classes"))
    return tag("ul", joined(*entries), kind="key")
