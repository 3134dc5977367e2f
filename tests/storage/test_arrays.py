"""Promises of `finetune.storage.arrays`: what lies in a file reads as if it lay in memory."""

from __future__ import annotations

import errno
import os
import tempfile

import numpy as np
import numpy.typing as npt
import pytest

from finetune.heads import ridge
from finetune.records.errors import DiskError
from finetune.storage import arrays
from finetune.storage.arrays import Filed, View

Floats = npt.NDArray[np.float32]


@pytest.fixture
def values() -> Floats:
    return np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)


def filed(values: Floats) -> Filed:
    """The same rows in a file, written in two parts, the later ones first."""
    out = Filed(*values.shape)
    half = len(values) // 2
    out[range(half, len(values))] = values[half:]
    out[range(half)] = values[:half]
    return out


@pytest.mark.parametrize(
    "index",
    [
        slice(None),
        slice(3, 9),
        slice(40, 99),
        slice(9, 3),
        slice(1, 20, 4),
        np.array([49, 0, 7, 7]),
        np.array([], np.int64),
    ],
    ids=str,
)
def test_rows_of_a_file_are_those_of_memory(values: Floats, index: arrays.Index) -> None:
    """A slice or a list of numbers gives the same rows, in the same order, of the same kind."""
    got = filed(values)[index]

    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, values[index])


@pytest.mark.parametrize("numbers", [None, np.array([5, 2, 2, 40])])
@pytest.mark.parametrize("in_file", [False, True])
def test_a_view_is_the_columns_of_the_rows(
    values: Floats, numbers: npt.NDArray[np.int64] | None, in_file: bool
) -> None:
    """Spans of columns stand side by side in the wanted order, of all rows or of some."""
    view = View(filed(values) if in_file else values, ((4, 7), (0, 2)), numbers)

    chosen = values if numbers is None else values[numbers]
    expected = np.concatenate([chosen[:, 4:7], chosen[:, 0:2]], axis=1)
    assert view.shape == expected.shape
    assert len(view) == len(expected)
    np.testing.assert_array_equal(view[:], expected)
    np.testing.assert_array_equal(view[np.array([1, 3])], expected[[1, 3]])


def test_what_is_large_lies_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a limit on nothing is held in memory."""
    monkeypatch.setattr(arrays, "MEMORY_BYTES", 4 * 10 * 3)

    assert isinstance(arrays.new(10, 3), np.ndarray)
    assert isinstance(arrays.new(11, 3), Filed)


def test_parts_are_all_rows_in_order(values: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row is read once, a bounded number at a time."""
    monkeypatch.setattr(arrays, "PART_BYTES", 4 * 7 * 8)

    found = list(arrays.parts(filed(values)))

    np.testing.assert_array_equal(np.concatenate([rows for _, rows in found]), values)
    assert [(p.start, p.stop) for p, _ in found][:2] == [(0, 8), (8, 16)]
    assert max(len(rows) for _, rows in found) == 8


def test_parts_of_a_view_are_bounded_by_the_rows_that_are_read(
    values: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few columns of wide rows cost the memory of the wide rows: so many are read at a time."""
    monkeypatch.setattr(arrays, "PART_BYTES", 4 * 7 * 8)
    view = View(filed(values), ((2, 4),), np.arange(30))

    found = list(arrays.parts(view))

    assert max(len(rows) for _, rows in found) == 8
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in found]), values[:30, 2:4])


def test_a_head_fitted_in_parts_is_the_head_of_the_whole(
    values: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows than features: sums over parts give the same weights, and the same scores."""
    labels = np.arange(50) % 3
    whole = ridge.fit(ridge.Blocks(values, ((0, 4), (4, 7))), labels, 3, 0.1, 1.0)
    expected = ridge.score(whole, values)
    monkeypatch.setattr(arrays, "PART_BYTES", 4 * 7 * 9)

    parted = ridge.fit(ridge.Blocks(filed(values), ((0, 4), (4, 7))), labels, 3, 0.1, 1.0)

    np.testing.assert_allclose(parted.weight, whole.weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ridge.score(parted, filed(values)), expected, atol=1e-5)


def test_many_pictures_are_mapped_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a limit they can be put out of memory, and hold what is written all the same."""
    monkeypatch.setattr(arrays, "PICTURE_BYTES", 3 * 4 * 4 * 3)

    few, many = arrays.pictures(3, 4), arrays.pictures(4, 4)
    many[:] = np.arange(many.size).reshape(many.shape) % 251

    assert not isinstance(few, np.memmap)
    assert isinstance(many, np.memmap)
    assert many.ravel().tolist() == [i % 251 for i in range(192)]


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("make", [arrays.pictures, Filed])
@pytest.mark.parametrize("where", ["posix_fallocate", "TemporaryFile"])
def test_a_full_disk_is_told_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, make, where: str
) -> None:
    """The fault names the folder for temporary files, how much is wanted, and TMPDIR."""
    monkeypatch.setattr(arrays, "PICTURE_BYTES", 1)
    monkeypatch.setattr(os if where == "posix_fallocate" else tempfile, where, no_room)

    with pytest.raises(DiskError, match="No space left") as caught:
        make(1000, 1000)

    assert tempfile.gettempdir() in caught.value.message
    assert "MB" in caught.value.message
    assert "TMPDIR" in caught.value.hint


def test_no_folder_for_temporary_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has none at all, that is the fault, with the places looked at."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/no/such/place"])

    with pytest.raises(DiskError, match=r"No usable temporary directory.*/no/such/place"):
        Filed(3, 4)


def test_all_room_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file has all its blocks before the first write, with fallocate or without."""
    for code in (None, errno.EOPNOTSUPP):
        with monkeypatch.context() as patch:
            if code is not None:
                patch.setattr(os, "posix_fallocate", lambda *_, c=code: no_such(c), raising=False)
            rows = Filed(1000, 100)
            facts = os.fstat(rows._file.fileno())

        assert facts.st_size == 400_000
        assert 512 * facts.st_blocks >= 400_000


def no_such(code: int) -> None:
    raise OSError(code, os.strerror(code))


@pytest.mark.parametrize("call", ["write", "readinto"])
def test_a_disk_that_fails_later_is_told_too(values: Floats, call: str) -> None:
    """Reading and writing rows give the same fault, not a traceback."""

    class Broken:
        def seek(self, _: int) -> None:
            pass

        def close(self) -> None:
            no_room()

    rows = filed(values)
    rows._file.close()
    rows._file = Broken()
    setattr(rows._file, call, no_room)

    with pytest.raises(DiskError, match="No space left"):
        _ = rows.__setitem__([0], values[:1]) if call == "write" else rows[0:1]


def test_some_pictures_are_those_of_the_numbers() -> None:
    """Rows of a part are found in the whole, in the part's order."""
    whole = np.arange(6 * 2 * 2 * 3, dtype=np.uint8).reshape(6, 2, 2, 3)

    part = arrays.Some(whole, np.array([4, 1, 5]))

    assert len(part) == 3
    np.testing.assert_array_equal(part[np.array([2, 0])], whole[[5, 4]])
    np.testing.assert_array_equal(part[0:2], whole[[4, 1]])
