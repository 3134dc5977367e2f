"""What people call the columns of a list of pictures."""

from __future__ import annotations

from collections.abc import Sequence

# The first of each before the others where a table has several.
PATHS = (
    *("file_name", "filename", "path", "image", "file", "filepath", "file_path", "image_path"),
    *("img", "img_path", "image_name", "picture", "image_id", "id"),
)
LABELS = ("label", "labels", "target", "class", "class_name", "category", "y", "species")
SPLITS = ("split", "set", "subset", "partition")
GROUPS = ("group", "groups", "patient", "patient_id", "subject", "group_id")


def first(header: Sequence[str], known: Sequence[str]) -> str | None:
    """The column that is called so, in any case of letters; None where none is."""
    by_name = {name.lower(): name for name in reversed(header)}
    return next((by_name[name] for name in known if name in by_name), None)
