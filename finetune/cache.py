"""What need not be computed twice: features of images and converted networks, on disk."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL

from finetune.errors import CacheError, UsageError, first_line
from finetune.records import CacheUsage

# 20 kB an image with the default backbone: a hundred thousand of them.
DEFAULT_LIMIT_GB = 2.0
FOLDER_VARIABLE = "FINETUNE_CACHE"
LIMIT_VARIABLE = "FINETUNE_CACHE_GB"
OFF = "off"
FEATURES = "features.sqlite"
MODELS = "models"
# A file system with less room than this is left alone.
SPARE_BYTES = 500_000_000
WAIT_S = 10.0  # for another process that writes
DAY_S = 86_400
MODEL_NAME = re.compile(r"[0-9a-f]{64}|\.making-.*")  # what is ours in the folder of networks
CHUNK = 500  # rows a query, far below SQLite's limit of parameters
# What a damaged or missing database raises; the last where its message quotes damaged text.
FAULTS = (sqlite3.Error, OSError, UnicodeDecodeError)
# Of a database that is damaged or another program's; the rest of SQLite's codes tell of its place.
DAMAGED = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
READ_ONLY = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
TABLE = """
    CREATE TABLE IF NOT EXISTS features (
        id INTEGER PRIMARY KEY, engine TEXT NOT NULL, image TEXT NOT NULL, used INTEGER NOT NULL,
        crc INTEGER NOT NULL, row BLOB NOT NULL, UNIQUE (engine, image))
"""


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


class Features:
    """Rows of features by engine and by the digest of the image's bytes.

    SQLite keeps it whole when several processes use it or one is killed. A cache that cannot be
    used is no fault: `note` hears of it once, and nothing is found or kept from then on. Where it
    can only be read, or its disk is nearly full, what is there is found and nothing kept.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._most = limit_bytes()
        self._database: sqlite3.Connection | None = None
        self._keeps = True
        place = folder()
        if place is not None:
            with self._guarded():
                self._open(place)

    def _open(self, place: Path) -> None:
        try:
            self._database = _opened(place)
            if shutil.disk_usage(place).free >= SPARE_BYTES:
                return
            why = f"less than {SPARE_BYTES / 1e6:.0f} MB are free on its disk"
        except sqlite3.OperationalError as error:
            if _code(error) not in READ_ONLY or not (place / FEATURES).is_file():
                raise
            self._database, why = _opened_to_read(place), "it can only be read"
        self._keeps = False
        self._tell(f"{why}; what is there is used")

    def find(
        self, engine: str, images: Sequence[str], width: int
    ) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """The position of each image that is known, and its row float32[width]."""
        for start in range(0, len(images), CHUNK):
            some = images[start : start + CHUNK]
            found: dict[str, npt.NDArray[np.float32]] = {}
            with self._guarded():
                found = self._some(engine, some, width)
            yield from ((start + i, found[image]) for i, image in enumerate(some) if image in found)

    def _some(
        self, engine: str, images: Sequence[str], width: int
    ) -> dict[str, npt.NDArray[np.float32]]:
        if self._database is None:
            return {}
        marks, now = ", ".join("?" * len(images)), int(time.time())
        rows = self._database.execute(
            "SELECT image, crc, row, id, used < ? FROM features "
            f"WHERE engine = ? AND image IN ({marks})",
            (now - DAY_S, engine, *images),
        ).fetchall()
        old = [(now, key) for *_, key, long_ago in rows if long_ago]
        if old and self._keeps:
            # where it may only be read, or another process writes for long, the rows are good
            with contextlib.suppress(sqlite3.OperationalError), self._database:
                self._database.executemany("UPDATE features SET used = ? WHERE id = ?", old)
        return {
            image: np.frombuffer(row, np.float32)
            for image, crc, row, *_ in rows
            # a column of a damaged file may be of any kind
            if isinstance(row, bytes)
            and len(row) == 4 * width
            and _check_sum(engine, image, row) == crc
        }

    def keep(self, engine: str, images: Sequence[str], rows: npt.NDArray[np.float32]) -> None:
        """Add rows float32[N,F]; the ones not used for longest make room."""
        if self._database is None or not self._keeps:
            return
        now = int(time.time())
        blobs = [row.tobytes() for row in rows]
        with self._guarded():
            with self._database:
                self._database.executemany(
                    "INSERT OR REPLACE INTO features (engine, image, used, crc, row) "
                    "VALUES (?, ?, ?, ?, ?)",
                    [
                        (engine, image, now, _check_sum(engine, image, blob), blob)
                        for image, blob in zip(images, blobs, strict=True)
                    ],
                )
            _shrink(self._database, self._most)

    def close(self) -> None:
        """Keep within the limit, and let go of the file."""
        if self._database is None:
            return
        if self._keeps:
            with self._guarded():
                _shrink(self._database, self._most)
        if self._database is not None:
            self._database.close()
            self._database = None

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            if self._database is not None:
                self._database.close()
                self._database = None
            self._tell(_reason(error))

    def _tell(self, why: str) -> None:
        """Say it once: what follows from the same cause is no news."""
        self._note(f"features are not cached: {folder()}: {why}")
        self._note = lambda _: None


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
        _tidy(path, limit_bytes())
    except (OSError, RuntimeError) as error:  # OpenVINO tells a full disk as the latter
        if not path.exists():  # else another process was quicker
            note(f"the converted network is not kept for next time: {path}: {first_line(error)}")


def drop_model(key: str) -> None:
    """Remove a converted network that turned out damaged."""
    path = _model_place(key)
    if path is not None:
        shutil.rmtree(path, ignore_errors=True)


