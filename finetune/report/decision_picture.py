"""The decision table as a picture with the data set in it, and how far the boundaries are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finetune.analysis import similarity, size
from finetune.records.analysis import DatasetProfile, Part, SizeProfile
from finetune.records.choices import Similarity, Size
from finetune.records.decision import Recommendation
from finetune.report import charts
from finetune.report.charts import Axis, Chart
from finetune.report.known_sets import KNOWN_SETS, KnownSet
from finetune.report.markup import Html, joined, table, tag, text

_HIGH = 300
_FEWEST, _MOST = 10, 50_000
_LEFT = 46
_GAINED = 1.0  # points, as in docs/decision.md: less is chance on these test sets
_CELLS: tuple[tuple[Size, Similarity], ...] = (
    ("small", "similar"),
    ("small", "different"),
    ("large", "similar"),
    ("large", "different"),
)


def cells(advice: Recommendation, actions: Mapping[tuple[Size, Similarity], str]) -> Html:
    """The table with the chosen cell marked."""
    rows = []
    names = {"small": "very little data", "large": "quite a lot of data"}
    for row in ("small", "large"):
        columns = [
            tag(
                "td",
                actions[key],
                kind="here" if key == (advice.size, advice.similarity) else None,
            )
            for key in _CELLS
            if key[0] == row
        ]
        rows.append(tag("tr", joined(tag("th", names[row], scope="row"), *columns)))
    head = [tag("th", h, scope="col") for h in ("similar to ImageNet", "different from ImageNet")]
    top = tag("tr", joined(tag("td", ""), *head))
    inside = joined(tag("caption", "The classic table; this data set's cell is framed"))
    return tag("table", joined(inside, tag("tbody", joined(top, *rows))), kind="cells")


def picture(profile: DatasetProfile, advice: Recommendation) -> Html:
    """Similarity against size, with bands where other evidence decides; empty if unmeasured."""
    place = _place([p for p in profile.similarity.parts if p.similar is not None])
    if place is None:
        return Html("")
    x = Axis(low=-2.2, high=2.2, start=charts.WIDTH - 10, end=_LEFT)
    y = Axis(low=_FEWEST, high=_MOST, start=36, end=_HIGH - 10, log=True)
    images = max(profile.size.images, 1)
    drawing = joined(
        _bands(x, y, advice),
        *[_known(one, x, y) for one in KNOWN_SETS],
        charts.box(x(place) - 6, y(images) - 6, 12, 12, "self", f"this data set: {images} images"),
        charts.words(
            x(place) + (-10 if place < 0 else 10),
            y(images) + 4,
            f"this data set: {images:,} images",
            "end" if place < 0 else "start",
            "strong halo",
        ),
    )
    return Chart(
        name="where",
        title="Where this data set stands",
        told=f"Similarity to ImageNet from left (similar) to right (different), images to learn "
        f"from downward. This data set has {images} images and lies {_side(place)}. It is taken as "
        f"{advice.size} and {advice.similarity}.",
        drawing=drawing,
        numbers=_numbers(place, profile.size),
        caption=text(
            "Square: this data set. Faint: the twelve sets that the rules were measured on; filled "
            "where deep fine-tuning beat the best probe by more than a point, hollow where not. "
            "Between the dashed lines other evidence decides: the learning curve, or which parts "
            "of similarity agree."
        ),
        size=(charts.WIDTH, _HIGH),
    ).html()


def distances(profile: DatasetProfile) -> list[str]:
    """How far the boundaries are, in words."""
    return [_size_words(profile.size), *filter(None, map(_words, profile.similarity.parts))]


def strips(parts: Sequence[Part]) -> Html:
    """Each part that votes on its own scale: both thresholds and the value."""
    shown = [p for p in parts if p.similar is not None and p.value is not None]
    if not shown:
        return Html("")
    drawn, high = [], 58 * len(shown) + 8
    for i, part in enumerate(shown):
        drawn.append(_strip(part, 58 * i + 8))
    told = "; ".join(
        f"{p.name} {p.value:.2f}, similar at {p.similar:.2f}, different at {p.different:.2f}"
        for p in shown
    )
    return Chart(
        name="parts",
        title="What says similar, what different",
        told=told,
        drawing=joined(*drawn),
        size=(charts.WIDTH, high),
        caption=text("The marker is the measured value; between the lines a part has no opinion."),
    ).html()


def _place(parts: Sequence[Part]) -> float | None:
    """Where the parts together lean, from -2 (different) to 2 (similar)."""
    known = [similarity.lean(p) for p in parts if p.value is not None]
    return sum(known) / len(known) if known else None


def _bands(x: Axis, y: Axis, advice: Recommendation) -> Html:
    top, bottom, few, many = y.start, y.end, y(size.SMALL_BELOW), y(size.LARGE_FROM)
    left, right, middle = x.end, x.start, x(0)
    row = (top, few) if advice.size == "small" else (few, bottom)
    column = (left, middle) if advice.similarity == "similar" else (middle, right)
    names = {("small", "similar"): "linear-probe", ("small", "different"): "stage-probe"}
    names |= {("large", "similar"): "partial", ("large", "different"): "deep"}
    parts = [
        charts.box(left, top, right - left, bottom - top, "field"),
        charts.box(column[0], row[0], column[1] - column[0], row[1] - row[0], "chosen"),
        charts.box(left, few, right - left, many - few, "unsure"),
        charts.box(x(1), top, x(-1) - x(1), bottom - top, "unsure"),
        charts.line(middle, top, middle, bottom, "axis"),
        charts.line(left, few, right, few, "axis"),
        *(charts.line(left, v, right, v, "dashed") for v in (few, many)),
        *(charts.line(x(v), top, x(v), bottom, "dashed") for v in (1, -1)),
        charts.words(left, 28, "similar to ImageNet", "start", "soft"),
        charts.words(right, 28, "different", "end", "soft"),
        charts.words(4, 14, "images to learn from", "start", "soft"),
        *(
            charts.words(left - 5, y(v) + 4, f"{v:,}", "end", "soft")
            for v in (10, 100, size.SMALL_BELOW, size.LARGE_FROM, _MOST)
        ),
    ]
    for (rows, columns), name in names.items():
        parts.append(
            charts.words(
                left + 5 if columns == "similar" else right - 5,
                top + 14 if rows == "small" else bottom - 7,
                name,
                "start" if columns == "similar" else "end",
                "strong" if (rows, columns) == (advice.size, advice.similarity) else "soft",
            )
        )
    return joined(*parts)


def _known(one: KnownSet, x: Axis, y: Axis) -> Html:
    place = _place(_parts_of(one))
    assert place is not None  # both parts are known
    gained = one.gain > _GAINED
    told = f"{one.name}: {one.images} images, deep fine-tuning {one.gain:+.1f} points"
    return charts.marker(0, x(place), y(one.images), 4, told, "faint" if gained else "faint hollow")


def _parts_of(one: KnownSet) -> list[Part]:
    values = ((one.drift, similarity.APPEARANCE), (one.agreement, similarity.AGREEMENT))
    return [Part("", value, *ends, "uncertain", "") for value, ends in values]


def _numbers(place: float, measured: SizeProfile) -> Html:
    rows: list[list[object]] = [["this data set", f"{measured.images:,}", f"{place:+.2f}", "–"]]
    for one in KNOWN_SETS:
        where = _place(_parts_of(one))
        rows.append([one.name, f"{one.images:,}", f"{where:+.2f}", f"{one.gain:+.1f} points"])
    head = ["data set", "images", "leans to similar (-2 to 2)", "deep fine-tuning gained"]
    return table(head, rows, "Data sets in the picture")


def _side(place: float) -> str:
    if abs(place) < 1:
        return "between similar and different"
    return "on the similar side" if place > 0 else "on the different side"


def _size_words(measured: SizeProfile) -> str:
    n, few, many = measured.images, size.SMALL_BELOW, size.LARGE_FROM
    if n < few:
        times = few / max(n, 1)
        return f"Size: {n:,} images; the boundary of {few:,} is {times:.1f} times as many"
    if n >= many:
        return f"Size: {n:,} images, {n / many:.1f} times the boundary of {many:,}"
    return f"Size: {n:,} images; between {few:,} and {many:,} the learning curve decides"


def _words(part: Part) -> str:
    """How far a part is from its thresholds."""
    if part.value is None or part.similar is None or part.different is None:
        return ""
    said = f"{part.name[0].upper()}{part.name[1:]}: {part.value:.2f} says {part.verdict}"
    ends = [
        f"{end} {'from' if end == 'similar' else 'up to'} {bound:.2f} "
        f"({abs(part.value - bound):.2f} away)"
        for end, bound in (("similar", part.similar), ("different", part.different))
        if end != part.verdict
    ]
    return f"{said}; {', '.join(ends)}"


def _strip(part: Part, top: float) -> Html:
    assert part.similar is not None
    assert part.different is not None
    assert part.value is not None
    middle, half = (part.similar + part.different) / 2, (part.similar - part.different) / 2
    x = Axis(low=middle - 4 * half, high=middle + 4 * half, start=charts.WIDTH - 14, end=14)
    y = top + 26
    return joined(
        charts.words(14, top + 8, part.name, "start", "strong"),
        charts.words(charts.WIDTH - 14, top + 8, f"{part.value:.2f}: {part.verdict}", "end"),
        charts.box(x.end, y - 6, x.start - x.end, 12, "field"),
        charts.box(x(part.similar), y - 6, x(part.different) - x(part.similar), 12, "unsure"),
        charts.line(x(part.similar), y - 9, x(part.similar), y + 9, "axis"),
        charts.line(x(part.different), y - 9, x(part.different), y + 9, "axis"),
        charts.words(x(part.similar), y + 20, f"similar {part.similar:.2f}", "end", "soft"),
        charts.words(x(part.different), y + 20, f"{part.different:.2f} different", "start", "soft"),
        charts.marker(3, x(part.value), y, 7, f"{part.name} {part.value:.2f}", "own"),
    )
