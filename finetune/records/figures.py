"""A number of any unit as people read it."""

from __future__ import annotations


def figure(value: float, *, signed: bool = False) -> str:
    """Four digits, and all before the point: `0.01234`, `12.35`, `1,235`, `253,123`.

    Args:
        value: In its own unit.
        signed: Whether a plus is written.
    """
    text = f"{value:{'+' if signed else ''}.4g}"
    if abs(float(text)) < 1000:
        return text
    return f"{value:{'+' if signed else ''},.0f}"
