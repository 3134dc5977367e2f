"""Promises of `finetune.features`: one row per readable image, in order, by stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conftest import ImageFolder
from helpers import Recorder

from finetune import batches, features
from finetune.inference import Engine, Layout
from finetune.records import Reason

SIDE = 12
LAYOUT: Layout = {"stem": (0, 1), "1": (1, 3), "top": (3, 6)}


def measure(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Stand-in for a network: mean, spread of red and green, and the mean of each channel."""
    flat = pixels.reshape(len(pixels), -1, 3).astype(np.float32)
    parts = [flat.mean((1, 2))[:, None], flat.std(1)[:, :2], flat.mean(1)]
    return np.concatenate(parts, axis=1)


ENGINE = Engine(measure, LAYOUT, "stand-in", Reason("engine", "a test"))


class Progress(Recorder):
    """A listener that keeps all it hears of progress."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, int]] = []

    def progress(self, done: int, total: int) -> None:
        self.told.append((done, total))


def extract(paths: list[Path]) -> tuple[features.Table, list[tuple[int, int]]]:
    """The table, and what progress was told."""
    heard = Progress()
    return features.extract(paths, ENGINE, SIDE, heard), heard.told


def draw(image_folder: ImageFolder, count: int) -> list[Path]:
    return sorted(image_folder({"a": count}, size=(16, 12)).rglob("*.png"))


@pytest.mark.parametrize("count", [1, features.BATCH, 2 * features.BATCH + 5])
def test_rows_are_in_the_order_of_the_paths(image_folder: ImageFolder, count: int) -> None:
    """Row i holds the features of path i, over any number of batches."""
    paths = draw(image_folder, count)[::-1]

    table, _ = extract(paths)

    assert table.kept.tolist() == list(range(count))
    assert table.faults == ()
    expected = np.concatenate([measure(batches.decode(p, SIDE)[None]) for p in paths])
    assert table.rows.dtype == np.float32
    assert np.allclose(table.rows, expected)


def test_damaged_files_are_left_out_and_named(image_folder: ImageFolder) -> None:
    """A file that cannot be read costs its row alone; its position and fault are kept."""
    paths = draw(image_folder, 70)
    damaged = [0, 31, 32, 69]
    for i in damaged:
        paths[i].write_bytes(b"")

    table, _ = extract(paths)

    assert table.kept.tolist() == sorted({*range(70)} - {*damaged})
    assert [i for i, _ in table.faults] == damaged
    assert all(str(paths[i]) in error.message for i, error in table.faults)
    expected = np.concatenate([measure(batches.decode(paths[i], SIDE)[None]) for i in table.kept])
    assert np.allclose(table.rows, expected)


def test_a_batch_of_damaged_files_does_no_harm(image_folder: ImageFolder) -> None:
    """A whole batch without a readable image is passed over, and all of them too."""
    paths = draw(image_folder, features.BATCH + 2)
    for path in paths[: features.BATCH]:
        path.write_bytes(b"")

    table, _ = extract(paths)
    nothing, _ = extract(paths[: features.BATCH])

    assert table.kept.tolist() == [features.BATCH, features.BATCH + 1]
    assert nothing.rows.shape == (0, 6)
    assert len(nothing.faults) == features.BATCH


def test_progress_counts_up_to_the_total(image_folder: ImageFolder) -> None:
    """Progress is told after each batch, damaged files included, and ends at (n, n)."""
    paths = draw(image_folder, 70)
    paths[40].write_bytes(b"")

    _, told = extract(paths)

    assert told == [(0, 70), (32, 70), (64, 70), (70, 70)]


def test_no_paths_give_an_empty_table() -> None:
    """Nothing asked for is nothing given, of the usual width."""
    table, _ = extract([])

    assert table.rows.shape == (0, 6)
    assert table.kept.shape == (0,)
    assert table.faults == ()
    assert table.columns(["top"]).shape == (0, 3)


def test_columns_are_picked_by_stage_in_the_order_of_the_names(image_folder: ImageFolder) -> None:
    """The head reads its stages side by side, in the order in which it names them."""
    table, _ = extract(draw(image_folder, 5))

    picked = table.columns(("top", "stem"))[:]

    assert (picked[:, :3] == table.rows[:, 3:6]).all()
    assert (picked[:, 3:] == table.rows[:, 0:1]).all()
    assert (table.columns(("1",), np.array([3, 0]))[:] == table.rows[[3, 0], 1:3]).all()


def test_unknown_stage_is_no_column(image_folder: ImageFolder) -> None:
    """A stage that the layout does not know is an error, not an empty selection."""
    table, _ = extract(draw(image_folder, 2))

    with pytest.raises(KeyError, match="9"):
        table.columns(("top", "9"))
