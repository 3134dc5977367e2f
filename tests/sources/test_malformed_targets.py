"""Promises: a table of labels or numbers is read, or refused with row, column and value."""

from __future__ import annotations

import csv
import io
import math
import random
import re
import time
from pathlib import Path

import pytest
from malformed_tables import PICTURES, Malformed, malformed
from PIL import Image

from finetune.records.dataset import Dataset
from finetune.records.errors import DataError, FinetuneError, UsageError
from finetune.sources import readers

MOST_SECONDS = 2.0
LONG = f"path,label\n0.png,1.5\n1.png,2.5\n2.png,{'9' * 400}.5\n3.png,3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures, and a folder that is none."""
    root = tmp_path_factory.mktemp("malformed")
    for i in range(PICTURES):
        Image.new("RGB", (9, 9 + i), (20 * i, 0, 90)).save(root / f"{i}.png")
    (root / "sub").mkdir()
    return root


def require_whole(found: Dataset, given: Malformed) -> None:
    """What was read can be learned from: finite values, a stratum for each, pictures that open."""
    assert found.pool or found.test or found.val
    root = readers.root_of(str(given.file), given.columns)
    for sample in (*found.pool, *(found.val or ()), *(found.test or ())):
        assert 0 <= sample.label < len(found.classes)
        assert (root / sample.path).is_file()
        if found.target is not None:
            assert len(sample.values) == len(found.target.names)
            assert all(map(math.isfinite, sample.values))
            assert found.target.kind == "number" or {*sample.values} <= {0.0, 1.0}
    assert all(f.title and f.hint for f in found.findings)


def require_told(fault: FinetuneError, given: Malformed) -> None:
    """One line that says which table, which cell where one is wrong, and what to try."""
    assert fault.hint
    assert fault.message.isprintable()
    assert len(fault.message) < 1000
    assert str(given.file) in fault.message or "column" in fault.message
    if " is no number" in fault.message or "is a label that no" in fault.message:
        assert re.search(r"row \d+, column '", fault.message)
        assert re.search(r": '[^']*", fault.message)


@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.slow)])
def test_malformed_tables_are_read_or_refused(folder: Path, count: int) -> None:
    """Odd cells, shapes, types, encodings and bytes: no traceback, no endless work."""
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    read, refused = 0, 0
    for number in range(count):
        given = malformed(folder, random.Random(number))
        began = time.perf_counter()
        try:
            found = readers.read(str(given.file), target=given.target, columns=given.columns)
            require_whole(found, given)
            read += 1
        except (DataError, UsageError) as fault:
            require_told(fault, given)
            refused += 1
        assert time.perf_counter() - began < MOST_SECONDS, number
    assert read > count / 8
    assert refused > count / 8


def written(folder: Path, name: str, content: str | bytes) -> str:
    """A table beside the pictures."""
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    return str(folder / name)


def values(given: str) -> list[tuple[str, tuple[float, ...]]]:
    found = readers.read(given, target="labels")
    assert found.target is not None
    assert found.target.names == ("cat", "dog")
    return sorted((s.path, s.values) for s in found.pool)


@pytest.mark.parametrize(
    ("one", "two", "none"),
    [
        ("['cat', 'dog']", "['dog']", "[]"),
        ('["cat", "dog"]', '["dog"]', ""),
        ("[cat,dog]", "[dog]", ""),
    ],
)
def test_lists_in_cells_are_labels(folder: Path, one: str, two: str, none: str) -> None:
    """As pandas and JSON write them into a CSV; one that is broken is named by row and cell."""
    out = io.StringIO()
    cells = [one, two, none, "['cat']"] * 3
    csv.writer(out).writerows([("path", "label"), *((f"{i}.png", c) for i, c in enumerate(cells))])
    plain = "path,label\n" + "".join(
        f"{i}.png,{c}\n" for i, c in enumerate(["cat;dog", "dog", "", "cat"] * 3)
    )

    assert values(written(folder, "lists.csv", out.getvalue())) == values(
        written(folder, "plain.csv", plain)
    )
    broken = out.getvalue().replace("['cat']", "['cat' 'dog']", 1)
    with pytest.raises(DataError, match=r"row 5, column 'label': \['cat' 'dog'\] is no list"):
        values(written(folder, "broken.csv", broken))


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_tables_of_wide_letters_are_read(folder: Path, coding: str) -> None:
    """What spreadsheets write as Unicode, with a mark in front or without."""
    text = "path,label\n" + "".join(f"{i}.png,{i / 4}\n" for i in range(PICTURES))

    found = readers.read(written(folder, "wide.csv", text.encode(coding)))

    assert found.target is not None
    assert found.target.kind == "number"
    assert len(found.pool) == PICTURES


@pytest.mark.parametrize(
    ("name", "content", "columns", "told"),
    [
        ("a.jsonl", '{"path": "0.png", "label": {"a": 1}}', (), r"row 1, column 'label': \{"),
        ("b.jsonl", '{"path": "0.png", "label": [["a"]]}', (), r"row 1, column 'label': \[\["),
        ("c.csv", "path,x,y\n0.png,1.5,2\n1.png,2.5,much", ("x", "y"), "row 3, column 'y': 'much'"),
        ("d.csv", "path,label\n0.png,1", ("label", "Label"), "names 'label' twice"),
        (
            "e.csv",
            "path,label\n0.png,1.5\n1.png,1.5",
            (),
            "e.csv: all 2 images have the same label, 1.5",
        ),
        ("f.csv", "path,label\n0.png,a;b\n1.png,c;d", (), r"f.csv: no label to learn in 2"),
        (
            "g.csv",
            "path,label,split\n0.png,a,train\n1.png,b,train\n2.png,fox,test",
            (),
            r"not known: fox \(the first in row 4, column 'label'\)",
        ),
        ("h.csv", LONG, (), r"row 4, column 'label': '9{59}…' is no number"),
    ],
)
def test_faults_name_the_place_and_the_value(
    folder: Path, name: str, content: str, columns: tuple[str, ...], told: str
) -> None:
    """Nested values, columns asked for twice, and lists of which nothing can be learned."""
    with pytest.raises((DataError, UsageError), match=told) as caught:
        readers.read(
            written(folder, name, content),
            columns=columns,
            target="number" if name in ("e.csv", "h.csv") else "auto",
        )

    assert len(caught.value.message) < 500


def test_a_parquet_of_many_small_groups_is_read_in_one_pass(tmp_path: Path) -> None:
    """Each group of rows is decoded once, whatever the order of what is learned."""
    pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    Image.new("RGB", (9, 9)).save(tmp_path / "0.png")
    content = (tmp_path / "0.png").read_bytes()
    images = [{"bytes": content + bytes([i]), "path": f"{i}.png"} for i in range(60)]
    table = pa.table({"image": images, "label": [(i * 7) % 60 / 4 for i in range(60)]})
    parquet.write_table(table, tmp_path / "all.parquet", row_group_size=4)
    read: list[int] = []

    with pytest.MonkeyPatch.context() as patch:
        whole = parquet.ParquetFile.read_row_group

        def counted(self: object, number: int, **options: object) -> object:
            read.append(number)
            return whole(self, number, **options)

        patch.setattr(parquet.ParquetFile, "read_row_group", counted)
        found = readers.read(str(tmp_path / "all.parquet"))

    assert len(found.pool) == 60
    assert read == [*range(15)]
