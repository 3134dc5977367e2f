"""Progress on stderr: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from finetune.cli import style
from finetune.records.training import EpochRecord


class ConsoleListener:
    """Draws progress with time left on a terminal, plain lines elsewhere; all on stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("", visible=False)
        self._began = time.perf_counter()

    def __enter__(self) -> ConsoleListener:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def step(self, name: str) -> None:
        """A step of the story begins."""
        seconds = time.perf_counter() - self._began
        self._console.print(f"[dim]{seconds:6.1f} s[/dim]  {style.shown(name)}")
        self._progress.reset(self._task, visible=False, description="         ")

    def progress(self, done: int, total: int) -> None:
        """How far the current step is."""
        visible = done < total
        self._progress.update(self._task, completed=done, total=total, visible=visible)

    def epoch(self, record: EpochRecord) -> None:
        """An epoch has ended."""
        line = f"          epoch {record.epoch:3d}  loss {record.train_loss:.3f}"
        if record.val_loss is not None and record.val_accuracy is not None:
            line += f"  validation {record.val_loss:.3f}, {record.val_accuracy:.1%}"
        mark = "  best" if record.best else ""
        self._console.print(f"{line}  {record.seconds:.1f} s{mark}")

    def note(self, text: str) -> None:
        """Something a person should know."""
        line = f"[dim]·[/dim] {style.shown(text)}"
        if self._console.is_terminal:
            self._console.print(Padding(line, (0, 0, 0, 10)))
        else:
            self._console.print(" " * 10 + line)
