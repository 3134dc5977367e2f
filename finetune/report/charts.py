"""Charts as static SVG: no library, no script; sized for a telephone, larger on a screen.

Colors come from the page's style, so that both color schemes and paper have their own; every
series has a shape or a dash of its own beside its color.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from finetune.report.markup import Html, details, joined, tag, text

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 16, 24, 40
SHAPES = 8  # of markers, as the style has colors


@dataclass(frozen=True, kw_only=True)
class Axis:
    """From values to pixels, linear or logarithmic; values beyond the ends lie on them."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, v = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, v = math.log10(low), math.log10(high), math.log10(v)
        share = (v - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values between the ends."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            marks = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
            inside = [v for v in marks if self.low <= v <= self.high]
            if len(inside) <= most:
                return inside
            return [v for v in inside if f"{v:g}".lstrip("0.")[0] == "1"] or inside[::2]
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = span / most
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        found = [i * step for i in range(first, first + most + 3)]
        return [v for v in found if v <= self.high + 1e-9 * span]


def across(low: float, high: float, *, log: bool = False) -> Axis:
    """The usual axis from left to right."""
    return Axis(low=low, high=high, start=LEFT, end=WIDTH - RIGHT, log=log)


def upward(low: float, high: float) -> Axis:
    """The usual axis from bottom to top."""
    return Axis(low=low, high=high, start=HEIGHT - BOTTOM, end=TOP)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    """A straight line."""
    return Html(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{kind}"/>')


def words(x: float, y: float, said: object, anchor: str = "middle", kind: str = "") -> Html:
    """Text at a place."""
    more = f' class="{kind}"' if kind else ""
    return Html(f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{text(said)}</text>')


def path(points: Sequence[tuple[float, float]], kind: str) -> Html:
    """A line through points."""
    return Html(f'<polyline class="{kind}" points="{" ".join(f"{x},{y}" for x, y in points)}"/>')


def band(points: Sequence[tuple[float, float, float]], kind: str) -> Html:
    """An area between a lower and an upper line: (x, y low, y high)."""
    there = [f"{x},{low}" for x, low, _ in points]
    back = [f"{x},{high}" for x, _, high in reversed(points)]
    return Html(f'<polygon class="{kind}" points="{" ".join(there + back)}"/>')


def box(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> Html:
    """A rectangle; the title is shown when pointed at."""
    head = f'<rect x="{x}" y="{y}" width="{max(width, 0):g}" height="{max(height, 0):g}"'
    return Html(f'{head} class="{kind}">{_title(title)}</rect>')


def marker(number: int, x: float, y: float, size: float, title: str = "", more: str = "") -> Html:
    """A point in the shape and color of a series.

    Args:
        number: Of the series.
        x: Its middle.
        y: Its middle.
        size: Half its width.
        title: Shown when pointed at.
        more: Classes beside that of the series.
    """
    s, kind = size, f"m{number % SHAPES}{' ' + more if more else ''}"
    if number % SHAPES == 0:
        head = f'<circle cx="{x}" cy="{y}" r="{s}"'
        return Html(f'{head} class="{kind}">{_title(title)}</circle>')
    turns: dict[int, Sequence[tuple[float, float]]] = {
        1: ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        2: ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
        3: ((0, -1.3), (1.1, 0), (0, 1.3), (-1.1, 0)),
        4: ((0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
        5: (
            *((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4)),
            *((0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)),
        ),
        6: ((-1.1, 0), (-0.5, -1.1), (0.5, -1.1), (1.1, 0), (0.5, 1.1), (-0.5, 1.1)),
        7: ((-1.2, -0.6), (1.2, -0.6), (1.2, 0.6), (-1.2, 0.6)),
    }
    around = " ".join(f"{x + s * a:.1f},{y + s * b:.1f}" for a, b in turns[number % SHAPES])
    return Html(f'<polygon points="{around}" class="{kind}">{_title(title)}</polygon>')


def ring(x: float, y: float, size: float, kind: str) -> Html:
    """A ring around a point."""
    return Html(f'<circle cx="{x}" cy="{y}" r="{size}" class="{kind}"/>')


def frame(
    x: Axis,
    y: Axis,
    names: tuple[str, str],
    shown: tuple[Callable[[float], str], ...],
    ticks: Sequence[float] | None = None,
) -> Html:
    """Both axes with their grid, values and names.

    Args:
        x: From left to right.
        y: From bottom to top.
        names: What they show.
        shown: How a value of each is written.
        ticks: Values on the first; round ones where None.
    """
    parts = [
        joined(
            line(x.start, y(v), x.end, y(v), "grid"),
            words(x.start - 5, y(v) + 4, shown[1](v), "end", "soft"),
        )
        for v in y.ticks()
    ]
    parts += [
        joined(
            line(x(v), y.start, x(v), y.start + 4, "axis"),
            words(x(v), y.start + 16, shown[0](v), "middle", "soft"),
        )
        for v in (x.ticks() if ticks is None else ticks)
    ]
    parts += [
        line(x.start, y.start, x.end, y.start, "axis"),
        words((x.start + x.end) / 2, y.start + 33, names[0], "middle", "soft"),
        words(4, y.end - 12, names[1], "start", "soft"),
    ]
    return joined(*parts)


def whole(value: float) -> str:
    """A number of images."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """A share of 1 in percent, without digits that are zero."""
    return f"{100 * value:.4g}%"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawing and what it says to those who do not see it, with the numbers behind it.

    `name` tells it from others of the page, `title` and `caption` are shown; `told` describes what
    is to be seen; `numbers` is a table.
    """

    name: str
    title: str
    told: str
    drawing: str
    numbers: str = ""
    caption: str = ""
    size: tuple[int, int] = (WIDTH, HEIGHT)
    wide: bool = False

    def html(self) -> Html:
        """The figure."""
        title, desc = f"{self.name}-t", f"{self.name}-d"
        inside = joined(
            tag("title", self.title, id=title), tag("desc", self.told, id=desc), Html(self.drawing)
        )
        drawn = Html(
            f'<svg class="chart" viewBox="0 0 {self.size[0]} {self.size[1]}" role="img" '
            f'aria-labelledby="{title} {desc}">{inside}</svg>'
        )
        return tag(
            "figure",
            joined(
                tag("p", self.title, kind="name"),
                drawn,
                tag("figcaption", Html(self.caption)) if self.caption else "",
                details("The numbers", Html(self.numbers)) if self.numbers else "",
            ),
            kind="wide" if self.wide else None,
        )


def _title(said: str) -> str:
    return f"<title>{text(said)}</title>" if said else ""
