"""Promises of the progress on stderr: one view on a terminal, few lines elsewhere, or nothing."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from finetune.cli import progress
from finetune.records.events import Listener
from finetune.records.training import EpochRecord

EPOCHS = [EpochRecord(n, 1 / n, 0.5 / n, 0.8 + n / 100, 1e-3, 1.25, True) for n in (1, 2, 3)]
WIDTH = 80


def console(*, terminal: bool) -> Console:
    """One of eighty columns that writes into a string."""
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=WIDTH, color_system=None, highlight=False
    )


def told(listener: Listener) -> None:
    """A training in small."""
    listener.step("reading [green] folder")
    listener.progress(1, 4)
    listener.detail("cpu, openvino")
    listener.note("going on after epoch 3")
    listener.step("deep: 3 epochs")
    for record in EPOCHS:
        listener.epoch(record)
    listener.step("testing")


def drawn(*, terminal: bool, verbose: bool) -> str:
    """What of that is left standing."""
    out = console(terminal=terminal)
    with progress.ConsoleListener(verbose=verbose, console=out) as listener:
        told(listener)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_a_file_gets_a_line_for_each_step_and_the_last_epoch() -> None:
    """Steps and notes, no details, and of the epochs the last."""
    lines = [line.strip() for line in drawn(terminal=False, verbose=False).splitlines()]

    assert [re.sub(r"^\d+\.\d s  ", "", line) for line in lines] == [
        "reading [green] folder",
        "· going on after epoch 3",
        "deep: 3 epochs",
        "epoch   3  loss 0.333  validation 0.167, 83.0%  1.2 s  best",
        "testing",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_verbose_leaves_everything_standing(*, terminal: bool) -> None:
    """Every step, detail and epoch has its line."""
    text = drawn(terminal=terminal, verbose=True)

    for line in ("reading [green] folder", "· cpu, openvino", "· going on", "testing"):
        assert line in text
    assert [text.count(f"epoch   {n}  loss") for n in (1, 2, 3)] == [1, 1, 1]


def test_a_terminal_has_one_view_that_fits() -> None:
    """Step, bar with time left, epoch: three lines, none wider than the terminal."""
    listener = progress.ConsoleListener(console=console(terminal=True))
    listener.step(f"deep on all {'very ' * 20}many images")
    listener.progress(3, 12)
    listener.epoch(EPOCHS[1])

    page = console(terminal=True)
    page.print(listener._view())

    assert isinstance(page.file, io.StringIO)
    lines = page.file.getvalue().splitlines()
    assert len(lines) == 3
    assert all(len(line) <= WIDTH for line in lines)
    assert "deep on all very" in lines[0]
    assert lines[0].rstrip().endswith("…")
    assert " 3/12 " in lines[1]
    assert "left" in lines[1]
    assert "loss 0.500  validation 0.250, 82.0%" in lines[2]


def test_an_epoch_is_forgotten_with_its_step() -> None:
    """The next step starts with an empty view."""
    listener = progress.ConsoleListener(console=console(terminal=True))
    listener.epoch(EPOCHS[0])
    listener.step("testing")

    page = console(terminal=True)
    page.print(listener._view())

    assert isinstance(page.file, io.StringIO)
    assert page.file.getvalue().count("\n") == 1


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """No step, no note, nothing of an epoch."""
    with progress.listener(quiet=True) as listener:
        told(listener)

    assert capsys.readouterr() == ("", "")
