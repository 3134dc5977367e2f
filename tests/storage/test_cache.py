"""Promises of the cache: what is found is what was kept, and a bad cache is no fault."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.records.errors import CacheError, UsageError
from finetune.storage import cache_place, cache_usage, feature_cache, model_cache

WIDTH = 300
MB = 1_000_000


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FINETUNE_CACHE_GB", raising=False)
    return tmp_path / "cache"


def digest(i: int) -> str:
    return hashlib.sha256(str(i).encode()).hexdigest()


def features(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Digests and rows float32[count, WIDTH] with odd values in them."""
    rows = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    rows[:, 0] = -0.0
    return [digest(1000 * seed + i) for i in range(count)], rows


def keep(engine: str, images: list[str], rows: np.ndarray) -> list[str]:
    """Keep rows as one run does; the notes."""
    notes: list[str] = []
    store = feature_cache.Features(notes.append)
    store.keep(engine, images, rows)
    store.close()
    return notes


def find(engine: str, images: list[str], width: int = WIDTH) -> tuple[dict[str, np.ndarray], list]:
    """What a later run finds, and the notes."""
    notes: list[str] = []
    store = feature_cache.Features(notes.append)
    found = {images[i]: row for i, row in store.find(engine, images, width)}
    store.close()
    return found, notes


def database(place: Path) -> sqlite3.Connection:
    return sqlite3.connect(place / cache_place.FEATURES)


# --- features -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, feature_cache.CHUNK, 2 * feature_cache.CHUNK + 3])
def test_what_is_found_is_what_was_kept(count: int) -> None:
    """Every row comes back bit by bit under its image, over any number of queries."""
    images, rows = features(count)

    notes = keep("e", images, rows)
    found, more = find("e", [*images, digest(-1)])

    assert notes == more == []
    assert set(found) == set(images)
    assert all(
        found[image].tobytes() == row.tobytes() for image, row in zip(images, rows, strict=True)
    )


def test_another_engine_image_or_width_finds_nothing() -> None:
    """A row is found only for the very engine, image and number of features."""
    images, rows = features(3)
    keep("e", images, rows)

    assert find("f", images)[0] == {}
    assert find("e", [digest(77)])[0] == {}
    assert find("e", images, WIDTH + 1)[0] == {}


def test_a_key_changes_with_its_parts_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another text, another version of the code it depends on, or another Pillow: another key."""
    first = cache_place.key("a", "b", versions=[1])

    assert cache_place.key("a", "b", versions=[1]) == first
    others = [
        cache_place.key("ab", versions=[1]),
        cache_place.key("b", "a", versions=[1]),
        cache_place.key("a", "b", versions=[1, 2]),
        cache_place.key("a", "b", versions=[2]),
        cache_place.key("a", "b"),
    ]
    monkeypatch.setattr("PIL.__version__", "0")
    others.append(cache_place.key("a", "b", versions=[1]))
    assert len({first, *others}) == 7


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE features SET crc = crc + 1",
        "UPDATE features SET crc = 'x'",
        "UPDATE features SET row = zeroblob(length(row))",
        "UPDATE features SET row = 'text'",
        "UPDATE features SET row = 7",
        "UPDATE features SET row = substr(row, 2)",
    ],
)
def test_a_damaged_row_is_not_used_and_kept_anew(place: Path, damage: str) -> None:
    """What does not have its check sum is as good as not there; the next run puts it right."""
    images, rows = features(2)
    keep("e", images, rows)
    with database(place) as base:
        base.execute(f"{damage} WHERE image = ?", (images[0],))
    base.close()

    found, notes = find("e", images)
    keep("e", images[:1], rows[:1])

    assert list(found) == images[1:]
    assert notes == []
    assert find("e", images)[0][images[0]].tobytes() == rows[0].tobytes()


def test_rows_that_changed_places_are_not_used(place: Path) -> None:
    """The check sum is also of whose row it is: another image's does not pass."""
    images, rows = features(2)
    keep("e", images, rows)
    base = database(place)
    with base:
        for image, other in ((images[0], "x"), (images[1], images[0]), ("x", images[1])):
            base.execute("UPDATE features SET image = ? WHERE image = ?", (other, image))
    base.close()

    assert find("e", images)[0] == {}


