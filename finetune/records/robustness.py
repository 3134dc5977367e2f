"""How accuracy falls when pictures are not as good as those of the test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fall:
    """The same images, changed in one way.

    `strength` is 1, 2 or 3, `what` says what that is; `lost` is the accuracy lost against the
    unchanged images, a fraction of 1, and `error` its standard error (paired).
    """

    kind: str
    strength: int
    what: str
    images: int
    accuracy: float
    lost: float
    error: float