def usage() -> CacheUsage:
    """What lies in the cache."""
    place = folder()
    if place is None:
        return CacheUsage(folder=None, limit_bytes=limit_bytes())
    images, size = 0, _bytes_below(place, f"{FEATURES}*")
    with (
        contextlib.suppress(*FAULTS),  # a damaged one has its bytes, and no images
        contextlib.closing(_opened_to_count(place)) as database,
    ):
        images = database.execute("SELECT count(DISTINCT image) FROM features").fetchone()[0]
        size = _size(database)
    models = [p for p in _models(place / MODELS) if not p.name.startswith(".")]
    return CacheUsage(
        folder=str(place),
        limit_bytes=limit_bytes(),
        images=images,
        feature_bytes=size,
        models=len(models),
        model_bytes=sum(_bytes_below(model) for model in models),
    )


def clear() -> CacheUsage:
    """Empty the cache and nothing else that may lie there; returns what was in it.

    Raises:
        CacheError: something could not be removed.
    """
    before = usage()
    place = folder()
    if place is None:
        return before
    try:
        for file in place.glob(f"{FEATURES}*"):
            file.unlink(missing_ok=True)
        for model in _models(place / MODELS):
            shutil.rmtree(model)
    except OSError as error:
        raise CacheError(
            f"cannot empty the cache in {place}: {error.strerror}",
            hint=f"Remove the folder yourself, or set {FOLDER_VARIABLE} to another.",
        ) from error
    return before


def key(*parts: str, versions: Sequence[int] = ()) -> str:
    """A key of several texts and of the versions of the code that made what is kept.

    Args:
        parts: What it is of, and what it depends on.
        versions: Such as `batches.PIXELS_VERSION`. Whoever changes what that code makes raises its
            number: tests/test_cache_versions.py finds out where that was forgotten.
    """
    texts = [*parts, *map(str, versions), PIL.__version__]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _opened(place: Path, *, make: bool = True) -> sqlite3.Connection:
    if make:
        _made(place)
    elif not (place / FEATURES).exists():
        raise FileNotFoundError(place / FEATURES)
    database = sqlite3.connect(place / FEATURES, timeout=WAIT_S)
    try:
        # freed pages go back to the file system; readers do not wait for the one who writes
        for pragma in ("auto_vacuum = INCREMENTAL", "journal_mode = WAL", "synchronous = NORMAL"):
            database.execute(f"PRAGMA {pragma}")
        with database:
            database.execute(TABLE)
    except FAULTS:
        database.close()
        raise
    return database


def _made(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # of a file in its place "exists" would say little
        code = errno.ENOTDIR
        raise NotADirectoryError(code, os.strerror(code), str(place)) from error


def _opened_to_read(place: Path) -> sqlite3.Connection:
    """The database where nothing can be written, not even the files by which SQLite locks it.

    Should another process write to it meanwhile, check sums tell what is no row.
    """
    address = (place / FEATURES).absolute().as_uri()
    return sqlite3.connect(f"{address}?immutable=1", uri=True)


def _opened_to_count(place: Path) -> sqlite3.Connection:
    try:
        return _opened(place, make=False)
    except sqlite3.OperationalError:
        return _opened_to_read(place)


def _code(error: BaseException) -> int | None:
    """SQLite's code for what went wrong, without its details; None where it gave none."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _reason(error: Exception) -> str:
    """Why the cache cannot be used, and what mends that."""
    code = _code(error)
    if isinstance(error, OSError) or code in READ_ONLY:
        why = getattr(error, "strerror", None) or error
        return f"{why}; {FOLDER_VARIABLE} names another folder"
    if code is None or code in DAMAGED:
        return f"{error}; `finetune cache --clear` removes a damaged cache"
    return str(error)


def _check_sum(engine: str, image: str, row: bytes) -> int:
    """Of a row and of whose it is, so that a damaged index gives no other image's."""
    return zlib.crc32(row, zlib.crc32(f"{engine}\0{image}".encode()))


def _size(database: sqlite3.Connection) -> int:
    pages, free, size = (
        int(database.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _shrink(database: sqlite3.Connection, most: int) -> None:
    """Delete what was not used for longest until nine tenths of the limit are left."""
    size = _size(database)
    if size <= most:
        return
    rows = int(database.execute("SELECT count(*) FROM features").fetchone()[0])
    surplus = int(rows * (1 - 0.9 * most / size)) + 1
    with database:
        database.execute(
            "DELETE FROM features WHERE id IN (SELECT id FROM features ORDER BY used, id LIMIT ?)",
            (surplus,),
        )
    # by executescript, which runs it to its end: execute would free a single page
    database.executescript("PRAGMA incremental_vacuum")


def _model_place(key: str) -> Path | None:
    place = folder()
    return None if place is None else place / MODELS / key


def _models(place: Path) -> list[Path]:
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


def _bytes_below(place: Path, pattern: str = "*") -> int:
    total = 0
    for path in place.glob(pattern):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def _tidy(new: Path, most: int) -> None:
    """Remove what a killed process has left half made, and the networks that are too many."""
    models = _models(new.parent)
    sizes = {path: _bytes_below(path) for path in models}
    for path in models:
        half_made = path.name.startswith(".")
        old = path.stat().st_mtime < time.time() - DAY_S
        if (old and half_made) or (not half_made and sum(sizes.values()) > most):
            shutil.rmtree(path, ignore_errors=True)
            del sizes[path]
    if new not in sizes:
        raise OSError(f"alone it is more than {LIMIT_VARIABLE} allows")
