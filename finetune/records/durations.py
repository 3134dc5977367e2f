"""A time as people write it, `90s`, `10m`, `1h30`, and as they read it: `17 min`."""

from __future__ import annotations

import math
import re

from finetune.records.errors import UsageError

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_WORDS = ("h|hrs?|hours?", "m|mins?|minutes?", "s|secs?|seconds?")
_UNITS = re.compile(" ?".join(f"(?:{_NUMBER} ?(?:{word}))?" for word in _WORDS))
# A last number without a unit is of the next smaller one: half past one is 1h30.
_SHORT = re.compile(r"([0-9]+)([hm])([0-9]{1,2})")
_CLOCK = re.compile(r"([0-9]+):([0-5][0-9]):([0-5][0-9])")
_LATENCY = re.compile(rf"{_NUMBER} ?(ms|s)")
_SECONDS = {"h": 3600, "m": 60}
_TELLING = 10  # of fewer seconds a tenth counts
_FINE = 120  # fewer seconds, or minutes, are told as they are
_EXAMPLES = "Give a time such as 90s, 10m, 1h30 or 1:30:00."


def seconds(text: str) -> float:
    """Seconds of a time: `90` and `90s`, `10m`, `10 min`, `1h30` and `1h30m`, `1m30`, `1:30:00`.

    Raises:
        UsageError: it is none, is nothing, or can be read in two ways, as `1:30` can.
    """
    word = text.strip().lower()
    found = _seconds(word)
    if found is None and re.fullmatch(r"[0-9]+:[0-5]?[0-9]", word):
        hours, minutes = word.split(":")
        raise UsageError(
            f"--budget is '{text}', which may be hours or minutes",
            hint=f"Give {hours}h{minutes} or {hours}m{minutes}.",
        )
    if not found:
        raise UsageError(f"--budget is '{text}'", hint=_EXAMPLES)
    return found


def as_option(seconds: float) -> str:
    """A time as `--budget` takes it, rounded up: `95s`, `18m`, `2h31m`."""
    if seconds < _FINE:
        return f"{max(1, math.ceil(seconds))}s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    if hours == 0:
        return f"{minutes}m"
    return f"{hours}h{minutes}m" if minutes else f"{hours}h"


def in_words(seconds: float) -> str:
    """A time in a sentence: `95 s`, `17 min`, `2 h 30 min`."""
    if seconds < _FINE:
        tenths = f"{seconds:.1f}".removesuffix(".0")
        return f"{tenths} s" if seconds < _TELLING else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < _FINE else f"{minutes // 60} h {minutes % 60} min"


def latency(text: str) -> float:
    """Seconds of a short time with its unit: `20ms`, `0.5s`.

    Raises:
        UsageError: it is none, or has no unit.
    """
    found = _LATENCY.fullmatch(text.strip().lower())
    if found is None or not float(found[1]):
        raise UsageError(
            f"--max-latency is '{text}'", hint="Give a time with its unit, such as 20ms or 0.5s."
        )
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def _seconds(word: str) -> float | None:
    """The same of a word in small letters; None where it is no time."""
    if re.fullmatch(_NUMBER, word):
        return float(word)
    if short := _SHORT.fullmatch(word):
        unit, rest = _SECONDS[short[2]], int(short[3])
        return None if rest >= 60 else float(int(short[1]) * unit + rest * unit // 60)
    if clock := _CLOCK.fullmatch(word):
        hours, minutes, rest = map(int, clock.groups())
        return float(3600 * hours + 60 * minutes + rest)
    if word and (units := _UNITS.fullmatch(word)):
        parts = [float(part or 0) for part in units.groups()]
        return 3600 * parts[0] + 60 * parts[1] + parts[2]
    return None
