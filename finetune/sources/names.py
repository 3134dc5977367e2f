"""What names say: the split a folder stands for, masks, and labels in the names of files."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from finetune.records.errors import UsageError

Role = Literal["train", "val", "test"]
# The names in use for each split; the first ones go before the others where both are there.
OWN_NAMES: dict[str, Role] = {
    "train": "train",
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    "test": "test",
}
_WORDS: dict[str, Role] = {
    **OWN_NAMES,
    **dict.fromkeys(("training", "trainval"), "train"),
    "dev": "val",
    **dict.fromkeys(("testing", "eval", "evaluation", "holdout"), "test"),
}
# What stands beside such a word and says no more: train2017, seg_train, training_set, Test_images.
_FILLERS = frozenset(
    {
        *("set", "sets", "data", "dataset", "split", "splits", "folder", "files", "seg", "final"),
        *("image", "images", "img", "imgs", "picture", "pictures", "pic", "pics", "photo"),
        *("photos", "jpg", "jpeg", "jpegs", "png", "cropped", "resized", "public", "samples"),
    }
)
IMAGE_WORDS = frozenset(
    {
        *("image", "images", "img", "imgs", "picture", "pictures", "photo", "photos"),
        *("jpegimages", "original", "originals", "rgb"),
    }
)
MASK_WORDS = frozenset(
    {
        *("mask", "masks", "annotation", "annotations", "label", "labels", "gt", "groundtruth"),
        *("segmentation", "segmentations", "segmentationclass", "segmentationobject"),
    }
)
# Folders that lie beside splits and are no classes.
SIDE_WORDS = (
    IMAGE_WORDS
    | MASK_WORDS
    | {
        *("extra", "extras", "unlabeled", "unlabelled", "unlabel", "unknown", "sample", "samples"),
        *("pred", "predict", "prediction", "predictions", "submission", "other", "misc", "all"),
    }
)
_MASK_ENDING = re.compile(r"(.+?)[ _-](?:mask|masks|seg|segmentation|gt|groundtruth)[ _-]?\d*")
# Tried in this order; the letters are narrowed to small ones where all labels are in small ones.
_SHAPES = (
    *(r"^([A-Za-z]+)\.", r"^(.+)_\d+\.", r"^(.+)-\d+\.", r"^(.+?) ?\(\d+\)\.", r"^(.+) \d+\."),
    *(r"^([A-Za-z]+)\d+\.", r"^([A-Za-z]+)[_-]", r"[_-]([A-Za-z]+)\.", r"\.([A-Za-z]+)\."),
)
# What cameras and programs call their pictures, whatever is in them.
_NO_LABELS = frozenset(
    {
        *("img", "image", "images", "dsc", "dscn", "dscf", "photo", "pic", "picture", "pict"),
        *("frame", "screenshot", "screen shot", "scan", "p", "pxl", "vid", "file", "test"),
        *("train", "val", "copy", "rf", "jpg", "png"),
    }
)
_MATCHED = 0.9  # of all names: the rest is told and left out
_LOOKED_AT = 2000


def role_of(name: str) -> Role | None:
    """The split that a folder's name stands for, in any case of letters; None for other names."""
    roles, rest = roles_in(name)
    return None if rest or not roles else "train" if "train" in roles else min(roles)


def roles_in(name: str) -> tuple[set[Role], list[str]]:
    """The splits that a name speaks of, and what else it says."""
    parts = re.findall(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![^\W\d_A-Z])", name)
    roles: set[Role] = set()
    rest: list[str] = []
    for part in (p.lower() for p in parts):
        short = next(
            (part.removesuffix(f) for f in ("set", "sets", "data") if part.endswith(f)), ""
        )
        if part in _WORDS or short in _WORDS:
            roles.add(_WORDS.get(part) or _WORDS[short])
        elif part not in _FILLERS:
            rest.append(part)
    return roles, rest


def is_word(name: str, words: Collection[str]) -> bool:
    """Whether a name is one of these words, but for signs and digits."""
    return re.sub(r"[\W\d_]+", "", name.lower()) in words


def is_mask_of(name: str, stems: Collection[str]) -> bool:
    """Whether a file is the mask of another one beside it: `1_mask.png` of `1.jpg`.

    Args:
        name: The file's name.
        stems: The names of all files in its folder, less their suffixes.
    """
    stem = Path(name).stem.lower()
    return unmasked(stem) != stem and unmasked(stem) in stems


def unmasked(stem: str) -> str:
    """The name of the picture that a mask belongs to; the name itself without such an ending."""
    found = _MASK_ENDING.fullmatch(stem)
    return stem if found is None else found[1]


def compiled(option: str, text: str | None, example: str) -> re.Pattern[str] | None:
    """The expression of an option; None where it was not given.

    Raises:
        UsageError: it is not a regular expression.
    """
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise UsageError(
            f"{option} '{text}' is not a regular expression: {error}",
            hint=f"Put what it should find in brackets: {option} '{example}'.",
        ) from error


def found_in(pattern: re.Pattern[str], path: str) -> str | None:
    """What a pattern finds in a file's name: its first bracket, or all of it without one."""
    found = pattern.search(PurePosixPath(path).name)
    if found is None:
        return None
    return found[1] if pattern.groups and found[1] is not None else found[0]


def suggested(names: Sequence[str]) -> str | None:
    """An expression that finds a few labels in files' names; None where they have none to see.

    `cat.0.jpg` and `dog.1.jpg` have; `IMG_0001.jpg`, `00017.jpg` and names that are all different
    have not.
    """
    # evenly some of them: in name order the first thousand may all be of one class
    some = [PurePosixPath(n).name for n in names[:: max(1, len(names) // _LOOKED_AT)]]
    for shape in _SHAPES:
        pattern = re.compile(shape)
        matches = [found[1] for name in some if (found := pattern.search(name))]
        counts = Counter(matches)
        told = [label for label in counts if label.lower() not in _NO_LABELS and _wordy(label)]
        if len(matches) < _MATCHED * len(some) or len(told) < max(2, len(counts)):
            continue
        if len(matches) >= 2 * len(counts):  # two images a class at least, on average
            small = all(label == label.lower() for label in counts)
            return shape.replace("[A-Za-z]", "[a-z]") if small else shape
    return None


def _wordy(label: str) -> bool:
    """A label has letters, and is no number in hexadecimal digits."""
    return any(c.isalpha() for c in label) and not re.fullmatch(r"[0-9a-f]{8,}", label.lower())


def folded(name: str) -> str:
    """A name less what people mix up: capitals, accents of Latin letters, blanks and underscores.

    Both ways to write an accent, composed and decomposed, are one.
    """
    text = ""
    for c in unicodedata.normalize("NFKD", name).casefold():
        accent = bool(unicodedata.combining(c))
        if not (accent and text and "LATIN" in unicodedata.name(text[-1], "")):
            text += c
    return re.sub(r"[\s_-]+", " ", text).strip()
