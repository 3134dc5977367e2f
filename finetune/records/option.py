"""What is to be known of an option of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Group = Literal["data", "decision", "training", "augmentation", "output"]
Kind = Literal["int", "float", "str", "flag", "switch", "file", "folder", "names"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option.

    `name` is the key of its value in run.json, `typed` what a person types where that is not the
    name, `old` what it was in version 0.1.0; `commands` are those that take it. A `switch` can be
    turned off, too (`--no-…`); a `file` is written. `ends` are the smallest and the largest value;
    `unset` says what holds where it is not given, `by_rule` that a rule of the plan finds that.
    """

    name: str
    typed: str | None = None
    old: str | None = None
    kind: Kind = "str"
    commands: str
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    ends: tuple[float, float] | None = None
    unset: str = ""
    metavar: str | None = None
    by_rule: bool = False

    @property
    def flag(self) -> str:
        """What a person types: `--image-size`."""
        return self.typed or f"--{self.name.replace('_', '-')}"

    @property
    def range(self) -> str:
        """The smallest and the largest value in words; empty where any will do."""
        if self.ends is None:
            return ""
        low, high = (str(end) if isinstance(end, int) else f"{end:g}" for end in self.ends)
        return f"{low} or more" if high == "inf" else f"{low} to {high}"

    @property
    def otherwise(self) -> str:
        """What holds where it is not given; empty where nothing does."""
        if self.by_rule:
            return "by rule"
        return self.unset or (
            "" if self.default is None or self.kind == "flag" else f"{self.default}"
        )
