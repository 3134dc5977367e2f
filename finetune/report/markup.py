"""Pieces of a page: escaped text, tables, sections; whatever is not `Html` is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from finetune.records.errors import printable


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def text(value: object) -> Html:
    """Any value as text of the page; control characters cannot draw."""
    return value if isinstance(value, Html) else Html(escape(printable(str(value))))


def joined(*parts: str, between: str = "") -> Html:
    """Pieces one after the other, empty ones left out."""
    return Html(between.join(text(part) for part in parts if part))


def tag(name: str, inside: object = "", **attributes: object) -> Html:
    """An element; of attributes a low line stands for a hyphen, `kind` for `class`."""
    given = "".join(
        f' {"class" if key == "kind" else key.replace("_", "-")}="{escape(printable(str(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>{text(inside)}</{name}>")


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction of 1 as percent; a dash where it is not known."""
    return "–" if value is None else f"{value:.{digits}%}"


def cut(said: str, most: int = 24) -> str:
    """A name, not longer than there is room for."""
    return said if len(said) <= most else f"{said[: most - 1].rstrip()}…"


def table(head: Sequence[object], rows: Sequence[Sequence[object]], label: str) -> Html:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        head: Names of the columns.
        rows: Their values; the first of each row names it.
        label: What the table shows, for those who do not see it.
    """
    top = "".join(tag("th", h, scope="col") for h in head)
    body = "".join(
        "<tr>"
        + "".join(
            tag("th", cell, scope="row") if i == 0 else tag("td", cell)
            for i, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    inside = Html(f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>")
    return tag("div", inside, kind="scroll", tabindex="0", role="region", aria_label=label)


def details(summary: object, inside: object) -> Html:
    """What is shown when asked for."""
    return joined(Html("<details>"), tag("summary", summary), text(inside), Html("</details>"))


def section(name: str, title: str, *parts: str) -> Html:
    """A part of the page with its heading; empty where it has nothing in it.

    Args:
        name: For links to it.
        title: The heading.
        parts: What stands in it.
    """
    inside = joined(*parts, between="\n")
    if not inside:
        return Html("")
    heading = tag("h2", title, id=f"{name}-title")
    return tag("section", joined(heading, inside), aria_labelledby=f"{name}-title", id=name)


def items(lines: Sequence[object]) -> Html:
    """A list; empty without lines."""
    return tag("ul", Html("".join(tag("li", line) for line in lines))) if lines else Html("")


def paragraph(inside: object, kind: str | None = None) -> Html:
    """A paragraph; empty without text."""
    return tag("p", inside, kind=kind) if inside else Html("")


def shown_of(shown: int, total: int, what: str, where: str) -> Html:
    """That a list is cut, and where the rest is; empty where it is whole."""
    if shown >= total:
        return Html("")
    return paragraph(f"{shown} of {total} {what} shown; {where}", "soft")
