"""Where the pictures of a table lie: as it says, beside it, or with an ending that it left out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from finetune.records.errors import DataError, cause, excerpt
from finetune.sources.containers import ContainedPath
from finetune.sources.listing import Example

# Where the pictures may lie, beside the table, when they do not where it says.
BESIDE = ("images", "image", "imgs", "img", "pictures", "photos", "train", "data")
ENDINGS = ("", ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".JPG", ".JPEG", ".PNG")
TRIED = 20  # rows whose pictures are looked for to find out where all of them lie


@dataclass(frozen=True)
class Place:
    """How a cell leads to a file: a folder below the table's, and an ending; and in words."""

    folder: str
    ending: str
    text: str = ""

    def of(self, path: str) -> str:
        """The path that is meant."""
        return f"{self.folder}{path}{self.ending}"


def found_at(table: Path, column: str, found: Sequence[tuple[int, Example]]) -> Place:
    """Where the pictures of the first rows are.

    Args:
        table: The file.
        column: The one that names the pictures.
        found: Its rows with their numbers.

    Raises:
        DataError: nowhere.
    """
    some = [e.path for _, e in found[:TRIED]]
    folders = ["", *(f"{name}/" for name in BESIDE)]
    for folder in folders:
        for ending in ENDINGS:
            place = Place(folder, ending)
            if any(_exists(table.parent, _slashed(table.parent, place.of(path))) for path in some):
                text = f"; they lie in {folder}" if folder else ""
                return Place(folder, ending, text + (f"; '{ending}' is added" if ending else ""))
    number, example = found[0]
    looked = table.parent / _slashed(table.parent, example.path)
    raise DataError(
        f"{table} row {number}, column '{column}': no file at {excerpt(str(looked), 300)}"
        + (f", nor is one where the next {len(some) - 1} rows say" if len(some) > 1 else ""),
        hint=f"Paths are absolute or relative to {table.parent}: move the table, or correct them.",
    )


def _exists(base: Path, path: str) -> bool:
    try:
        return (base / path).is_file()
    except (OSError, ValueError):
        return False


def _slashed(base: Path, path: str) -> str:
    """A path with slashes, where it was written with those of Windows."""
    if "\\" in path and not _exists(base, path):
        return PureWindowsPath(path).as_posix()
    return path


def placed(base: Path, place: Place, examples: Sequence[Example]) -> tuple[Path, Sequence[Example]]:
    """The folder that all pictures lie in, and the examples with paths below it."""
    meant = [_slashed(base, place.of(e.path)) for e in examples]
    if isinstance(base, ContainedPath):
        return base, [e._replace(path=_normal(p)) for e, p in zip(examples, meant, strict=True)]
    outer = [p for p in meant if os.path.isabs(p) or ".." in p.split("/")]  # noqa: PTH117 - many
    if not outer:
        return base, [e._replace(path=_normal(p)) for e, p in zip(examples, meant, strict=True)]
    whole = [os.path.normpath(os.path.join(base.absolute(), p)) for p in meant]  # noqa: PTH118
    whole = [f"/{p.lstrip('/')}" if p.startswith("//") else p for p in whole]
    try:
        root = Path(os.path.commonpath([os.path.dirname(p) for p in whole]))  # noqa: PTH120
    except ValueError as error:
        raise DataError(
            f"the pictures lie in places that have nothing in common: {cause(error)}",
            hint="Move them to one drive.",
        ) from error
    below = [Path(os.path.relpath(p, root)).as_posix() for p in whole]
    return root, [e._replace(path=p) for e, p in zip(examples, below, strict=True)]


def _normal(path: str) -> str:
    """Without `./` and doubled slashes, so that a picture has one name."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))
