"""Promises of `finetune.backbones.features`: one row per readable image, in order, by stage."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conftest import ImageFolder
from helpers import Recorder

from finetune.backbones import features
from finetune.backbones.inference import Engine, Layout
from finetune.pictures import decoding
from finetune.records.analysis import Reason
from finetune.storage import cache_place, cache_usage

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
    expected = np.concatenate([measure(decoding.decode(p, SIDE)[None]) for p in paths])
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
    expected = np.concatenate([measure(decoding.decode(paths[i], SIDE)[None]) for i in table.kept])
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


# --- features that are known already --------------------------------------------------------------

KEPT = replace(ENGINE, key="stand-in 1")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def digests_of(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def extract_kept(
    paths: list[Path], digests: list[str], engine: Engine = KEPT
) -> tuple[features.Table, Progress]:
    heard = Progress()
    return features.extract(paths, engine, SIDE, heard, digests), heard


def test_known_images_are_not_read_again(image_folder: ImageFolder, own_cache: Path) -> None:
    """The second time the files may be gone: the rows are the same to the bit, nothing is run."""
    paths = draw(image_folder, 40)
    digests = digests_of(paths)
    first, _ = extract_kept(paths, digests)
    for path in paths:
        path.unlink()

    second, heard = extract_kept(paths, digests)

    assert (first.fresh, second.fresh) == (40, 0)
    assert second.rows.tobytes() == first.rows.tobytes()
    assert second.kept.tolist() == list(range(40))
    assert second.faults == ()
    assert heard.told == [(40, 40)]
    assert heard.notes == []


def test_known_and_new_images_stand_in_the_order_asked_for(
    image_folder: ImageFolder, own_cache: Path
) -> None:
    """Rows from the cache and fresh ones mix; each stands where its path does."""
    paths = draw(image_folder, 75)
    digests = digests_of(paths)
    known = [i for i in range(75) if i % 3 == 1]
    extract_kept([paths[i] for i in known], [digests[i] for i in known])
    order = list(range(74, -1, -1))

    table, heard = extract_kept([paths[i] for i in order], [digests[i] for i in order])

    assert table.fresh == 50
    assert table.kept.tolist() == list(range(75))
    expected = np.concatenate([measure(decoding.decode(paths[i], SIDE)[None]) for i in order])
    assert np.allclose(table.rows, expected)
    assert heard.told == [(25, 75), (57, 75), (75, 75)]


def test_damaged_files_among_known_ones_are_named_in_their_places(
    image_folder: ImageFolder, own_cache: Path
) -> None:
    """A fault has its position in the list asked for, is not kept, and comes again."""
    paths = draw(image_folder, 12)
    for i in (0, 7, 11):
        paths[i].write_bytes(b"no picture %d" % i)
    digests = digests_of(paths)
    extract_kept(paths[2:6], digests[2:6])

    for fresh in (8, 3):
        table, _ = extract_kept(paths, digests)

        assert table.fresh == fresh
        assert [i for i, _ in table.faults] == [0, 7, 11]
        assert all(str(paths[i]) in error.message for i, error in table.faults)
        assert table.kept.tolist() == [1, 2, 3, 4, 5, 6, 8, 9, 10]
        expected = [measure(decoding.decode(paths[i], SIDE)[None]) for i in table.kept]
        assert np.allclose(table.rows, np.concatenate(expected))


def test_exact_copies_share_a_row(image_folder: ImageFolder, own_cache: Path) -> None:
    """What counts is the content, whatever a file is called and wherever it lies."""
    paths = draw(image_folder, 3)
    copy = paths[0].with_name("copy.png")
    copy.write_bytes(paths[0].read_bytes())
    extract_kept(paths, digests_of(paths))

    table, _ = extract_kept([copy, *paths], digests_of([copy, *paths]))

    assert table.fresh == 0
    assert (table.rows[0] == table.rows[1]).all()
    assert cache_usage.usage().images == 3


@pytest.mark.parametrize("how", ["no key", "no digests", "another key"])
def test_only_what_surely_is_the_same_is_taken(
    image_folder: ImageFolder, own_cache: Path, how: str
) -> None:
    """Without a key or digests, or with another key, every image is run."""
    paths = draw(image_folder, 3)
    digests = digests_of(paths)
    extract_kept(paths, digests)
    engine = {"no key": ENGINE, "another key": replace(KEPT, key="stand-in 2")}.get(how, KEPT)

    for known in (False, how == "another key"):
        table = features.extract(
            paths, engine, SIDE, Progress(), None if how == "no digests" else digests
        )
        assert table.fresh == (0 if known else 3)


def test_without_a_usable_cache_every_row_is_there(
    image_folder: ImageFolder, own_cache: Path
) -> None:
    """A cache that cannot be used costs a note, and no row."""
    own_cache.write_text("a file where the folder should be")
    paths = draw(image_folder, 40)

    table, heard = extract_kept(paths, digests_of(paths))

    assert table.fresh == len(table.rows) == 40
    assert len(heard.notes) == 1


def test_an_image_changed_since_its_digest_is_not_kept(image_folder: ImageFolder) -> None:
    """What was decoded in its place does not come back as the old picture, for ever."""
    first, second = draw(image_folder, 2)
    engine = replace(ENGINE, key=cache_place.key("changed"))
    old, new = first.read_bytes(), second.read_bytes()
    digests = [hashlib.sha256(old).hexdigest()]
    first.write_bytes(new)
    changed = features.extract([first], engine, SIDE, Recorder(), digests)
    first.write_bytes(old)

    again = features.extract([first], engine, SIDE, Recorder(), digests)
    known = features.extract([first], engine, SIDE, Recorder(), digests)

    assert (changed.fresh, again.fresh, known.fresh) == (1, 1, 0)
    assert np.array_equal(again.rows[:], known.rows[:])
    assert not np.array_equal(again.rows[:], changed.rows[:])
