"""Features of images that need not be computed twice, on disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.storage import cache_place, feature_parts
from finetune.storage.cache_place import FEATURES, FOLDER_VARIABLE

# A file system with less room than this is left alone.
SPARE_BYTES = 500_000_000
WAIT_S = 10.0  # for another process that writes
DAY_S = 86_400
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


class Features:
    """Rows of features by engine and by the digest of the image's bytes.

    SQLite keeps it whole when several processes use it or one is killed. A cache that cannot be
    used is no fault: `note` hears of it once, and nothing is found or kept from then on. Where it
    can only be read, or its disk is nearly full, what is there is found and nothing kept.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._most = cache_place.limit_bytes()
        self._database: sqlite3.Connection | None = None
        self._keeps = True
        self._parts: dict[str, feature_parts.Parts] = {}
        place = cache_place.folder()
        if place is not None:
            with self._guarded():
                self._open(place)

    def _open(self, place: Path) -> None:
        try:
            self._database = opened(place)
            if shutil.disk_usage(place).free >= SPARE_BYTES:
                return
            why = f"less than {SPARE_BYTES / 1e6:.0f} MB are free on its disk"
        except sqlite3.OperationalError as error:
            if _code(error) not in READ_ONLY or not (place / FEATURES).is_file():
                raise
            self._database, why = opened_to_read(place), "it can only be read"
        self._keeps = False
        self._tell(f"{why}; what is there is used")

    def find(
        self, engine: str, images: Sequence[str], width: int
    ) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """The position of each image that is known, and its row float32[width].

        What the database lacks is looked for among what `finetune features` has computed.
        """
        for start in range(0, len(images), CHUNK):
            some = images[start : start + CHUNK]
            found: dict[str, npt.NDArray[np.float32]] = {}
            with self._guarded():
                found = self._some(engine, some, width)
            yield from ((start + i, found[image]) for i, image in enumerate(some) if image in found)
            rest = [i for i, image in enumerate(some) if image not in found]
            parts = self._computed(engine)
            for k, row in () if parts is None else parts.find([some[i] for i in rest], width):
                yield start + rest[k], row

    def _computed(self, engine: str) -> feature_parts.Parts | None:
        """The parts of an engine, looked at once; None where the cache is switched off."""
        place = cache_place.folder()
        if place is None:
            return None
        if engine not in self._parts:
            self._parts[engine] = feature_parts.Parts(place, engine)
        return self._parts[engine]

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
        old = [(now, number) for *_, number, long_ago in rows if long_ago]
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
        self._note(f"features are not cached: {cache_place.folder()}: {why}")
        self._note = lambda _: None


def opened(place: Path, *, make: bool = True) -> sqlite3.Connection:
    """The database, made where there is none and `make` says so."""
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


def opened_to_read(place: Path) -> sqlite3.Connection:
    """The database where nothing can be written, not even the files by which SQLite locks it.

    Should another process write to it meanwhile, check sums tell what is no row.
    """
    address = (place / FEATURES).absolute().as_uri()
    return sqlite3.connect(f"{address}?immutable=1", uri=True)


def opened_to_count(place: Path) -> sqlite3.Connection:
    """The database as it stands, for reading."""
    try:
        return opened(place, make=False)
    except sqlite3.OperationalError:
        return opened_to_read(place)


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


def database_bytes(database: sqlite3.Connection) -> int:
    """Bytes that its rows take."""
    pages, free, size = (
        int(database.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _shrink(database: sqlite3.Connection, most: int) -> None:
    """Delete what was not used for longest until nine tenths of the limit are left."""
    size = database_bytes(database)
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
