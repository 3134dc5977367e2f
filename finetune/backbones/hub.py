"""timm's weights in the Hub's cache on this machine: where they lie, what their licence allows."""

from __future__ import annotations

import os
import re
from pathlib import Path

FILE = "model.safetensors"
OWNER = "timm"
_FOLDER = re.compile(rf"models--{OWNER}--([\w.-]+)")
# Those under which a model that was made with the weights may be used and given away for any
# purpose, with their notice kept; by timm's words for them.
PERMISSIVE = frozenset(
    {"apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "cc0-1.0", "cc-by-4.0"}
)


def permissive(licence: str) -> bool:
    """Whether a licence lets the weights be used for any purpose; an unknown one does not."""
    return licence.lower() in PERMISSIVE


def cache_folder() -> Path:
    """Where huggingface_hub keeps what it fetches, by its own environment variables."""
    for variable, below in (
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
    ):
        if place := os.environ.get(variable):
            return Path(place).expanduser() / below
    return Path.home() / ".cache" / "huggingface" / "hub"


def file(name: str) -> Path | None:
    """The weights of a network in the Hub's cache; None where they are not there.

    Args:
        name: As the Hub has it, with timm's tag: `resnet18.a1_in1k`.
    """
    folder = cache_folder() / f"models--{OWNER}--{name}"
    if not _FOLDER.fullmatch(folder.name):
        return None
    try:
        newest = folder / "snapshots" / (folder / "refs" / "main").read_text("utf-8").strip() / FILE
        return newest if newest.is_file() else None
    except (OSError, ValueError):  # no such network, or nobody may read it
        return None


def names() -> tuple[str, ...]:
    """The networks of timm whose weights lie in the Hub's cache, by name."""
    try:
        found = [_FOLDER.fullmatch(path.name) for path in cache_folder().iterdir()]
    except OSError:  # there is no cache, or nobody may read it
        return ()
    return tuple(sorted(match[1] for match in found if match and file(match[1])))
