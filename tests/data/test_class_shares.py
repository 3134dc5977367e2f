"""Promises of the file of class shares: what it may look like, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.data import class_shares
from finetune.records.errors import DataError

CLASSES = ("cat", "dog, wild")


def written(tmp_path: Path, text: str, name: str = "shares.csv") -> Path:
    """A file with that text."""
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('cat,3\n"dog, wild",1\n', "a.csv"),
        ('class,share\ncat, 0.75\n\n"dog, wild", 0.25\n', "a.csv"),
        ('\ufeffcat,0.3\n"dog, wild",0.1\n', "a.txt"),
        ('{"cat": 0.75, "dog, wild": 0.25}', "a.json"),
        ('[["dog, wild", 1], ["cat", 3]]', "a.json"),
    ],
)
def test_shares_are_read_and_scaled(tmp_path: Path, text: str, name: str) -> None:
    """CSV with and without a heading, JSON as object and as pairs, counts and shares."""
    path = written(tmp_path, text, name)

    shares = class_shares.matched(class_shares.read(path), CLASSES, path)

    assert shares.tolist() == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cat,much\n", "row 1 gives class 'cat' the share 'much', which is no number"),
        ("class,share\ncat,0\n", "row 2 gives class 'cat' the share '0', which is not above 0"),
        ("cat,nan\n", "row 1 gives class 'cat' the share 'nan', which is no number"),
        ("cat,0.5,0.5\n", "row 1 has 3 columns, not 2"),
        ("cat,1\ndog,2\ncat,3\n", "row 3 is class 'cat', which row 1 is as well"),
        ('{"cat": true}', "entry 1 gives class 'cat' the share True, which is no number"),
        ('{"cat": -1}', "entry 1 gives class 'cat' the share -1, which is not above 0"),
        ("[1, 2]", "entry 1 is no class with a share"),
        ("{", "is no JSON"),
        ("\n", "has no class"),
    ],
)
def test_a_wrong_row_is_named_with_its_value(tmp_path: Path, text: str, says: str) -> None:
    """The message has the row and the value, and the hint an example."""
    with pytest.raises(DataError, match="--prior") as fault:
        class_shares.read(written(tmp_path, text))

    assert says in fault.value.message
    assert fault.value.hint


def test_rows_and_classes_have_to_agree(tmp_path: Path) -> None:
    """An unknown class is named with its row, a missing one with what to do."""
    strange = written(tmp_path, "cat,1\nmouse,2\n")
    with pytest.raises(DataError, match=r"row 2 is 'mouse', which is none of the 2 classes"):
        class_shares.matched(class_shares.read(strange), CLASSES, strange)
    short = written(tmp_path, "cat,1\n")
    with pytest.raises(DataError, match=r"no row for 1 of 2 classes, such as 'dog, wild'"):
        class_shares.matched(class_shares.read(short), CLASSES, short)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """So are a folder, bytes that are no text, and a file that is too large."""
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            class_shares.read(path)
    odd = tmp_path / "odd.csv"
    odd.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="no text in UTF-8"):
        class_shares.read(odd)
    odd.write_bytes(b"a" * (class_shares.MOST_BYTES + 1))
    with pytest.raises(DataError, match="more than 1 MB"):
        class_shares.read(odd)
