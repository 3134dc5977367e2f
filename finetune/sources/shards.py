"""WebDataset: tar files in which a picture and its label are called alike, `KEY.jpg`, `KEY.cls`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from finetune.pictures import file_kinds
from finetune.records.errors import DataError, safe_name
from finetune.sources import containers, listing
from finetune.sources.column_names import joined, labels_of, no_label, spoken
from finetune.sources.containers import ContainedPath
from finetune.sources.listing import Example, Listed

LABEL_ENDINGS = ("cls", "json", "txt")
MOST_LABEL_BYTES = 1_000_000
MOST_SHARDS = 100_000
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def is_shard(root: Path) -> bool:
    """Whether an archive has labels beside its pictures: `KEY.cls` or `KEY.json` with `KEY.jpg`."""
    assert isinstance(root, ContainedPath)
    keys: dict[str, set[str]] = {}
    for name in root.container.sizes:
        key, ending = _parted(name)
        keys.setdefault(key, set()).add(ending)
    pictures = [found for found in keys.values() if any(map(_is_picture, found))]
    return bool(pictures) and any(found & {*LABEL_ENDINGS} for found in pictures)


def shards_of(place: Path) -> list[Path]:
    """The shards that are meant: those of a folder of tars alone, or of `name-{000..009}.tar`."""
    braces = _BRACES.search(str(place))
    if braces is not None:
        low, high = int(braces[1]), int(braces[2])
        if high - low >= MOST_SHARDS:
            raise DataError(f"{place} names {high - low + 1:,} shards", hint="Give fewer.")
        text, width = str(place), len(braces[1])
        return [
            Path(f"{text[: braces.start()]}{n:0{width}d}{text[braces.end() :]}")
            for n in range(low, high + 1)
        ]
    if not place.is_dir():
        return [place]
    found = sorted(p for p in place.iterdir() if p.name.lower().endswith(".tar"))
    return found if all(p.is_file() for p in found) else []


def read(place: Path, shards: Sequence[Path], asked: Sequence[str] = ()) -> Listed:
    """The pictures and labels of shards; a label is text, a number, or a field of JSON.

    Args:
        place: What was given.
        shards: The files.
        asked: The fields of JSON that are labels; empty for the one that is called so.

    Raises:
        DataError: a shard is damaged, or a picture's label cannot be read.
    """
    examples: list[Example] = []
    read_one: dict[str, Callable[[], bytes]] = {}
    roles = listing.splits_of([shard.name.partition(".")[0] for shard in shards])
    for shard, role in zip(shards, roles, strict=True):
        inside = containers.opened(shard)
        for name, label in _labelled(inside, asked):
            path = f"{shard.stem}/{name}"
            read_one[path] = (inside / name).read_bytes
            examples.append(Example(path, label, role))
    whole = shards[0] if len(shards) == 1 else place if place.exists() else shards[0].parent
    root, named = listing.packed(whole, examples, read_one)
    return Listed(
        source=str(place),
        root=root,
        examples=named,
        text=f"{place.name}: {len(examples):,} pictures in {len(shards)} shard(s), as WebDataset "
        "has them, with a label beside each",
        label="the label beside each picture",
        columns=tuple(asked),
    )


def _labelled(root: Path, asked: Sequence[str]) -> list[tuple[str, str]]:
    """The pictures of one shard with their labels, empty where there is none."""
    assert isinstance(root, ContainedPath)
    beside: dict[str, dict[str, str]] = {}
    pictures: list[tuple[str, str]] = []
    for name in root.container.sizes:
        key, ending = _parted(name)
        if _is_picture(ending):
            pictures.append((key, name))
        elif ending in LABEL_ENDINGS:
            beside.setdefault(key, {})[ending] = name
    return [(name, _label(root, beside.get(key, {}), asked)) for key, name in pictures]


def _label(root: Path, beside: dict[str, str], asked: Sequence[str]) -> str:
    for ending in ("json",) if asked else LABEL_ENDINGS:
        if ending not in beside:
            continue
        path = root / beside[ending]
        assert isinstance(path, ContainedPath)
        if path.container.sizes[path.inside] > MOST_LABEL_BYTES:
            raise DataError(f"{path} is too large for a label", hint="Write the label alone.")
        text = path.read_bytes().decode("utf-8", "replace").strip()
        if ending != "json":
            return safe_name(text)
        found = _of_json(path, text, asked)
        if found:
            return safe_name(found)
    return ""


def _of_json(path: Path, text: str, asked: Sequence[str]) -> str:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is not JSON: {error}", hint="Write the shard once more."
        ) from error
    if not isinstance(told, dict):
        return _said(path, "label", told)
    cells = [_said(path, column, told[column]) for column in labels_of([*told], asked)]
    return joined(cells) if any(cells) else ""


def _said(path: Path, column: str, value: object) -> str:
    text = spoken(value)
    if text is None:
        raise no_label(str(path), column, json.dumps(value))
    return text


def _parted(name: str) -> tuple[str, str]:
    """Key and ending, parted at the first dot of the last name, as WebDataset does."""
    folder, _, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return (f"{folder}/{stem}" if folder else stem), ending.lower()


def _is_picture(ending: str) -> bool:
    return f".{ending.rpartition('.')[2]}" in file_kinds.suffixes()
