"""Promises of files of answers: what is written is read back, a spreadsheet computes nothing."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from finetune.deploy.answer_files import FORMATS
from finetune.records.answers import ClassProbability, Prediction
from finetune.storage.journal import Journal
from finetune.storage.npy_file import NpyFile

TOP = (ClassProbability("=1+1", 0.5), ClassProbability("b\u00e4y, & co", 0.3))
ANSWERS = [
    Prediction("a\nb.jpg", "=1+1", 0.5, TOP),
    Prediction('-"q".jpg', error="cannot read image: it is empty"),
    Prediction("'c.jpg", "=1+1", 0.5, TOP),
    Prediction("d.jpg", "=1+1", 0.5, TOP, standing="unsure", set=("=1+1", "b\u00e4y, & co")),
]
HERE = [name for name in FORMATS if name != "parquet" or importlib.util.find_spec("pyarrow")]


def written(name: str, path: Path, answers: list[Prediction] = ANSWERS) -> Path:
    with path.open("wb") as file:
        FORMATS[name].write(file, answers, 2)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_answers_are_read_back_as_they_were_written(name: str, tmp_path: Path) -> None:
    """Names with line breaks, quotes, commas and formulas, and faults, come back the same."""
    if name not in HERE:
        pytest.skip("pyarrow is not installed")

    assert list(FORMATS[name].read(written(name, tmp_path / "x"))) == ANSWERS


@pytest.mark.parametrize("name", ["jsonl", "csv"])
def test_a_file_cut_anywhere_has_its_whole_answers(name: str, tmp_path: Path) -> None:
    """However many bytes were written, what is read are the first answers, none of them half."""
    whole = written(name, tmp_path / "x").read_bytes()
    start = whole.index(b"\n") + 1 if name == "csv" else 0

    for end in range(start, len(whole) + 1):
        (tmp_path / "cut").write_bytes(whole[:end])
        found = list(FORMATS[name].read(tmp_path / "cut"))
        assert found == ANSWERS[: len(found)]
    assert len(found) == len(ANSWERS)


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_no_file_of_answers_is_refused(name: str, tmp_path: Path) -> None:
    """Another file of the same kind is no answer."""
    if name not in HERE:
        pytest.skip("pyarrow is not installed")
    (tmp_path / "x").write_text('{"a": 1}\n{"a": 2}\n')

    with pytest.raises(ValueError, match=r"answer|Parquet"):
        list(FORMATS[name].read(tmp_path / "x"))


@pytest.mark.parametrize(
    ("text", "told"),
    [("=1+1", "'=1+1"), ("@x", "'@x"), ("-rf", "'-rf"), ("-1", "-1"), ("+2.5", "+2.5"), ("a", "a")],
)
def test_a_spreadsheet_computes_nothing_of_a_csv(text: str, told: str, tmp_path: Path) -> None:
    """A class or file named like a formula is text; a number stays a number."""
    answer = Prediction(text, text, 0.5, (ClassProbability(text, 0.5),))

    file = written("csv", tmp_path / "x", [answer])

    _, row = csv.reader(file.read_text().splitlines())
    assert row[:2] == [told, told]


def test_features_lie_in_a_file_that_numpy_maps(tmp_path: Path) -> None:
    """Rows that came at different times are one array; a half-written row is cut off."""
    rows = np.arange(20, dtype=np.float32).reshape(5, 4)
    file = NpyFile(tmp_path / "x.npy", 4)
    file.add(rows[:3])
    file.close()
    with (tmp_path / "x.npy").open("ab") as half:
        half.write(b"\1\2\3")

    file = NpyFile(tmp_path / "x.npy", 4)
    file.add(rows[3:])
    file.close()

    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, rows)
    with pytest.raises(ValueError, match="it has 4 features a picture, and the run 5"):
        NpyFile(tmp_path / "x.npy", 5)
    (tmp_path / "y.npy").write_bytes(b"PNG")
    with pytest.raises(ValueError, match="no file of features"):
        NpyFile(tmp_path / "y.npy", 4)


def test_a_journal_is_mended_and_held_by_one(tmp_path: Path) -> None:
    """A half-written line goes, another process is refused, at the end nothing is left."""
    (tmp_path / "x").write_bytes(b"one\ntwo\nthr")
    journal = Journal(tmp_path / "x")
    with pytest.raises(BlockingIOError):
        Journal(tmp_path / "x")

    journal.add([b"three"])
    assert list(journal.lines()) == [b"one\n", b"two\n", b"three\n"]
    journal.cut(1)
    journal.add([b"2"])
    journal.close()

    assert (tmp_path / "x").read_bytes() == b"one\n2\n"
    Journal(tmp_path / "x").close(remove=True)
    assert list(tmp_path.iterdir()) == []
