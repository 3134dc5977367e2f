"""What the outside hears of a run while it goes on."""

from __future__ import annotations

from typing import Protocol

from finetune.records.training import EpochRecord


class Listener(Protocol):
    """What the outside hears of a run."""

    def step(self, name: str) -> None:
        """A step of the story begins."""

    def progress(self, done: int, total: int) -> None:
        """How far the current step is; a total of 0 is not known."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch has ended."""

    def note(self, text: str) -> None:
        """Something a person should know."""

    def detail(self, text: str) -> None:
        """Something for those who want to know all."""


class Silent:
    """A listener that lets nobody hear."""

    def step(self, name: str) -> None:
        """Nothing."""

    def progress(self, done: int, total: int) -> None:
        """Nothing."""

    def epoch(self, record: EpochRecord) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def detail(self, text: str) -> None:
        """Nothing."""
