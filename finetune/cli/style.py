"""How text reaches the terminal: what the answers, progress and faults share."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from finetune.records.choices import Status
from finetune.records.errors import FinetuneError, printable
from finetune.records.run import Stop

# Color and word of each result of a check, the worst first; colors that show on white and black.
STATUS: dict[Status, tuple[str, str]] = {
    "error": ("bold red", "error"),
    "warning": ("dark_orange3", "warning"),
    "note": ("steel_blue", "note"),
    "passed": ("green4", "passed"),
    "not-applicable": ("dim", "not applicable"),
}
# Counted, not listed: a title such as "image(s) cannot be read" would pass for a finding.
QUIET: tuple[Status, ...] = ("passed", "not-applicable")
_LABEL = 10  # characters for a label and the space after it
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


def row(to: Console, label: str, text: str, *, whole: bool = False, width: int = _LABEL) -> None:
    """A label and what there is to say, which stands beside it where it takes several lines.

    Args:
        to: Where it goes.
        label: One word; empty where the text goes on with the row before. It has markup, as has
            `text`.
        text: What there is to say.
        whole: Never break it over lines, so that a path or command can be copied.
        width: Characters for the label and the space after it.
    """
    if whole or to.soft_wrap:
        space = " " * (width - Text.from_markup(label).cell_len)
        to.print(f"{label}{space}{text}", soft_wrap=True)
        return
    grid = Table.grid()
    grid.add_column(width=width)
    grid.add_column()
    grid.add_row(label, text)
    to.print(grid)


def shown(text: str) -> str:
    """A text from outside, such as a class of an untrusted run, without effect on the terminal."""
    return escape(printable(text))


def show_stop(stop: Stop) -> None:
    """Why a training ended before its time, on stderr as a fault is."""
    show_error(FinetuneError(stop.text, hint=stop.hint))
