"""Progress on stderr: one live view in a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from finetune.cli import style
from finetune.records.events import Listener, Silent
from finetune.records.training import EpochRecord

_INDENT = 10  # below the words of a step, beside its seconds
_BAR_WIDTH = 30
_VIEWS_PER_SECOND = 4


class ConsoleListener:
    """On a terminal one view that is drawn over and over: the step, its bar, time left, the epoch.

    Elsewhere a line for each step and the last epoch of each. All on stderr.

    Args:
        verbose: Leave every step, detail and epoch standing.
        console: Where to, for tests.
    """

    def __init__(self, *, verbose: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(
            stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty()
        )
        self._verbose = verbose
        self._began = time.perf_counter()
        self._step = ""
        self._epoch = ""
        self._bar = Progress(
            TextColumn(" " * (_INDENT - 1)),
            BarColumn(bar_width=_BAR_WIDTH),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self._console,
        )
        self._task = self._bar.add_task("", visible=False)
        self._live = Live(
            console=self._console,
            transient=True,
            get_renderable=self._view,
            refresh_per_second=_VIEWS_PER_SECOND,
            redirect_stdout=False,  # answers go there, not among the progress
        )

    def __enter__(self) -> ConsoleListener:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._end_of_epochs()
        if self._console.is_terminal:
            self._live.stop()

    def step(self, name: str) -> None:
        """A step of the story begins."""
        self._end_of_epochs()
        self._step = style.shown(name)
        if self._verbose or not self._console.is_terminal:
            self._console.print(f"{self._seconds()}{self._step}")
        self._bar.reset(self._task, visible=False)

    def progress(self, done: int, total: int) -> None:
        """How far the current step is."""
        visible = done < total or not total
        self._bar.tasks[0].total = total or None
        self._bar.update(self._task, completed=done, visible=visible)

    def epoch(self, record: EpochRecord) -> None:
        """An epoch has ended."""
        line = f"epoch {record.epoch:3d}  loss {record.train_loss:.3f}"
        if record.val_loss is not None and record.val_accuracy is not None:
            line += f"  validation {record.val_loss:.3f}, {record.val_accuracy:.1%}"
        self._epoch = f"{line}  {record.seconds:.1f} s{'  best' if record.best else ''}"
        if self._verbose:
            self._console.print(" " * _INDENT + self._epoch)

    def note(self, text: str) -> None:
        """Something a person should know."""
        line = f"[dim]·[/dim] {style.shown(text)}"
        if self._console.is_terminal:
            self._console.print(Padding(line, (0, 0, 0, _INDENT)))
        else:
            self._console.print(" " * _INDENT + line)

    def detail(self, text: str) -> None:
        """Something for those who want to know all."""
        if self._verbose:
            self.note(text)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, the view is off the screen, where something else is shown."""
        if not (self._console.is_terminal and sys.stdout.isatty()):
            yield
            return
        self._live.stop()
        try:
            yield
            sys.stdout.flush()
        finally:
            self._live.start()

    def _seconds(self) -> str:
        return f"[dim]{time.perf_counter() - self._began:6.1f} s[/dim]  "

    def _view(self) -> Group:
        """What is drawn over and over: at most three lines."""
        lines: list[Text | Progress] = []
        if self._step:
            lines.append(Text.from_markup(self._seconds() + self._step))
        if self._bar.tasks[0].visible:
            lines.append(self._bar)
        if self._epoch and not self._verbose:
            lines.append(Text(" " * _INDENT + self._epoch))
        for line in lines:
            if isinstance(line, Text):
                line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines)

    def _end_of_epochs(self) -> None:
        """Where nothing is drawn over, the last epoch of a step is told once."""
        if self._epoch and not self._verbose and not self._console.is_terminal:
            self._console.print(" " * _INDENT + self._epoch)
        self._epoch = ""


def listener(*, verbose: bool = False, quiet: bool = False) -> AbstractContextManager[Listener]:
    """Who hears of a command's progress."""
    return nullcontext(Silent()) if quiet else ConsoleListener(verbose=verbose)


def paused(listener: Listener) -> AbstractContextManager[None]:
    """Inside, answers may be shown on a terminal where the progress is."""
    return listener.paused() if isinstance(listener, ConsoleListener) else nullcontext()
