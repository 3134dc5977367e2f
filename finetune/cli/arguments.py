"""What stands on a command line without a name: folders, images, runs."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

DIR_HELP = "One folder per class; or a table of labels, an archive, shards."
DIR = inspect.Parameter(
    "directory",
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    annotation=Annotated[Path, typer.Argument(metavar="DIR", help=DIR_HELP)],
)
OPTIONAL_DIR = DIR.replace(
    default=None,
    annotation=Annotated[Path | None, typer.Argument(metavar="DIR", help=DIR_HELP)],
)
PATHS = DIR.replace(
    name="paths",
    annotation=Annotated[
        list[Path],  # one that may not be read is an answer with an error in it
        typer.Argument(
            metavar="PATH…",
            help="Images, folders, archives (zip, tar), patterns; - for a list on stdin.",
            readable=False,
        ),
    ],
)
FOLDER = DIR.replace(
    default=Path("runs"),
    annotation=Annotated[Path, typer.Argument(metavar="FOLDER", help="Where runs lie.")],
)
WORDS = DIR.replace(
    name="words",
    default=None,
    annotation=Annotated[
        list[str] | None,
        typer.Argument(metavar="[[fetch] NAME]", help="A network: its stages, or its weights."),
    ],
)
RUN = DIR.replace(
    name="run",
    annotation=Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
)
UNLABELLED = DIR.replace(
    annotation=Annotated[Path, typer.Argument(metavar="FOLDER", help="Images without labels.")],
)
