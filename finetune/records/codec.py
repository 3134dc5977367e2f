"""Records to JSON and back; decoding is strict.

A missing key, an unknown type or a value out of place raises `msgspec.ValidationError` naming the
place, which `runs` turns into a `RunError`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def to_builtins(record: object) -> Any:
    """Turn a record into JSON-ready dictionaries and lists."""
    return msgspec.to_builtins(record)


def to_json(record: object) -> str:
    """One line of JSON."""
    return msgspec.json.encode(record).decode()


def from_json(text: str | bytes, kind: type[T]) -> T:
    """Read a record back; raises `msgspec.MsgspecError` when it does not fit."""
    try:
        return msgspec.json.decode(text, type=kind)
    except RecursionError as error:
        raise msgspec.DecodeError("JSON is nested too deeply") from error
