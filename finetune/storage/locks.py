"""A lock that dies with its process: the system's own, or SQLite's where Python has none."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
# Whether a file that is open may be deleted: not on Windows.
OPEN_FILES_CAN_GO = os.name != "nt"
Release = Callable[[], None]


def take(file: Path) -> Release:
    """Make a file where there is none and lock it; gives what lets go of it again.

    Raises:
        BlockingIOError: another holds it, be it in this process.
        OSError: it cannot be made, or has just been deleted (FileNotFoundError).
    """
    return _by_system(file) if fcntl is not None else _by_sqlite(file)


def _by_system(file: Path) -> Release:
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _require_there(file, os.fstat(handle).st_ino)
    except BaseException:
        os.close(handle)
        raise

    def release() -> None:
        # closing lets go as well, but not while a child that was just forked has a copy open
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)

    return release


def _by_sqlite(file: Path) -> Release:
    """SQLite locks a file by the means of each system, and here never writes into it."""
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o666))  # faults with the system's own words
    before = file.stat().st_ino
    connection = sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        try:
            connection.execute("PRAGMA journal_mode = MEMORY")  # else a file beside it
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise BlockingIOError(errno.EAGAIN, "another holds it", str(file)) from error
            raise OSError(errno.EIO, str(error), str(file)) from error
        _require_there(file, before)
    except BaseException:
        connection.close()
        raise

    def release() -> None:
        with contextlib.suppress(sqlite3.Error):  # the file is gone by now
            connection.execute("ROLLBACK")
        connection.close()

    return release


def _require_there(file: Path, number: int) -> None:
    """Raises `FileNotFoundError` where the file that was locked has just been deleted."""
    if file.stat().st_ino != number:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
