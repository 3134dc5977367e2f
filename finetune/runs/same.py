"""Whether two trainings are the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from finetune.records import option_table
from finetune.records.errors import RunError
from finetune.records.options import Request
from finetune.records.training import Begun
from finetune.runs.places import BY_RULE

# What may differ between two requests for the same training.
FREE = frozenset({"root", "out", "command", "resume", "no_images"})


def require_same(folder: Path, old: Begun, new: Begun) -> None:
    """Two trainings are the same if nothing that their numbers depend on differs."""
    other = differences(old.request, new.request)
    other += [
        f"{name} was {old.versions.get(name)} and is {new.versions.get(name)}"
        for name in sorted(old.versions.keys() | new.versions.keys())
        if old.versions and old.versions.get(name) != new.versions.get(name)
    ]
    if old.images not in ("", new.images):
        other.append("the images, their names or their classes have changed")
    if old.backbone not in ("", new.backbone):
        other.append("the backbone's weights have changed")
    if other:
        raise RunError(
            f"{folder} holds another training: {'; '.join(other)}",
            hint=f"Ask for the same again (it was: {old.request.command}), or remove {folder} "
            "to train again.",
        )


def differences(old: Request, new: Request) -> list[str]:
    """What two requests differ in, in words."""
    return [
        f"{name} was {before} and is {now}"
        for name, before, now in _pairs(old, new)
        if before != now
    ]


def _pairs(old: Request, new: Request) -> Iterator[tuple[str, Any, Any]]:
    """Each option with both its values."""
    for name in (f.name for f in fields(Request) if f.name not in FREE | {"options"}):
        yield option_table.flag(name), getattr(old, name), getattr(new, name)
    for name in sorted(old.options.keys() | new.options.keys()):
        values = (options.get(name, BY_RULE) for options in (old.options, new.options))
        yield option_table.flag(name), *values
