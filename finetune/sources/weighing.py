"""How much images count in learning, as a column of a table says."""

from __future__ import annotations

import math
from collections.abc import Iterable

from finetune.records.errors import DataError, safe_name

LARGEST = 1e6  # beyond, what one image counts leaves nothing of the others in single precision


def weight_of(cell: str, where: str) -> float:
    """A weight as it is written; an empty cell is 1.

    Args:
        cell: The text.
        where: File, row and column.

    Raises:
        DataError: it is no number, negative, not finite or too large.
    """
    text = cell.strip()
    if not text:
        return 1.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= LARGEST:
        raise DataError(
            f"{where}: '{safe_name(text)}' is no weight",
            hint=f"Give a number from 0 to {LARGEST:,.0f}; an empty cell is 1.",
        )
    return value


def require_some(source: str, weights: Iterable[tuple[str, float]]) -> None:
    """Refuse weights from which nothing could be learned.

    Args:
        source: The table.
        weights: Of each image to learn from its class, or "" where there are none, and its weight.

    Raises:
        DataError: all images are of no weight, or all of one class.
    """
    most: dict[str, float] = {}
    for name, weight in weights:
        most[name] = max(weight, most.get(name, 0.0))
    nothing = [name for name, weight in most.items() if not weight]
    if not nothing:
        return
    which = "all images" if len(nothing) == len(most) else f"all images of '{nothing[0]}'"
    raise DataError(
        f"{source}: {which} have a weight of 0, so nothing could be learned of them",
        hint="Give some of them more, or take the column out.",
    )
