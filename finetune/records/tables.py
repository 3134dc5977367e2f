"""A record as a table of HTML, which notebooks show in place of its text."""

from __future__ import annotations

import html
from dataclasses import fields, is_dataclass
from typing import Any

_LISTED = 20  # entries of a list or a mapping; the rest is counted
_DEEP = 2  # records within records


def as_html(record: Any, deep: int = 0) -> str:
    """A table with a row for each field; of records in it again tables, of more than that text.

    Args:
        record: A record, a sequence or mapping of such, or a plain value.
        deep: How many records it lies in.
    """
    if is_dataclass(record) and deep <= _DEEP:
        named = [(f.name, getattr(record, f.name)) for f in fields(record)]
        return _rows([(name, as_html(value, deep + 1)) for name, value in named])
    if isinstance(record, dict):
        return _rows([(str(k), as_html(v, deep + 1)) for k, v in list(record.items())[:_LISTED]])
    if isinstance(record, list | tuple):
        shown = [as_html(value, deep + 1) for value in record[:_LISTED]]
        more = [f"… {len(record) - _LISTED} more"] if len(record) > _LISTED else []
        return "<br>".join([*shown, *more])
    if isinstance(record, float):
        return f"{record:.4g}"
    return html.escape(str(record))


def _rows(named: list[tuple[str, str]]) -> str:
    body = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{value}</td></tr>"
        for name, value in named
    )
    return f"<table>{body}</table>"
