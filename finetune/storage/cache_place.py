"""Where the cache lies, how large it may be, and what its keys are made of."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import PIL

from finetune.records.errors import UsageError

# 20 kB an image with the default backbone: a hundred thousand of them.
DEFAULT_LIMIT_GB = 2.0
FOLDER_VARIABLE = "FINETUNE_CACHE"
LIMIT_VARIABLE = "FINETUNE_CACHE_GB"
OFF = "off"
FEATURES = "features.sqlite"
MODELS = "models"


def folder() -> Path | None:
    """Where the cache lies; None where FINETUNE_CACHE is `off`, or there is no home for it."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        # a shell leaves ~ as it is behind an = sign, in quotes, and in a file of settings
        return None if named == OFF else Path(os.path.expanduser(named))  # noqa: PTH111 - no fault
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    else:
        base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "finetune"
    try:
        return Path.home() / ".cache" / "finetune"
    except RuntimeError:  # a user without a home, as containers have them
        return None


def limit_bytes() -> int:
    """The most that features may take, and converted networks again.

    Raises:
        UsageError: FINETUNE_CACHE_GB is no positive number.
    """
    text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_LIMIT_GB))
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise UsageError(
            f"{LIMIT_VARIABLE} is '{text}'", hint=f"Give gigabytes: {LIMIT_VARIABLE}=2."
        )
    return int(value * 1e9)


def key(*parts: str, versions: Sequence[int] = ()) -> str:
    """A key of several texts and of the versions of the code that made what is kept.

    Args:
        parts: What it is of, and what it depends on.
        versions: Such as `decoding.PIXELS_VERSION`. Whoever changes what that code makes raises its
            number: tests/storage/test_cache_versions.py finds out where that was forgotten.
    """
    texts = [*parts, *map(str, versions), PIL.__version__]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
