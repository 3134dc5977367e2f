"""A time as people write it: `90s`, `10m`, `1h30`."""

from __future__ import annotations

import re

from finetune.records.errors import UsageError

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_UNITS = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")
# A last number without a unit is of the next smaller one: half past one is 1h30.
_SHORT = re.compile(r"([0-9]+)([hm])([0-9]{1,2})")
_CLOCK = re.compile(r"([0-9]+):([0-5][0-9]):([0-5][0-9])")
_SECONDS = {"h": 3600, "m": 60}
_EXAMPLES = "Give a time such as 90s, 10m, 1h30 or 1:30:00."


def seconds(text: str) -> float:
    """Seconds of a time: `90` and `90s`, `10m`, `1h30` and `1h30m`, `1m30`, `1:30:00`.

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
