"""Cells that hold several labels in another way than parted by `;`.

Lists as text, `['cat', 'dog']` as pandas or `["cat", "dog"]` as JSON has it, or `cat|dog`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence

from finetune.records.errors import DataError, excerpt
from finetune.sources.column_names import PART, spoken
from finetune.sources.listing import Example

_BAR = "|"
_ITEM = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[-+.\w]+)"""
_ITEMS = re.compile(rf"\[\s*(?:({_ITEM})\s*(?:,\s*{_ITEM}\s*)*,?\s*)?\]")
_EACH = re.compile(_ITEM)


def parted(source: str, column: str, examples: Sequence[Example]) -> Sequence[Example]:
    """The examples with labels parted by `;`, where every cell is a list, or `|` parts some.

    A `|` parts labels where no cell has a `;`: names with one are rare, and it is said what was
    taken for labels. A comma does not: "Paris, France" is one label.

    Args:
        source: The table, for messages.
        column: Of the labels, for messages.
        examples: In the order of rows; empty cells stay.

    Raises:
        DataError: one of them is no list after all; names row, column and cell.
    """
    if any(_BAR in e.label for e in examples) and not any(PART in e.label for e in examples):
        return [e._replace(label=e.label.replace(_BAR, PART)) for e in examples]
    if not examples or not all(_like(e.label) for e in examples):
        return examples
    if not any(e.label for e in examples):
        return examples
    return [e._replace(label=_labels(source, column, e)) for e in examples]


def _like(cell: str) -> bool:
    return not cell or (cell[0] == "[" and cell[-1] == "]")


def _labels(source: str, column: str, example: Example) -> str:
    found = _read(example.label) if example.label else ""
    if found is None:
        raise DataError(
            f"{source} row {example.row}, {column}: {excerpt(example.label)} is no list",
            hint="Write labels parted by ; or a list of them: ['cat', 'dog'].",
        )
    return found


def _read(cell: str) -> str | None:
    """A list as JSON or Python write it; None where it is none."""
    try:
        return spoken(json.loads(cell))
    except (ValueError, RecursionError):
        pass
    if _ITEMS.fullmatch(cell) is None:
        return None
    parts = _EACH.findall(cell)
    try:
        return spoken([ast.literal_eval(p) if p[0] in "'\"" else p for p in parts])
    except (ValueError, SyntaxError):
        return None
