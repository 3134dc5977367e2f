"""Promises of `sources.targets`: labels as people list them become values and one reason."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from PIL import Image

from finetune.data import examination
from finetune.records.choices import TargetChoice
from finetune.records.dataset import Dataset
from finetune.records.errors import DataError, UsageError
from finetune.records.options import DataOptions
from finetune.sources import readers, targets
from finetune.sources.targets import Row

LABELS = ("cat;dog", "cat", "dog;tree", "", "tree;cat", "cat; dog ;tree", "dog", "tree", "", "cat")
ANGLES = tuple(str(round(1.5 * i * i - 20, 2)) for i in range(10))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten small pictures, each another."""
    root = tmp_path_factory.mktemp("targets")
    for i in range(10):
        Image.new("RGB", (12, 20 + i), (25 * i, 120, 60)).save(root / f"{i}.png")
    return root


def listed(root: Path, head: str, cells: Sequence[str], name: str = "list.csv") -> str:
    """A CSV beside the pictures, with one row for each cell."""
    with (root / name).open("w", newline="") as out:
        rows = [[f"{i}.png", *cell.split("|")] for i, cell in enumerate(cells)]
        csv.writer(out).writerows([["file_name", *head.split("|")], *rows])
    return str(root / name)


def values(found: Dataset) -> dict[str, tuple[float, ...]]:
    return {s.path: s.values for s in found.pool}


def said(found: Dataset) -> dict[str, str]:
    return {f.code: f.title for f in found.findings}


def test_several_labels_in_a_cell_are_labels(pictures: Path) -> None:
    """`;` parts labels, blanks go, an empty cell is none of them, and one line says why."""
    found = readers.read(listed(pictures, "label", LABELS))

    assert found.target is not None
    assert (found.target.kind, found.target.names) == ("labels", ("cat", "dog", "tree"))
    assert "several in one cell, such as 'cat;dog'" in found.target.reason
    assert values(found)["5.png"] == (1.0, 1.0, 1.0)
    assert values(found)["3.png"] == (0.0, 0.0, 0.0)
    assert said(found)["FT163"].startswith("2 image(s) have no label")
    assert found.classes == ("(none)", "cat", "dog", "tree")
    stratum = {s.path: found.classes[s.label] for s in found.pool}
    # dog and tree have four images each, cat five: the rarest, by name where equal
    assert (stratum["0.png"], stratum["2.png"], stratum["4.png"]) == ("dog", "dog", "tree")


def test_numbers_with_fractions_are_numbers(pictures: Path) -> None:
    """They are read as they stand, and divided by ranges that follow each other."""
    found = readers.read(listed(pictures, "angle", ANGLES))

    assert found.target is not None
    assert (found.target.kind, found.target.names) == ("number", ("angle",))
    assert "fractions" in found.target.reason
    assert values(found) == {f"{i}.png": (float(a),) for i, a in enumerate(ANGLES)}
    assert found.classes == ("-20 to -14", "-6.5 to 17.5", "34 to 101.5")
    assert [s.label for s in found.pool] == sorted(s.label for s in found.pool)


@pytest.mark.parametrize(
    ("head", "cells", "kind"),
    [
        ("label", ["3", "7", "3", "7", "3", "7", "1", "1", "3", "7"], None),
        ("label", [str(i) for i in range(10)], "number"),
        ("labels", ["cat", "dog"] * 5, None),
        ("label", ["cat;", "dog;"] * 5, None),
        ("label", ["1.5", "2.5"] * 5, None),
        ("label", ["1,5", "2,5", "3,25"] * 3 + ["4"], "number"),
        ("label", ["1,500", "2,500", "3,250"] * 3 + ["1,500"], None),
        ("label", ["1.5", "nan", "3"] * 3 + ["1"], None),
    ],
)
def test_what_is_learned_is_told_by_the_cells(
    pictures: Path, head: str, cells: list[str], kind: str | None
) -> None:
    """Whole numbers of which each has images are classes; few of each, or fractions, are not."""
    found = readers.read(listed(pictures, head, cells))

    assert (found.target.kind if found.target else None) == kind


