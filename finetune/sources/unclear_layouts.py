"""Folders that look like splits, masks or sets for another task: refused, with a way out."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from finetune.records.errors import DataError
from finetune.sources import names
from finetune.sources.files import children_of, descend, filled, holds, named_as_image
from finetune.sources.names import IMAGE_WORDS, MASK_WORDS, Role, is_word, role_of


def require_no_copy(top: Path, full: Sequence[Path]) -> None:
    """A folder with the other classes below it is a split of them, or holds their masks.

    Raises:
        DataError: there is one.
    """
    for path in full:
        inner = {c.name for c in children_of(path) if filled(c)}
        others = [p.name for p in full if p != path]
        role = role_of(path.name)
        if holds(path) or not inner <= set(others) or len(inner) < (1 if role else 2):
            continue
        rest = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        to = "train" if role == "test" else "elsewhere"
        raise DataError(
            f"{top} has the classes {rest}, and {path.name}/ with folders of the same names in it: "
            "that is a split or a copy of them, and no class",
            hint=f"Move {rest} into {top}/train beside {path.name}/."
            if to == "train"
            else f"Move {path.name}/ out of {top}.",
        )


def refuse_splits(root: Path, top: Path, like: Sequence[Path], bare: Sequence[Path]) -> NoReturn:
    """Splits without class folders, or without a train.

    Args:
        root: The folder that was given.
        top: The one that holds the splits.
        like: Folders that are called as splits.
        bare: Those of them without class folders.

    Raises:
        DataError: always.
    """
    called = " and ".join(f"{p.name}/" for p in bare or like)
    if not bare:
        raise DataError(
            f"{top} has {called}, but no train/: names of splits are not classes",
            hint=f"To train on {like[0].name}/ alone give it: {shlex.quote(str(like[0]))}",
        )
    raise DataError(
        f"{top} has pictures in {called}, but no class folders there: names of splits are "
        f"not classes{_looks_like(root, top, like)}",
        hint=label_hint([p for p in like if role_of(p.name) == "train"] or like)
        or f"Put the pictures of each class into a folder named after it: {top}/train/cat/1.jpg, "
        f"{top}/train/dog/2.jpg.",
    )


def require_no_masks(top: Path, full: Sequence[Path]) -> None:
    """Pictures beside their masks are no two classes.

    Raises:
        DataError: they are all there is.
    """
    masks = [p for p in full if is_word(p.name, MASK_WORDS)]
    images = [p for p in full if is_word(p.name, IMAGE_WORDS)]
    if masks and images and len(masks) + len(images) == len(full):
        raise DataError(
            f"{top} has pictures in {images[0].name}/ and {masks[0].name}/: that looks like "
            "segmentation, with a mask for each picture, and not like classes",
            hint=f"Put the pictures of {images[0].name}/ into one folder per class, without the "
            "masks.",
        )


def require_no_mixture(top: Path, full: Sequence[Path]) -> None:
    """`train_cat` and `test_cat` are two splits of one class.

    Raises:
        DataError: there are such folders.
    """
    kinds: dict[tuple[str, ...], set[Role]] = defaultdict(set)
    for path in full:
        roles, rest = names.roles_in(path.name)
        if rest and len(roles) == 1:
            kinds[tuple(rest)] |= roles
    mixed = [rest for rest, roles in kinds.items() if len(roles) >= 2]
    if mixed:
        label = "_".join(mixed[0])
        raise DataError(
            f"{top} has folders that name a split and a class at once, such as those of '{label}': "
            "splits of one class are not two classes",
            hint=f"Move them: train/{label}/ and test/{label}/.",
        )


def _looks_like(root: Path, top: Path, like: Sequence[Path]) -> str:
    """What else lies there tells what the folder was made for."""
    files = {p.name for folder in (root, top, *like) for p in _listed(folder) if p.is_file()}
    folders = {p.name.lower() for p in (*_listed(root), *_listed(top), *_listed(top.parent))}
    if "_classes.csv" in files:
        return "; _classes.csv tells a multi-label export of Roboflow"
    if "_annotations.coco.json" in files or "annotations" in folders:
        return "; the annotations tell a set for detection, such as COCO"
    if "data.yaml" in files or "labels" in folders or any((p / "labels").is_dir() for p in like):
        return "; labels/ or data.yaml tell a set for detection, such as YOLO"
    tables = sorted(name for name in files if name.lower().endswith((".csv", ".tsv", ".xlsx")))
    return f"; the labels are perhaps in {tables[0]}: give that file" if tables else ""


def label_hint(folders: Sequence[Path]) -> str:
    """What to try where the names of files look like labels; empty where they do not."""
    files = sorted(p.name for folder in folders for p in descend(folder) if named_as_image(p))
    found = names.suggested(files)
    if found is None:
        return ""
    return (
        f"The names of the files look like labels ({files[0]}, {files[-1]}): add "
        f"--label-from {shlex.quote(found)}"
    )


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
