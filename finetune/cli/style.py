"""How text reaches the terminal: what the answers, progress and faults share."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape

from finetune.records.choices import Status
from finetune.records.errors import FinetuneError, printable
from finetune.records.run import Stop

# Color and word of each result of a check, the worst first.
STATUS: dict[Status, tuple[str, str]] = {
    "error": ("bold red", "error"),
    "warning": ("yellow", "warning"),
    "note": ("cyan", "note"),
    "passed": ("green", "passed"),
    "not-applicable": ("dim", "not applicable"),
}
# Counted, not listed: a title such as "image(s) cannot be read" would pass for a finding.
QUIET: tuple[Status, ...] = ("passed", "not-applicable")
_PIPE_WIDTH = 160  # into a file or pipe: wide enough that no name is cut


def show_error(error: FinetuneError) -> None:
    """One line and what to try, on stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error:[/] {shown(error.message)}")
    console.print(f"[bold]try:[/]   {shown(error.hint)}")


def show_line(text: str, *, error: bool = False) -> None:
    """One plain line, exactly as it is on stdout, without effect on the terminal on stderr."""
    if error:
        sys.stderr.write(printable(text) + "\n")
    else:
        sys.stdout.write(text + "\n")


def out() -> Console:
    """Where answers go: as wide as the terminal, or wide enough that no name is cut."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, soft_wrap=True, width=_PIPE_WIDTH)


def shown(text: str) -> str:
    """A text from outside, such as a class of an untrusted run, without effect on the terminal."""
    return escape(printable(text))


def show_stop(stop: Stop) -> None:
    """Why a training ended before its time, on stderr as a fault is."""
    show_error(FinetuneError(stop.text, hint=stop.hint))
