"""Labels in JSON: one category for each picture as COCO writes it, or what Label Studio exports."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from finetune.records.errors import DataError, cause, safe_name
from finetune.sources.column_names import joined
from finetune.sources.listing import Example, Listed

SUFFIX = ".json"
MOST_BYTES = 2_000_000_000
BESIDE = ("", "images", "image", "train", "data")


def read(file: Path) -> Listed:
    """The pictures and labels of such a file; pictures lie beside it or in images/ there.

    Raises:
        DataError: it is neither.
    """
    try:
        if file.stat().st_size > MOST_BYTES:
            raise DataError(f"{file} is too large", hint="Divide it, or write a CSV.")
        with file.open("rb") as content:
            told = json.loads(content.read())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"cannot read {file}: {cause(error)}", hint="Is it JSON, and whole?"
        ) from error
    try:
        pairs, kind = _pairs(file, told)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file} lacks a field or has one of another kind: {cause(error)}",
            hint="Export it once more, as COCO or as Label Studio's JSON.",
        ) from error
    labels = _of_each(pairs)
    root, folder = _beside(file, list(labels))
    return Listed(
        source=str(file),
        root=root,
        examples=[Example(path, label) for path, label in labels.items()],
        text=f"{file.name}: {len(labels):,} pictures with labels, as {kind} writes them"
        + (f"; they lie in {folder}/" if folder else ""),
        label="the categories",
    )


def _pairs(file: Path, told: Any) -> tuple[list[tuple[str, str]], str]:
    if isinstance(told, dict) and {"images", "annotations", "categories"} <= told.keys():
        return list(_coco(told)), "COCO"
    if isinstance(told, list) and told and isinstance(told[0], dict) and "data" in told[0]:
        return list(_label_studio(file, told)), "Label Studio"
    raise DataError(
        f"{file} is neither COCO (images, annotations, categories) nor an export of Label Studio",
        hint="Write a CSV with the columns file_name and label.",
    )


def _coco(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    paths = {i["id"]: str(i["file_name"]) for i in told["images"]}
    called = {c["id"]: str(c["name"]) for c in told["categories"]}
    labelled = set()
    for one in told["annotations"]:
        labelled.add(one["image_id"])
        yield paths[one["image_id"]], called[one["category_id"]]
    for key, path in paths.items():
        if key not in labelled:
            yield path, ""


def _label_studio(file: Path, told: list[Any]) -> Iterator[tuple[str, str]]:
    for number, task in enumerate(told, start=1):
        values = [v for v in task["data"].values() if isinstance(v, str)]
        if not values:
            raise DataError(f"{file}: task {number} names no picture", hint="Export it once more.")
        path = _local(values[0])
        given = [r for r in task.get("annotations", []) if not r.get("was_cancelled")]
        yield path, ""
        for one in given[-1].get("result", []) if given else []:
            for said in _said(one.get("value", {})):
                yield path, said


def _said(value: dict[str, Any]) -> list[str]:
    """What was chosen, or the number or stars that were given."""
    numbers = [value[key] for key in ("number", "rating") if value.get(key) is not None]
    return [str(said) for said in (*value.get("choices", []), *numbers)]


def _local(address: str) -> str:
    """The file that Label Studio means: below its local storage, among its uploads, or as given."""
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    if local:
        return local[0]
    path = unquote(parts.path)
    if path.startswith("/data/upload/"):
        return path.removeprefix("/data/upload/")
    return path if not parts.scheme or len(parts.scheme) == 1 else path.rpartition("/")[2]


def _of_each(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The labels of each picture, parted by `;`; several boxes of one category are one label."""
    found: dict[str, set[str]] = defaultdict(set)
    for path, label in pairs:
        found[path] |= {label} - {""}
    return {path: safe_name(joined(sorted(labels))) for path, labels in found.items()}


def _beside(file: Path, paths: list[str]) -> tuple[Path, str]:
    """The folder that the pictures lie below, and its name beside the file."""
    for name in BESIDE:
        root = file.parent / name
        if any((root / path).is_file() for path in paths[:20] if not os.path.isabs(path)):  # noqa: PTH117 - text
            return root, name
    raise DataError(
        f"{file}: no picture at {file.parent / paths[0] if paths else file.parent}",
        hint=f"Put the pictures beside {file.name}, or into images/ there.",
    )
