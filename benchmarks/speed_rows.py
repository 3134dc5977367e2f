"""The rows behind `speed.py`: one process measured, from outside.

Nothing heavy is imported here: a child's peak memory is never reported below its parent's.
"""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import perf_counter

ROWS = Path(__file__).with_name("speed.csv")
MB = 1e6
LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Row:
    """One process; accuracies are shares of the test images.

    `seconds` is what passed; `remaining_s` what the epochs that were not run would have added, in
    proportion. `accuracy` is that of the model which the recipe returns after `epochs_run`,
    `last_accuracy` that of its last epoch, where the recipe picks the best one on the test images.
    `peak_mb` is the most memory of any one process, `anon_mb` of the first process without what is
    mapped from files. `load` is the machine's one-minute load before the start.
    """

    date: str
    machine: str
    load: float | None
    data: str
    name: str
    train_n: int
    test_n: int
    seconds: float | None
    remaining_s: float | None = None
    cpu_s: float | None = None
    peak_mb: float | None = None
    anon_mb: float | None = None
    epochs_run: int | None = None
    epochs_of: int | None = None
    epoch_s: float | None = None
    compute_s: float | None = None
    side_px: int | None = None
    batch: int | None = None
    accuracy: float | None = None
    last_accuracy: float | None = None
    versions: str = ""
    note: str = ""

    @property
    def whole(self) -> bool:
        """Whether every epoch was run."""
        return self.epochs_run == self.epochs_of

    @property
    def full_s(self) -> float | None:
        """Seconds of the whole process with all epochs."""
        return None if self.seconds is None else self.seconds + (self.remaining_s or 0.0)


@dataclass(frozen=True)
class Measured:
    """What one process took and wrote."""

    code: int
    seconds: float
    cpu_s: float
    peak_mb: float
    anon_mb: float | None
    load: float
    out: str
    err: str


def measure(command: Sequence[str], environment: dict[str, str | None]) -> Measured:
    """Run a process to its end; of the environment, None takes a variable out."""
    merged = {**os.environ, **environment}
    clean = {name: value for name, value in merged.items() if value is not None}
    load = os.getloadavg()[0]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env=clean)
        watch = _Watch(process.pid)
        # of this child and those that it has waited for, and of no other
        _, status, used = os.wait4(process.pid, 0)
        seconds = perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.over.set()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Measured(
        code=process.returncode,
        seconds=seconds,
        cpu_s=used.ru_utime + used.ru_stime,
        peak_mb=used.ru_maxrss * 1024 / MB,
        anon_mb=watch.most,
        load=load,
        out=texts[0],
        err=texts[1],
    )


class _Watch:
    """Looks now and then at the memory of a process that no file backs; Linux only."""

    def __init__(self, pid: int) -> None:
        self.status = Path(f"/proc/{pid}/status")
        self.most: float | None = None
        self.over = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self.over.wait(LOOK_EVERY_S):
            try:
                lines = self.status.read_text().splitlines()
            except OSError:
                return
            found = [float(x.split()[1]) * 1024 / MB for x in lines if x.startswith("RssAnon")]
            self.most = max([*found, self.most or 0.0])


def read(path: Path = ROWS) -> list[Row]:
    """The rows measured so far."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [_row(line) for line in csv.DictReader(file)]


def _row(line: dict[str, str]) -> Row:
    """A line of the file; what it lacks is not known."""
    known: dict[str, object] = {}
    for f in fields(Row):
        text, kind = line.get(f.name, ""), str(f.type)
        convert = int if kind.startswith("int") else float
        known[f.name] = text if kind == "str" else convert(text) if text else None
    return Row(**known)  # type: ignore[arg-type]


def write(rows: Sequence[Row], path: Path = ROWS) -> None:
    """All rows at once; the file is either the old one or the new one."""
    draft = path.with_suffix(".part")
    with draft.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            values = asdict(row).items()
            writer.writerow({k: round(v, 4) if isinstance(v, float) else v for k, v in values})
    draft.replace(path)


@dataclass(frozen=True)
class Table:
    """Rows by data and name; several of one are one figure, their median."""

    rows: tuple[Row, ...]

    def of(self, data: str, name: str) -> list[Row]:
        """All rows of one kind."""
        return [r for r in self.rows if (r.data, r.name) == (data, name)]

    def one(self, data: str, name: str, value: Callable[[Row], float | None]) -> float | None:
        """The median of a value, None where it was not measured."""
        found = [v for r in self.of(data, name) if (v := value(r)) is not None]
        return statistics.median(found) if found else None

    def full_s(self, data: str, name: str) -> float | None:
        """Seconds of a whole process with all its epochs."""
        return self.one(data, name, lambda r: r.full_s)
