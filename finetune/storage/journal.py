"""Lines of text that are kept as they come, so that work which is stopped can be gone on with."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from finetune.storage import atomic_files, locks

LOCK = ".lock"


class Journal:
    """A file of lines, held by this process alone; a half-written last line is cut off.

    Args:
        path: The file, which is made where there is none.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = path.with_name(path.name + LOCK)
        self._release = locks.take(self._lock)
        try:
            self._file = path.open("ab+")
            self._mend()
        except BaseException:
            self._release()
            raise

    def _mend(self) -> None:
        """Cut off what stands behind the last whole line, and count the lines."""
        self._file.seek(0)
        end = self._count = 0
        for line in self._file:
            if line.endswith(b"\n"):
                end += len(line)
                self._count += 1
        self._file.truncate(end)

    def __len__(self) -> int:
        return self._count

    def lines(self) -> Iterator[bytes]:
        """The lines that are there now."""
        self._file.flush()
        with self.path.open("rb") as file:
            yield from itertools.islice(file, self._count)

    def add(self, lines: Sequence[bytes]) -> None:
        """Write lines behind the others, for the system to keep."""
        self._file.write(b"".join(line + b"\n" for line in lines))
        self._file.flush()
        self._count += len(lines)

    def cut(self, count: int) -> None:
        """Leave the first lines only."""
        end = sum(len(line) for line in itertools.islice(self.lines(), count))
        self._file.truncate(end)
        self._count = min(count, self._count)

    def close(self, *, remove: bool = False) -> None:
        """Let go of it; nothing is left where it is wanted no more."""
        self._file.close()
        if remove:
            self.path.unlink(missing_ok=True)
        else:
            with contextlib.suppress(OSError):
                atomic_files.flush(self.path)
        self._lock.unlink(missing_ok=True)
        self._release()
