"""Promises of `predict` for runs of labels and numbers, on the command line and in Python."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from target_runs import NAMES, target_run

import finetune
from finetune.records.choices import OtherTarget

KINDS: tuple[OtherTarget, ...] = ("labels", "number")
Finetune = Callable[..., Any]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of noise, and a file that is none."""
    root = tmp_path_factory.mktemp("target-pictures")
    rng = np.random.default_rng(5)
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(root / f"{i}.png")
    (root / "bad.png").write_bytes(b"no picture")
    return root


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", [True, False], ids=["fast", "torch"])
def test_predict_gives_labels_or_a_value(
    tmp_path: Path,
    target_runs: dict[str, Path],
    pictures: Path,
    run_cli: Finetune,
    kind: OtherTarget,
    network: bool,
) -> None:
    """`labels` are all with probability and `on`, `value` is the number; `label` stays null."""
    run = target_runs[kind] if network else target_run(tmp_path / "run", kind, network=False)

    done = run_cli("predict", str(pictures / "0.png"), "--run", str(run), "--json")

    assert done.code == 0, done.err
    (answer,) = lines(done.out)
    assert (answer["label"], answer["probability"]) == (None, None)
    logits = finetune.load(run).logits(pictures / "0.png")[0]
    if kind == "labels":
        rows = answer["labels"]
        assert [row["label"] for row in rows] == list(NAMES[kind])
        expected = 1 / (1 + np.exp(-logits))
        assert [row["probability"] for row in rows] == pytest.approx(expected.tolist())
        on = [p >= t for p, t in zip(expected, (0.2, 0.5, 0.9), strict=True)]
        assert [row["on"] for row in rows] == on
        assert answer["value"] is None
    else:
        assert answer["labels"] is None
        assert answer["value"] == pytest.approx(logits[0])
        assert answer["within"] == 7.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_has_a_column_for_each_label_or_number(
    tmp_path: Path,
    target_runs: dict[str, Path],
    pictures: Path,
    run_cli: Finetune,
    kind: OtherTarget,
) -> None:
    """CSV and JSON lines say the same of every picture, and what cannot be read is an error."""
    table, text = tmp_path / "a.csv", tmp_path / "a.jsonl"

    done = run_cli(
        *("predict", str(pictures), "--run", str(target_runs[kind]), "--csv", str(table)),
        *("--jsonl", str(text)),
    )

    assert done.code == 3
    rows, answers = list(csv.DictReader(io.StringIO(table.read_text()))), lines(text.read_text())
    assert [row["path"] for row in rows] == [a["path"] for a in answers]
    assert sum(bool(row["error"]) for row in rows) == 1
    for row, answer in zip(rows, answers, strict=True):
        if answer.get("error"):
            continue
        if kind == "labels":
            on = [r["label"] for r in answer["labels"] if r["on"]]
            assert row["labels"] == ";".join(on)
            for entry in answer["labels"]:
                assert float(row[entry["label"]]) == entry["probability"]
        else:
            assert float(row["value"]) == answer["value"]


def test_parquet_has_the_same_columns(
    tmp_path: Path, target_runs: dict[str, Path], pictures: Path, run_cli: Finetune
) -> None:
    """A list of labels, and a column of numbers for each label."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    file = tmp_path / "a.parquet"

    run_cli(
        "predict",
        str(pictures / "1.png"),
        "--run",
        str(target_runs["labels"]),
        "--parquet",
        str(file),
    )

    (row,) = parquet.read_table(file).to_pylist()
    assert list(row) == ["path", "labels", *NAMES["labels"], "error"]
    assert row["labels"] == [
        n for n, t in zip(NAMES["labels"], (0.2, 0.5, 0.9), strict=True) if row[n] >= t
    ]


def test_several_numbers_are_told_by_name(tmp_path: Path, pictures: Path) -> None:
    """`values` has each, `value` is the first."""
    run = target_run(tmp_path / "run", "number", names=("x", "y"))

    (answer,) = finetune.load(run).predict(pictures / "2.png")

    assert answer.values is not None
    assert list(answer.values) == ["x", "y"]
    assert answer.value == answer.values["x"]
    assert answer.told.startswith("x ")


@pytest.mark.parametrize(
    "option",
    [
        ("--sort-into", "sorted"),
        ("--min-confidence", "0.9"),
        ("--target-error", "0.05"),
        ("--coverage", "0.9"),
    ],
)
def test_what_is_about_one_label_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target_runs: dict[str, Path],
    pictures: Path,
    run_cli: Finetune,
    option: tuple[str, str],
) -> None:
    """With the reason, before a picture is read, and nothing is written."""
    monkeypatch.chdir(tmp_path)

    done = run_cli("predict", str(pictures / "0.png"), "--run", str(target_runs["labels"]), *option)

    assert done.code == 2
    assert "is for runs of classes" in done.err.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


def test_resume_knows_the_answers_again(
    tmp_path: Path, target_runs: dict[str, Path], pictures: Path, run_cli: Finetune
) -> None:
    """The same run goes on with its own file, and refuses another's."""
    file = tmp_path / "a.jsonl"
    asked = ("predict", str(pictures / "0.png"), "--jsonl", str(file))
    assert run_cli(*asked, "--run", str(target_runs["number"])).code == 0

    assert run_cli(*asked, "--run", str(target_runs["number"]), "--resume").code == 0
    other = run_cli(*asked, "--run", str(target_runs["labels"]), "--resume")

    assert other.code != 0
    assert "another run" in other.err.replace("\n", " ")
