"""Converted networks that need not be converted twice, on disk."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from finetune.records.errors import first_line
from finetune.storage import cache_place
from finetune.storage.cache_place import LIMIT_VARIABLE, MODELS
from finetune.storage.feature_cache import DAY_S

MODEL_NAME = re.compile(r"[0-9a-f]{64}|\.making-.*")  # what is ours in the folder of networks


def model_folder(key: str) -> Path | None:
    """Where a converted network lies, marked as used today; None where it does not."""
    path = _model_place(key)
    if path is None or not path.is_dir():
        return None
    with contextlib.suppress(OSError):  # somebody else's cache, which may be read
        os.utime(path)
    return path


def keep_model(key: str, write: Callable[[Path], None], note: Callable[[str], None]) -> None:
    """Let `write` fill a folder beside its place and rename it: whole or absent.

    The ones not used for longest make room. What `write` cannot write is noted, and no fault.
    """
    path = _model_place(key)
    if path is None or path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".making-", dir=path.parent))
        try:
            write(aside)
            aside.rename(path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        _tidy(path, cache_place.limit_bytes())
    except (OSError, RuntimeError) as error:  # OpenVINO tells a full disk as the latter
        if not path.exists():  # else another process was quicker
            note(f"the converted network is not kept for next time: {path}: {first_line(error)}")


def drop_model(key: str) -> None:
    """Remove a converted network that turned out damaged."""
    path = _model_place(key)
    if path is not None:
        shutil.rmtree(path, ignore_errors=True)


def _model_place(key: str) -> Path | None:
    place = cache_place.folder()
    return None if place is None else place / MODELS / key


def model_folders(place: Path) -> list[Path]:
    """The folders of converted networks, also of unfinished ones; what else lies there is not ours.

    Those not used for longest come first.
    """
    found = []
    with contextlib.suppress(OSError):
        for path in place.iterdir():
            with contextlib.suppress(OSError):  # another process has removed it
                if MODEL_NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                    found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found)]


def bytes_below(place: Path, pattern: str = "*") -> int:
    """Bytes of the files below a folder."""
    total = 0
    for path in place.glob(pattern):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def _tidy(new: Path, most: int) -> None:
    """Remove what a killed process has left half made, and the networks that are too many."""
    models = model_folders(new.parent)
    sizes = {path: bytes_below(path) for path in models}
    for path in models:
        half_made = path.name.startswith(".")
        old = path.stat().st_mtime < time.time() - DAY_S
        if (old and half_made) or (not half_made and sum(sizes.values()) > most):
            shutil.rmtree(path, ignore_errors=True)
            del sizes[path]
    if new not in sizes:
        raise OSError(f"alone it is more than {LIMIT_VARIABLE} allows")