@pytest.mark.parametrize("target", ["classes", "labels", "number"])
def test_what_was_asked_for_goes_before_the_cells(pictures: Path, target: TargetChoice) -> None:
    """--target takes the same ten different numbers as it says."""
    given = listed(pictures, "label", [str(i // 2) for i in range(10)])

    found = readers.read(given, target=target)

    assert (found.target.kind if found.target else "classes") == target
    assert len(found.target.names if found.target else found.classes) == (
        1 if target == "number" else 5
    )


def test_rows_of_one_picture_are_joined_where_labels_are_asked_for(pictures: Path) -> None:
    """A row for each label is a common way to list them; unasked, two labels are a fault."""
    given = Path(listed(pictures, "label", ["cat", "dog"] * 5))
    given.write_text(given.read_text() + "0.png,dog\n")

    found = readers.read(str(given), target="labels")

    assert values(found)["0.png"] == (1.0, 1.0)
    assert "FT160" in said(readers.read(str(given)))


@pytest.mark.parametrize(
    ("head", "cells", "columns", "kind"),
    [
        ("x|y", [f"{i}|{i * i}" for i in range(10)], ("x", "Y"), "number"),
        ("cat|dog", ["1|0", "0|1", "1|1", "0|0", "true|no"] * 2, ("cat", "dog"), "labels"),
    ],
)
def test_several_columns_are_numbers_or_marks(
    pictures: Path, head: str, cells: list[str], columns: tuple[str, ...], kind: str
) -> None:
    """--label-column with several: a 0 or 1 in all are labels, else each column is a number."""
    found = readers.read(listed(pictures, head, cells), columns=columns)

    assert found.target is not None
    assert (found.target.kind, found.target.names) == (kind, tuple(head.split("|")))
    assert values(found)["2.png"] == ((2.0, 4.0) if kind == "number" else (1.0, 1.0))


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["1.5"] * 9 + ["much"], r"row 11, column 'size': 'much' is no number"),
        (["1.5"] * 9 + ["nan"], r"row 11, column 'size': 'nan' is no number"),
        (["1.5"] * 9 + ["1e40"], r"row 11, column 'size': '1e40' is no number"),
        (["1.5"] * 9 + ["1,5"], r"row 11, column 'size': '1,5' is no number"),
        (["1.5;2"] * 10, r"row 2, column 'size': 2 numbers, and 1 are wanted"),
        (["1.5"] * 10, "all 10 images have the same size, 1.5"),
        ([f"170000000000{i}" for i in range(10)], r"list.csv: size is about 1.7e\+12 and its"),
        ([f"{i}e-20" for i in range(10)], "the largest size is 9e-20: such numbers are lost"),
    ],
)
def test_faults_of_numbers_name_row_and_column(pictures: Path, cells: list[str], told: str) -> None:
    """What is no finite number is refused where it stands, with one thing to try."""
    with pytest.raises(DataError, match=told) as caught:
        readers.read(listed(pictures, "size", cells), target="number")

    assert caught.value.hint


def test_labels_that_cannot_be_learned_are_left_out(pictures: Path) -> None:
    """One image is too few, and what every image has tells nothing: both are named."""
    cells = ["all;cat", "all;dog", "all;cat", "all;dog", "all;once"] * 1 + ["all;cat"] * 5
    found = readers.read(listed(pictures, "label", cells))

    assert found.target is not None
    assert found.target.names == ("cat", "dog")
    assert said(found)["FT161"] == "1 label(s) of a single image left out: once"
    assert said(found)["FT162"] == "1 label(s) that every image has left out: all"
    with pytest.raises(DataError, match="no label to learn"):
        readers.read(listed(pictures, "label", [f"a{i};b{i}" for i in range(10)]))


def test_a_label_only_the_test_has_is_a_fault(pictures: Path) -> None:
    """Nobody could have learned it; the message names its row."""
    cells = ["cat;dog|train", "cat|train", "dog|train"] * 3 + ["fox|test"]

    with pytest.raises(DataError, match="row 11, column 'label': 'fox' is a label that no"):
        readers.read(listed(pictures, "label|split", cells))


def test_a_column_that_is_not_there_is_named(pictures: Path) -> None:
    """--label-column names the columns there are, and is refused where there are none."""
    with pytest.raises(DataError, match="no column 'weight'; its columns are 'file_name', 'size'"):
        readers.read(listed(pictures, "size", ANGLES), columns=("weight",))
    folder = pictures / "classes"
    for name in "ab":
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(folder / name / "1.png")
    with pytest.raises(UsageError, match="--label-column is for tables"):
        readers.read(str(folder), columns=("weight",))


