"""Where labels to look at are written: as CSV, and as tasks of Label Studio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finetune.cli import csv_files, label_studio
from finetune.cli.options import Asked
from finetune.records.errors import UsageError
from finetune.records.labels import Suggestions, SuspectLabel

OF_LABELS = {
    "csv_file": "--csv",
    "label_studio": "--label-studio",
    "backbone": "--backbone",
    "device": "--device",
}


def require(asked: Asked, folder: Path) -> None:
    """Refuse what has no effect without --labels, and files that cannot be written.

    Args:
        asked: The command line.
        folder: Of the images, into which nothing is written.

    Raises:
        UsageError: names the option.
    """
    if not asked.labels:
        for name, flag in OF_LABELS.items():
            if name in asked.given:
                raise UsageError(
                    f"{flag} has no effect on check without --labels",
                    hint=f"finetune check {folder} --labels {flag} …",
                )
    require_files(asked, folder)


def require_files(asked: Asked, folder: Path) -> None:
    """Find out before the work whether the files can be written; raises `UsageError`."""
    for flag, path in (("--csv", asked.csv_file), ("--label-studio", asked.label_studio)):
        if path is not None:
            csv_files.require(flag, path, [], folder=folder)
    if asked.csv_file is not None and asked.csv_file == asked.label_studio:
        raise UsageError(
            f"--csv and --label-studio are both {asked.csv_file}", hint="Name two files."
        )


def write_suggestions(asked: Asked, found: Suggestions) -> None:
    """The same of images to label next."""
    if asked.csv_file is not None:
        csv_files.write_suggestions(asked.csv_file, found.suggestions)
    if asked.label_studio is not None:
        label_studio.write_suggestions(asked.label_studio, found)


def write_suspects(asked: Asked, suspects: Sequence[SuspectLabel]) -> None:
    """The files that were asked for; raises `UsageError` where one cannot be written."""
    if asked.csv_file is not None:
        csv_files.write_suspects(asked.csv_file, suspects)
    if asked.label_studio is not None:
        label_studio.write_suspects(asked.label_studio, suspects)
