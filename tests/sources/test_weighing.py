"""A column of weights: read, said, refused with row and column, and learned by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import train
from PIL import Image

from finetune.records.errors import DataError
from finetune.records.file_names import MODEL
from finetune.runs import run_folder
from finetune.sources import readers
from finetune.storage import atomic_files

COUNT = 16


def table(root: Path, weights: list[str], header: str = "file_name,label,weight") -> Path:
    """Pictures of noise of two classes, each with its weight."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = [header]
    for i, weight in enumerate(weights):
        picture = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        picture[:, :, i % 2] //= 2
        Image.fromarray(picture).save(root / f"{i}.png")
        lines.append(f"{i}.png,{'ab'[i % 2]},{weight}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root / "labels.csv"


def test_weights_are_read_and_said(tmp_path: Path) -> None:
    """An empty cell is 1; the one line on how a table is read names the column."""
    found = readers.read(str(table(tmp_path / "data", ["2", "", "0.5", "0"])))

    assert {s.path: s.weight for s in found.pool} == {
        "0.png": 2.0,
        "1.png": 1.0,
        "2.png": 0.5,
        "3.png": 0.0,
    }
    (said,) = [f.title for f in found.findings if f.code == "FT150"]
    assert "'weight' how much an image counts in learning" in said
    assert "not used" not in said


@pytest.mark.parametrize("bad", ["-1", "nan", "inf", "much", "1e9"])
def test_what_is_no_weight_is_refused_with_row_and_column(tmp_path: Path, bad: str) -> None:
    """A fault in one cell names it."""
    place = table(tmp_path / "data", ["1", "1", bad, "1"])

    with pytest.raises(DataError, match=rf"row 4, column 'weight': '{bad}' is no weight") as caught:
        readers.read(str(place))

    assert "empty cell is 1" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("weights", "who"), [(["0"] * 4, "all images"), (["0", "1"] * 2, "all images of 'a'")]
)
def test_weights_that_leave_nothing_to_learn_are_refused(
    tmp_path: Path, weights: list[str], who: str
) -> None:
    """All zero, or all of one class."""
    with pytest.raises(DataError, match=f"{who} have a weight of 0"):
        readers.read(str(table(tmp_path / "data", weights)))


def test_a_weight_can_be_what_is_learned(tmp_path: Path) -> None:
    """Named as the label, or the only column beside the pictures, it is no weight."""
    place = table(tmp_path / "data", ["1.5", "2.5", "3.5", "4.25"])

    named = readers.read(str(place), None, "number", ("weight",))
    lines = [",".join(line.split(",")[::2]) for line in place.read_text().splitlines()]
    place.write_text("\n".join(lines))
    alone = readers.read(str(place))

    for found in (named, alone):
        assert found.target is not None
        assert sorted(s.values for s in found.pool) == [(1.5,), (2.5,), (3.5,), (4.25,)]
        assert {s.weight for s in found.pool} == {1.0}


def test_pictures_in_parquet_have_weights_and_groups_too(tmp_path: Path) -> None:
    """The same columns, where the bytes of pictures are in the table."""
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet  # noqa: PLC0415 - an extra

    place = table(tmp_path / "data", ["1"] * 4)
    pictures = [
        {"bytes": (place.parent / f"{i}.png").read_bytes(), "path": f"{i}.png"} for i in range(4)
    ]
    columns = {"image": pictures, "label": ["a", "b"] * 2, "weight": [1.0, 2.0, None, 0.5]}
    parquet.write_table(
        pa.table({**columns, "group": ["x", "x", "y", "z"]}), tmp_path / "all.parquet"
    )

    found = readers.read(str(tmp_path / "all.parquet"))

    assert {s.path: (s.weight, s.group) for s in found.pool} == {
        "0.png": (1.0, "x"),
        "1.png": (2.0, "x"),
        "2.png": (1.0, "y"),
        "3.png": (0.5, "z"),
    }


def test_a_run_learns_by_weights_and_measures_without(tmp_path: Path) -> None:
    """Equal weights are none, to the bit; others give another head; the run keeps them."""
    options = {"strategy": "linear-probe", "backbone": "test_resnet", "weights": "random"}
    runs = {}
    for name, weights in (
        ("none", [""] * COUNT),
        ("equal", ["3"] * COUNT),
        ("other", [str(1 + i % 3) for i in range(COUNT)]),
    ):
        place = table(tmp_path / name / "data", weights)
        runs[name] = train(place, tmp_path / name / "run", **options)

    digests = {n: atomic_files.digest_file(tmp_path / n / "run" / MODEL) for n in runs}
    assert digests["none"] == digests["equal"] != digests["other"]
    kept = run_folder.load_splits(tmp_path / "other" / "run")
    assert {s.weight for s in kept.fitting} == {1.0, 2.0, 3.0}
    assert runs["other"].test is not None
    assert runs["other"].test.n == len(kept.test)
