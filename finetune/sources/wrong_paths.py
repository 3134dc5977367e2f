"""What a path is that was given as a folder of images, and is none; and what was meant perhaps."""

from __future__ import annotations

import difflib
import shlex
from pathlib import Path

from finetune.pictures import file_kinds
from finetune.records.errors import DataError
from finetune.records.file_names import BEGUN, FACTS
from finetune.sources import containers, tables
from finetune.sources.files import children_of, is_hidden, readable

_TABLES = frozenset({".txt", ".xls", ".xlsx", ".ods", ".xml", ".sqlite", ".db"})
_ARCHIVES = frozenset({".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"})
_WEIGHTS = frozenset({".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".onnx", ".h5", ".keras"})
_PACKED = frozenset(
    {".arrow", ".feather", ".tfrecord", ".tfrecords", ".npy", ".npz", ".mat", ".hdf5"}
    | {".lmdb", ".mdb", ".rec", ".pkl", ".pickle"}
)
_FOLDER = "Give the folder that holds one folder per class, a list of labels, or an archive."


def require_folder(root: Path) -> None:
    """Refuse what is no folder, or a folder of runs and not of images.

    Raises:
        DataError: it says what is there, and one thing to try.
    """
    with readable(root):
        if not root.is_dir():
            if root.exists():
                _refuse_file(root)
            _refuse_missing(root)
        if (root / FACTS).is_file():
            raise DataError(
                f"{root} is a run, not a folder of images",
                hint=f"To use it: finetune predict IMAGE --run {_quoted(root)}. {_FOLDER}",
            )
        if (root / BEGUN).is_file():
            raise DataError(
                f"{root} holds an unfinished training, not images",
                hint=f"Give the command that began it with --resume. {_FOLDER}",
            )
        inside = children_of(root)
        runs = [p for p in inside if (p / FACTS).is_file() or (p / BEGUN).is_file()]
        if runs and len(runs) == len(inside):
            raise DataError(
                f"{root} is a folder of {len(runs)} runs, not of images",
                hint=f"finetune runs {_quoted(root)} lists them. {_FOLDER}",
            )


def inside(root: Path) -> str:
    """What to do about a folder without images that holds archives or packed data; else nothing."""
    files = [p for p in root.iterdir() if p.is_file() and not is_hidden(p.name)]
    for path in sorted(files):
        if containers.is_archive(path) or tables.is_table(path):
            return f"Is {path.name} meant? Give the file itself: {_quoted(path)}"
        if path.suffix.lower() in _ARCHIVES:
            return f"Unpack {path.name} first, and give the folder that comes out of it."
        if path.suffix.lower() in _PACKED:
            return (
                f"Write the images of {path.name} into files first, one folder per class: "
                f"{root}/cat/1.jpg."
            )
    return ""


def _refuse_file(root: Path) -> None:
    kind, run = root.suffix.lower(), root.parent / FACTS
    if not root.is_file():
        raise DataError(f"{root} is not a folder", hint=_FOLDER)
    if run.is_file():
        raise DataError(
            f"{root} is a file of the run {root.parent}, not a folder of images",
            hint=f"To use the run: finetune predict IMAGE --run {_quoted(root.parent)}. {_FOLDER}",
        )
    if kind in _ARCHIVES:
        raise DataError(
            f"{root} is an archive of a kind that is not read",
            hint="Unpack it and give the folder, or pack it as zip or tar.",
        )
    if kind in file_kinds.suffixes() | file_kinds.FOREIGN_SUFFIXES:
        raise DataError(
            f"{root} is one image, not a folder of images by class",
            hint=f"To classify it: finetune predict {_quoted(root)}. To learn from it, put it into "
            "a folder named after its class, beside others.",
        )
    if kind in _TABLES:
        raise DataError(
            f"{root} is a list of a kind that is not read",
            hint="Save it as CSV with the columns file_name and label, and give that.",
        )
    if kind in _WEIGHTS:
        raise DataError(
            f"{root} looks like weights of a network, not a folder of images",
            hint=f"To begin from them: finetune train DIR --weights {_quoted(root)}.",
        )
    if kind in _PACKED:
        raise DataError(
            f"{root} holds packed data, not a folder of images",
            hint="Write its images into files, one folder per class, and give the folder.",
        )
    raise DataError(f"{root} is a file, not a folder", hint=_FOLDER)


def _refuse_missing(root: Path) -> None:
    if "://" in str(root) or str(root).startswith(("http:/", "https:/", "s3:/", "gs:/")):
        raise DataError(
            f"{root} is an address, not a folder on this machine",
            hint="Download it first, and give the folder.",
        )
    above = next((p for p in root.parents if p.is_dir()), Path())
    name = root.relative_to(above).parts[0] if root.is_relative_to(above) else root.name
    near = _near(name, children_of(above))
    if near:
        raise DataError(
            f"no folder at {root}: there is no '{name}' in {above.absolute()}",
            hint=f"Is {' or '.join(_quoted(p) for p in near)} meant? {_FOLDER}",
        )
    raise DataError(
        f"no folder at {root}: there is no '{name}' in {above.absolute()}", hint=_FOLDER
    )


def _near(name: str, folders: list[Path]) -> list[Path]:
    """Folders whose names are much like one that is not there."""
    folded = {p.name.casefold().strip(): p for p in folders}
    near = difflib.get_close_matches(name.casefold().strip(), list(folded), n=2, cutoff=0.7)
    begun = [p for key, p in folded.items() if key.startswith(name.casefold().strip() or "\0")]
    return [folded[key] for key in near] or begun[:2]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