def fill(place: Path, content: bytes) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / cache_place.FEATURES).write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda place: fill(place, b"this is no database " * 500),
        lambda place: fill(place, b"SQLite format 3\0" + bytes(5000)),
        lambda place: (place / cache_place.FEATURES).mkdir(parents=True),
        lambda place: place.write_text("a file where the folder should be"),
        lambda place: place.symlink_to("/nowhere/at/all"),
    ],
    ids=["text", "zeros", "a folder", "a file", "a dead link"],
)
def test_without_a_usable_database_work_goes_on_with_one_note(
    place: Path, spoil: Callable[[Path], None], request: pytest.FixtureRequest
) -> None:
    """The note names the place and a way out that helps; nothing is found, and nothing fails."""
    damaged = request.node.callspec.id in ("text", "zeros")
    spoil(place)
    images, rows = features(2)
    notes: list[str] = []

    store = feature_cache.Features(notes.append)
    assert list(store.find("e", images, WIDTH)) == []
    store.keep("e", images, rows)
    store.close()

    assert len(notes) == 1
    assert str(place) in notes[0]
    assert ("finetune cache --clear" in notes[0]) == damaged
    assert ("FINETUNE_CACHE names another folder" in notes[0]) != damaged


def test_a_message_that_quotes_damaged_text_is_no_traceback(place: Path) -> None:
    """SQLite's message holds bytes of the file that need not be text (found by flipping bytes)."""
    images, rows = features(2)
    keep("e", images, rows)
    content = (place / cache_place.FEATURES).read_bytes()
    fill(place, content.replace(b"CREATE TABLE features", b"CREATE TABL\xcb features", 1))

    found, notes = find("e", images)

    assert found == {}
    assert len(notes) == 1
    assert cache_usage.usage().images == 0


def test_clearing_mends_a_damaged_database(place: Path) -> None:
    """After what the note says to do, rows are kept again."""
    fill(place, b"no database")
    before = cache_usage.clear()
    images, rows = features(2)

    assert before.feature_bytes == len(b"no database")
    assert keep("e", images, rows) == []
    assert len(find("e", images)[0]) == 2


def test_a_database_damaged_during_a_run_is_left_alone(place: Path) -> None:
    """What breaks between two batches is told once; the run goes on without it."""
    images, rows = features(2)
    notes: list[str] = []
    store = feature_cache.Features(notes.append)
    store.keep("e", images, rows)
    base = database(place)
    base.execute("DROP TABLE features")
    base.commit()
    base.close()

    for _ in range(2):
        store.keep("e", images, rows)
        assert list(store.find("e", images, WIDTH)) == []
    store.close()

    assert len(notes) == 1
    assert "no such table" in notes[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 255)), min_size=1, max_size=20))
def test_no_flipped_byte_gives_a_wrong_row(place: Path, flips: list[tuple[int, int]]) -> None:
    """Whatever bytes of the file change, a row is the one that was kept or is not found."""
    shutil.rmtree(place, ignore_errors=True)
    images, rows = features(30)
    keep("e", images, rows)
    content = bytearray((place / cache_place.FEATURES).read_bytes())
    for position, value in flips:
        content[position % len(content)] = value
    (place / cache_place.FEATURES).write_bytes(content)

    found, _ = find("e", images)
    keep("e", images[:3], rows[:3])
    cache_usage.usage()

    kept = dict(zip(images, rows, strict=True))
    assert all(row.tobytes() == kept[image].tobytes() for image, row in found.items())


