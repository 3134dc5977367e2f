"""Promises of feature parts: many write at once, what is found is what was written, or nothing."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from finetune.storage import cache_usage, feature_cache, feature_parts
from finetune.storage.feature_parts import Parts

WIDTH = 5


def digests(*numbers: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in numbers]


def rows_of(*numbers: int) -> np.ndarray:
    """Rows that tell which image they are of; a negative zero and a subnormal among them."""
    rows = np.full((len(numbers), WIDTH), np.float32(1e-42))
    rows[:, 0], rows[:, 1] = numbers, -0.0
    return rows


def write(place: Path, *numbers: int, engine: str = "e") -> Path:
    return feature_parts.write(place, engine, digests(*numbers), rows_of(*numbers))[0]


def found(place: Path, *numbers: int, engine: str = "e", width: int = WIDTH) -> dict[int, bytes]:
    parts = Parts(place, engine)
    return {numbers[i]: row.tobytes() for i, row in parts.find(digests(*numbers), width)}


def expected(*numbers: int) -> dict[int, bytes]:
    return {n: rows_of(n).tobytes() for n in numbers}


def test_rows_are_found_to_the_bit_by_image_and_engine(tmp_path: Path) -> None:
    """Of several files, in any order; of another engine or width nothing."""
    write(tmp_path, *range(10))
    write(tmp_path, *range(10, 13))

    assert found(tmp_path, 12, 99, 3, 4) == expected(12, 3, 4)
    assert found(tmp_path, 3, engine="other") == {}
    assert found(tmp_path, 3, width=WIDTH + 1) == {}
    assert found(tmp_path) == {}


def test_many_that_write_at_once_do_not_collide(tmp_path: Path) -> None:
    """The same part by eight writers and others beside it: each is there once, and whole."""
    jobs = [range(20)] * 8 + [range(20 * k, 20 * k + 20) for k in range(1, 9)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda numbers: write(tmp_path, *numbers), jobs))

    assert len(feature_parts.files(tmp_path)) == 9
    assert found(tmp_path, *range(180)) == expected(*range(180))
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith(feature_parts.DRAFT)]


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "row", "digest", "count"])
def test_what_is_damaged_is_not_found(tmp_path: Path, damage: str) -> None:
    """A file that is cut or no part holds nothing; a changed row or digest is not believed."""
    file = write(tmp_path, 1, 2)
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[-1]
    elif damage == "row":
        content[-1] ^= 1
    elif damage == "digest":
        content[feature_parts._HEAD + 33] ^= 1
    elif damage == "count":
        content[24] = 200
    file.write_bytes({"empty": b"", "other": b"x" * 100}.get(damage, bytes(content)))

    there = found(tmp_path, 1, 2)

    assert there == (expected(1) if damage in ("row", "digest") else {})


def test_the_cache_finds_tells_and_empties_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Features.find` gives what was computed beforehand, beside what an earlier run has left."""
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    write(tmp_path, 1, 2)
    store = feature_cache.Features(pytest.fail)
    store.keep("e", digests(3), rows_of(3))

    rows = {i: row.tobytes() for i, row in store.find("e", digests(1, 3, 4), WIDTH)}
    store.close()

    assert rows == {0: rows_of(1).tobytes(), 1: rows_of(3).tobytes()}
    assert (cache_usage.usage().parts, cache_usage.usage().part_bytes > 100) == (1, True)
    cache_usage.clear()
    assert (cache_usage.usage().parts, feature_parts.files(tmp_path)) == (0, [])