def test_folders_called_by_numbers_are_numbers_where_asked(tmp_path: Path) -> None:
    """Class folders stay classes unasked; --target number reads their names."""
    for i in range(8):
        (tmp_path / str(i // 2 * 10)).mkdir(exist_ok=True)
        Image.new("RGB", (9, 9 + i)).save(tmp_path / str(i // 2 * 10) / f"{i}.png")

    found = readers.read(str(tmp_path), target="number")

    assert readers.read(str(tmp_path)).target is None
    assert {s.values for s in found.pool} == {(0.0,), (10.0,), (20.0,), (30.0,)}
    assert found.classes == ("0", "10", "20 to 30")
    (tmp_path / "many").mkdir()
    Image.new("RGB", (9, 40)).save(tmp_path / "many" / "9.png")
    with pytest.raises(DataError, match=r"class 'many'.*: 'many' is no number"):
        readers.read(str(tmp_path), target="number")


def _as_jsonl(root: Path) -> str:
    rows = [
        {"file_name": f"{i}.png", "labels": [p.strip() for p in c.split(";") if p]}
        for i, c in enumerate(LABELS)
    ]
    (root / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(root / "rows.jsonl")


def _as_coco(root: Path) -> str:
    names = ["cat", "dog", "tree"]
    told = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(10)],
        "annotations": [
            {"image_id": i, "category_id": n}
            for i, c in enumerate(LABELS)
            for n, name in enumerate(names)
            if name in c
        ],
        "categories": [{"id": i, "name": n} for i, n in enumerate(names)],
    }
    (root / "coco.json").write_text(json.dumps(told))
    return str(root / "coco.json")


def _as_shard(root: Path) -> str:
    with tarfile.open(root / "shard.tar", "w") as out:
        for i, cell in enumerate(LABELS):
            out.add(root / f"{i}.png", f"{i}.png")
            text = json.dumps({"label": [p.strip() for p in cell.split(";") if p]}).encode()
            info = tarfile.TarInfo(f"{i}.json")
            info.size = len(text)
            out.addfile(info, io.BytesIO(text))
    return str(root / "shard.tar")


def _as_parquet(root: Path) -> str:
    pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    cells = [[p.strip() for p in c.split(";") if p] for c in LABELS]
    images = [{"bytes": (root / f"{i}.png").read_bytes(), "path": f"{i}.png"} for i in range(10)]
    parquet.write_table(pa.table({"image": images, "labels": cells}), root / "all.parquet")
    return str(root / "all.parquet")


def _as_parquet_of_paths(root: Path) -> str:
    pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    cells = [[p.strip() for p in c.split(";") if p] for c in LABELS]
    paths = [f"{i}.png" for i in range(10)]
    parquet.write_table(pa.table({"file_name": paths, "labels": cells}), root / "paths.parquet")
    return str(root / "paths.parquet")


@pytest.mark.parametrize("way", [_as_jsonl, _as_coco, _as_shard, _as_parquet, _as_parquet_of_paths])
def test_lists_of_labels_are_the_same_in_every_format(pictures: Path, way: object) -> None:
    """JSON lines, COCO, shards and Parquet give the values and the split that a CSV gives."""
    given = way(pictures)  # type: ignore[operator]

    found, table = readers.read(given), readers.read(listed(pictures, "label", LABELS))

    assert found.target is not None
    assert table.target is not None
    assert found.target.names == table.target.names
    assert [(s.values, s.label, s.digest) for s in found.pool] == [
        (s.values, s.label, s.digest) for s in table.pool
    ]


@pytest.mark.parametrize(("head", "cells"), [("label", LABELS), ("angle", ANGLES)])
def test_checks_say_nothing_of_classes_that_are_none(
    pictures: Path, head: str, cells: Sequence[str]
) -> None:
    """Ranges and rarest labels only divide images: what is about classes does not apply."""
    given = listed(pictures, head, cells)

    found = examination.examine(DataOptions(root=given), 0, lambda *_: None)

    status = {c.code: c.status for c in found.checks}
    assert all(status[c] == "not-applicable" for c in ("FT131", "FT132", "FT133", "FT137"))
    assert status["FT164"] == "note"
    assert not any("class" in c.text for c in found.checks if c.alarming)
    parts = (found.splits.train, found.splits.val, found.splits.test)
    assert sum(map(len, parts)) == 10
    assert all(s.values for part in parts for s in part)


def test_copies_with_other_values_are_told(pictures: Path, tmp_path: Path) -> None:
    """The same picture with two angles teaches noise, though it is in one range."""
    for i in range(10):
        source = "0" if i == 1 else str(i)
        (tmp_path / f"{i}.png").write_bytes((pictures / f"{source}.png").read_bytes())
    given = listed(tmp_path, "angle", ["1.5", "1.75", *ANGLES[2:]])

    found = examination.examine(DataOptions(root=given), 0, lambda *_: None)

    told = {c.code: c.text for c in found.checks}
    assert told["FT111"] == "1 image(s) are labelled differently"


def test_known_classes_are_read_from_the_column_that_is_named(pictures: Path) -> None:
    """What `evaluate` measures on comes from --label-column, too."""
    given = Path(listed(pictures, "label|kind", ["x|a", "y|b"] * 5))

    found = readers.read_labelled(given, ("a", "b"), columns=("kind",))

    assert [s.label for s in found.pool] == [0] * 5 + [1] * 5


@hypothesis.given(st.lists(st.text(max_size=8), min_size=1, max_size=12))
def test_no_cell_makes_a_traceback(cells: list[str]) -> None:
    """Whatever stands in cells is read, or refused with a message."""
    rows = [Row(f"{i}.png", cell, True, f"row {i}") for i, cell in enumerate(cells)]
    targets.told("auto", (), cells)
    for kind in ("labels", "number"):
        try:
            found = targets.learn(kind, "asked", (), rows)
        except DataError:
            continue
        assert all(len(v) == len(found.target.names) for v in found.values.values())
        assert {*found.stratum.values()} <= {*range(len(found.strata))}