def test_the_limit_is_kept_and_the_oldest_go_first(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit rows make room in the order of their last use; the file shrinks."""
    monkeypatch.setenv("FINETUNE_CACHE_GB", "0.001")
    images, rows = features(400)
    keep("e", images, rows)
    base = database(place)
    with base:
        base.execute("UPDATE features SET used = 1000 + id")
        base.execute("UPDATE features SET used = 9000 WHERE image = ?", (images[0],))
    base.close()

    more, others = features(600, seed=1)
    assert keep("e", more, others) == []

    found, _ = find("e", images + more)
    assert images[0] in found
    assert set(more) <= set(found)
    left = [i for i, image in enumerate(images) if image in found][1:]
    assert left == list(range(400 - len(left), 400))
    assert 0.7 * MB < cache_usage.usage().feature_bytes <= MB
    assert (place / cache_place.FEATURES).stat().st_size <= 1.1 * MB


def test_use_is_marked_once_a_day(place: Path) -> None:
    """A row that is found counts as used today; one used lately is not written to."""
    images, rows = features(2)
    keep("e", images, rows)
    now, recent = int(time.time()), int(time.time()) - 100
    base = database(place)
    with base:
        base.execute("UPDATE features SET used = 5 WHERE image = ?", (images[0],))
        base.execute("UPDATE features SET used = ? WHERE image = ?", (recent, images[1]))

    find("e", images)

    used = dict(base.execute("SELECT image, used FROM features").fetchall())
    base.close()
    assert used[images[0]] >= now
    assert used[images[1]] == recent


# --- several processes ----------------------------------------------------------------------------

WRITER = """
import sys
import numpy as np
from finetune.storage import feature_cache
import test_cache
first, count, step = map(int, sys.argv[1:])
notes = []
store = feature_cache.Features(notes.append)
print("ready", flush=True)
for start in range(first, first + count, step):
    images = [test_cache.digest(i) for i in range(start, start + step)]
    rows = np.repeat(np.arange(start, start + step, dtype=np.float32)[:, None], 300, axis=1)
    store.keep("e", images, rows)
    print(start + step, flush=True)
store.close()
assert notes == [], notes
"""


def writer(first: int, count: int, step: int = 8) -> subprocess.Popen[str]:
    """A process that keeps the rows of so many images, whose values are their numbers."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *map(str, (first, count, step))],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_that_write_at_once_lose_nothing() -> None:
    """Rows of both are there, and each is whole."""
    both = [writer(0, 400), writer(400, 400)]

    for process in both:
        process.communicate(timeout=120)

    found, _ = find("e", [digest(i) for i in range(800)])
    assert [p.returncode for p in both] == [0, 0]
    assert len(found) == 800
    assert all((found[digest(i)] == i).all() for i in range(800))


@pytest.mark.parametrize("after", [1, 9, 30])
def test_a_process_killed_while_writing_leaves_a_usable_cache(after: int) -> None:
    """After kill -9 what was kept before is found, each row is whole, and new ones can be kept."""
    process = writer(0, 100_000)
    assert process.stdout is not None
    for _ in range(after + 1):
        kept = process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()

    found, notes = find("e", [digest(i) for i in range(int(kept) + 200)])
    images, rows = features(2, seed=9999)

    assert notes == []
    assert set(found) >= {digest(i) for i in range(int(kept))}
    numbers = {digest(i): i for i in range(int(kept) + 200)}
    assert all((row == numbers[image]).all() for image, row in found.items())
    assert keep("e", images, rows) == []
    assert len(find("e", images)[0]) == 2


# --- where there is none --------------------------------------------------------------------------


def test_off_means_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With FINETUNE_CACHE=off nothing is written, found or told."""
    monkeypatch.setenv("FINETUNE_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    images, rows = features(2)

    assert keep("e", images, rows) == []
    assert find("e", images) == ({}, [])
    model_cache.keep_model(MODEL, lambda _: pytest.fail("written"), pytest.fail)
    assert model_cache.model_folder(MODEL) is None
    assert cache_usage.usage() == cache_usage.clear()
    assert cache_usage.usage().folder is None
    assert list(tmp_path.iterdir()) == []


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run as users that have none; that is no fault."""
    monkeypatch.delenv("FINETUNE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)

    assert cache_place.folder() is None


def test_the_usual_place_is_the_users_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG_CACHE_HOME, or .cache at home."""
    monkeypatch.delenv("FINETUNE_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_place.folder() == tmp_path / ".cache" / "finetune"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_place.folder() == tmp_path / "x" / "finetune"


def fail_with(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_place_that_cannot_be_written_is_told_once(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to write there, work goes on; the note has the place and the reason."""
    monkeypatch.setattr(Path, "mkdir", fail_with(PermissionError(13, "Permission denied")))
    images, rows = features(1)

    (note,) = keep("e", images, rows)

    assert note.startswith(f"features are not cached: {place}: Permission denied; ")
    assert "--clear" not in note


def test_a_cache_that_may_only_be_read_is_read(place: Path) -> None:
    """What is there is found and counted; that nothing is kept is told once."""
    images, rows = features(3)
    keep("e", images[:2], rows[:2])
    # as where nobody may write: SQLite cannot make its own files beside the database
    (place / f"{cache_place.FEATURES}-wal").mkdir()

    found, notes = find("e", images)
    more = keep("e", images[2:], rows[2:])

    assert {image: row.tobytes() for image, row in found.items()} == {
        image: row.tobytes() for image, row in zip(images[:2], rows[:2], strict=True)
    }
    assert (
        notes
        == more
        == [f"features are not cached: {place}: it can only be read; what is there is used"]
    )
    assert find("e", images)[0].keys() == set(images[:2])
    assert cache_usage.usage().images == 2


def test_old_rows_of_a_file_that_may_only_be_read_are_found(place: Path) -> None:
    """That their use cannot be marked is no reason not to use them."""
    images, rows = features(2)
    keep("e", images, rows)
    base = database(place)
    with base:
        base.execute("UPDATE features SET used = 5")
    base.close()
    store = feature_cache.Features(pytest.fail)
    assert store._database is not None
    store._database.execute("PRAGMA query_only = 1")

    assert len(list(store.find("e", images, WIDTH))) == 2
    store.close()


def test_the_folder_may_be_named_from_home(tmp_path: Path, monkeypatch) -> None:
    """A ~ that no shell has replaced is the home; of an unknown user it is a name."""
    monkeypatch.setenv("HOME", str(tmp_path))

    for named, folder in (("~/c", tmp_path / "c"), ("~nobody-of-that-name/c", None)):
        monkeypatch.setenv("FINETUNE_CACHE", named)
        assert cache_place.folder() == (folder or Path(named))


def test_a_disk_with_little_room_is_left_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last half gigabyte is the user's."""
    free = shutil.disk_usage(".")._replace(free=feature_cache.SPARE_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    images, rows = features(1)

    (note,) = keep("e", images, rows)

    assert "less than 500 MB are free" in note
    assert find("e", images)[0] == {}


def test_on_a_disk_with_little_room_what_is_there_is_used(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading takes no room."""
    images, rows = features(2)
    keep("e", images[:1], rows[:1])
    free = shutil.disk_usage(".")._replace(free=feature_cache.SPARE_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)

    keep("e", images[1:], rows[1:])
    found, notes = find("e", images)

    assert set(found) == {images[0]}
    assert len(notes) == 1


def test_a_disk_that_fills_up_is_told_once(place: Path) -> None:
    """SQLite's own fault at a full disk ends the keeping, not the work."""
    notes: list[str] = []
    store = feature_cache.Features(notes.append)
    assert store._database is not None
    store._database.execute("PRAGMA max_page_count = 20")
    images, rows = features(400)

    for start in range(0, 400, 50):
        store.keep("e", images[start : start + 50], rows[start : start + 50])
    store.close()

    assert len(notes) == 1
    assert "full" in notes[0]


@pytest.mark.parametrize("text", ["", "much", "-1", "0", "nan", "inf", "1e9"])
def test_a_limit_that_is_no_size_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """The message has the variable and its value, the hint an example."""
    monkeypatch.setenv("FINETUNE_CACHE_GB", text)

    with pytest.raises(UsageError, match=f"FINETUNE_CACHE_GB is '{text}'") as caught:
        feature_cache.Features(pytest.fail)

    assert "FINETUNE_CACHE_GB=2" in caught.value.hint


# --- converted networks ---------------------------------------------------------------------------

MODEL, OTHER, THIRD = (c * 64 for c in "abc")


def write(size: int) -> Callable[[Path], None]:
    return lambda folder: (folder / "stages.bin").write_bytes(bytes(size)) and None


def test_a_network_is_whole_or_absent(place: Path) -> None:
    """What fails while it is written leaves nothing; what succeeds is there at once."""
    for error in (OSError(28, "No space left on device"), RuntimeError("no\nspace left")):
        notes: list[str] = []
        model_cache.keep_model(MODEL, fail_with(error), notes.append)

        assert len(notes) == 1
        assert "not kept for next time" in notes[0]
        assert "\n" not in notes[0]
        assert str(place / "models" / MODEL) in notes[0]
        assert list((place / "models").iterdir()) == []

    model_cache.keep_model(MODEL, write(10), pytest.fail)

    folder = model_cache.model_folder(MODEL)
    assert folder is not None
    assert [p.name for p in folder.iterdir()] == ["stages.bin"]
    assert model_cache.model_folder(OTHER) is None


def test_an_interruption_passes_and_leaves_nothing(place: Path) -> None:
    """Ctrl-C while a network is written is not swallowed."""

    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model_cache.keep_model(MODEL, interrupt, pytest.fail)

    assert list((place / "models").iterdir()) == []


def test_the_quicker_process_wins_without_a_word(place: Path) -> None:
    """Where another process has kept the same network meanwhile, its folder stays."""

    def slow(folder: Path) -> None:
        (folder / "mine").write_text("")
        model_cache.keep_model(MODEL, write(10), pytest.fail)

    model_cache.keep_model(MODEL, slow, pytest.fail)

    assert [p.name for p in (place / "models").iterdir()] == [MODEL]
    assert (place / "models" / MODEL / "stages.bin").exists()


def test_networks_not_used_for_longest_make_room(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together they stay within the limit; taking one counts as use."""
    monkeypatch.setenv("FINETUNE_CACHE_GB", "0.002")
    for key, days in ((MODEL, 3), (OTHER, 2)):
        model_cache.keep_model(key, write(900_000), pytest.fail)
        os.utime(place / "models" / key, (time.time() - days * feature_cache.DAY_S,) * 2)
    assert model_cache.model_folder(MODEL) is not None

    model_cache.keep_model(THIRD, write(900_000), pytest.fail)

    assert {p.name for p in (place / "models").iterdir()} == {MODEL, THIRD}


def test_a_network_larger_than_the_limit_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not kept, and the note says which setting would let it."""
    monkeypatch.setenv("FINETUNE_CACHE_GB", "0.001")
    notes: list[str] = []

    model_cache.keep_model(MODEL, write(2 * MB), notes.append)

    assert model_cache.model_folder(MODEL) is None
    assert "FINETUNE_CACHE_GB" in notes[0]


def test_half_made_networks_of_killed_processes_are_swept(place: Path) -> None:
    """What is older than a day goes; what another process may be writing stays."""
    old, new = (place / "models" / f".making-{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 2 * feature_cache.DAY_S,) * 2)

    model_cache.keep_model(MODEL, write(10), pytest.fail)

    assert {p.name for p in (place / "models").iterdir()} == {MODEL, new.name}


# --- finetune cache -------------------------------------------------------------------------------


def test_the_command_shows_and_clears(place: Path, run_cli) -> None:
    """Images, bytes and networks are counted; --clear empties it and says what was there."""
    images, rows = features(200)
    keep("e", images, rows)
    keep("f", images[:100], rows[:100])
    model_cache.keep_model(MODEL, write(5 * MB), pytest.fail)

    shown = run_cli("cache")
    told = json.loads(run_cli("cache", "--json").out)
    cleared = run_cli("cache", "--clear")
    after = json.loads(run_cli("cache", "--json").out)

    assert (shown.code, shown.err) == (0, "")
    assert str(place) in shown.out
    assert "200 images" in shown.out
    assert "1 converted network" in shown.out
    assert told["folder"] == str(place)
    assert (told["images"], told["models"], told["model_bytes"]) == (200, 1, 5 * MB)
    assert 300 * 4 * WIDTH < told["feature_bytes"] < 2 * 300 * 4 * WIDTH
    assert told["limit_bytes"] == 2_000_000_000
    assert "emptied" in cleared.out
    assert "it held 5 MB: features of 200 images" in cleared.out
    assert (after["images"], after["feature_bytes"], after["models"]) == (0, 0, 0)
    assert find("e", images)[0] == {}


@pytest.mark.parametrize("option", [[], ["--clear"], ["--json"]])
def test_the_command_makes_no_cache(place: Path, run_cli, option: list[str]) -> None:
    """Where there is none the answer is zero, and nothing is made by asking."""
    done = run_cli("cache", *option)

    assert done.code == 0
    assert not place.exists()


def test_clearing_removes_nothing_but_the_cache(place: Path, run_cli, tmp_path: Path) -> None:
    """A user's own files in the folder stay, whatever they are called."""
    images, rows = features(2)
    keep("e", images, rows)
    model_cache.keep_model(MODEL, write(10), pytest.fail)
    mine = place / "models" / "resnet"
    mine.mkdir()
    (mine / "weights.bin").write_text("mine")
    (place / "notes.txt").write_text("mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (place / "models" / OTHER).symlink_to(outside)

    assert run_cli("cache", "--clear").code == 0

    assert (mine / "weights.bin").read_text() == "mine"
    assert (outside / "file").read_text() == "mine"
    assert not (place / "models" / MODEL).exists()
    assert {p.name for p in place.iterdir()} == {"models", "notes.txt"}


def test_what_cannot_be_cleared_is_a_fault_with_its_path(
    place: Path, run_cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, the folder and a way on."""
    images, rows = features(2)
    keep("e", images, rows)
    monkeypatch.setattr(Path, "unlink", fail_with(PermissionError(13, "Permission denied")))

    done = run_cli("cache", "--clear")

    assert done.code == CacheError.exit_code == 3
    assert str(place) in done.err
    assert "Permission denied" in done.err
    assert "Remove the folder yourself" in done.err


def test_a_bad_limit_is_a_usage_error_of_the_command(
    run_cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 with the value."""
    monkeypatch.setenv("FINETUNE_CACHE_GB", "lots")

    done = run_cli("cache")

    assert done.code == 2
    assert "FINETUNE_CACHE_GB is 'lots'" in done.err


def test_the_command_says_that_it_is_off(run_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """With FINETUNE_CACHE=off there is nothing to show or clear."""
    monkeypatch.setenv("FINETUNE_CACHE", "off")

    for option in ([], ["--clear"]):
        done = run_cli("cache", *option)
        assert (done.code, done.err) == (0, "")
        assert "switched off" in done.out
