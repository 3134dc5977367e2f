"""Promises of `evaluate` for runs of labels and numbers."""

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
from target_runs import NAMES

import finetune
from finetune.metrics import labels, numbers
from finetune.records.choices import OtherTarget
from finetune.records.target_result import TargetEvaluation

KINDS: tuple[OtherTarget, ...] = ("labels", "number")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve pictures of noise with a table of labels and one of angles."""
    root = tmp_path_factory.mktemp("target-data")
    rng = np.random.default_rng(5)
    cells = ["cat;dög", "cat", "", "tree", "dög;tree", "cat"] * 2
    rows = []
    for i, cell in enumerate(cells):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(root / f"{i}.png")
        rows.append((f"{i}.png", cell, str(5.5 * i)))
    for name, column in (("labels", 1), ("angle", 2)):
        with (root / f"{name}.csv").open("w", newline="", encoding="utf-8") as out:
            head = ("file_name", "label" if column == 1 else "angle")
            csv.writer(out).writerows([head, *((r[0], r[column]) for r in rows)])
    return root


def test_labels_are_measured_as_they_are_listed(target_runs: dict[str, Path], data: Path) -> None:
    """The figures are those of the predictions, the worst answers come first."""
    found = finetune.evaluate(data / "labels.csv", target_runs["labels"])

    assert isinstance(found, TargetEvaluation)
    rows = list(csv.DictReader(io.StringIO((data / "labels.csv").read_text("utf-8"))))
    answers = finetune.load(target_runs["labels"]).predict(
        [data / row["file_name"] for row in rows]
    )
    likely = np.array([[r.probability for r in a.labels or ()] for a in answers])
    names = NAMES["labels"]
    truth = np.array([[float(n in row["label"]) for n in names] for row in rows])
    expected = labels.measure(likely, truth, names, (0.2, 0.5, 0.9))
    assert found.metrics.map == pytest.approx(expected.map)
    assert found.metrics.exact == expected.exact
    assert [w.loss for w in found.worst] == sorted((w.loss for w in found.worst), reverse=True)
    assert len(found.worst) == 12
    assert "than one answer for all" in found.verdict


def test_numbers_are_measured_against_the_mean_that_was_learned(
    target_runs: dict[str, Path], data: Path
) -> None:
    """The baseline answers the mean of the training images, which is 10 here."""
    found = finetune.evaluate(data / "angle.csv", target_runs["number"])

    assert isinstance(found, TargetEvaluation)
    truth = 5.5 * np.arange(12)[:, None]
    values = np.array(
        [
            [a.value]
            for a in finetune.load(target_runs["number"]).predict(
                [data / f"{i}.png" for i in range(12)]
            )
        ]
    )
    expected = numbers.measure(values, truth, ("angle",), np.array([10.0]))
    assert found.metrics.mae == pytest.approx(expected.mae)
    assert found.metrics.baseline == pytest.approx(np.abs(truth - 10).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_answers_in_words_and_in_json(
    tmp_path: Path,
    target_runs: dict[str, Path],
    data: Path,
    run_cli: Callable[..., Any],
    kind: OtherTarget,
) -> None:
    """`test` figures by their contract's names, and --errors lists the worst answers."""
    table = data / ("labels.csv" if kind == "labels" else "angle.csv")
    asked = ("evaluate", str(table), "--run", str(target_runs[kind]))

    told = json.loads(run_cli(*asked, "--json").out)
    shown = run_cli(*asked, "--verbose", "--errors", str(tmp_path / "worst.csv"))

    wanted = ("map", "micro_f1", "macro_f1") if kind == "labels" else ("r2", "mae", "rmse")
    assert all(told["metrics"][name] is not None for name in wanted)
    assert told["target"] == kind
    assert shown.code == 0, shown.err
    assert all(name in shown.out for name in NAMES[kind])
    assert len((tmp_path / "worst.csv").read_text().splitlines()) == 13


def test_what_the_run_does_not_know_is_refused(
    tmp_path: Path, target_runs: dict[str, Path], data: Path, run_cli: Callable[..., Any]
) -> None:
    """Labels that it never learned are named."""
    table = data / "other.csv"
    table.write_text("file_name,label\n0.png,cat;fox\n1.png,cat\n")

    other = run_cli("evaluate", str(table), "--run", str(target_runs["labels"]))

    assert other.code == 3
    assert "labels that are not known: fox" in other.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("kind", "table", "others", "without"),
    [
        ("labels", "labels.csv", "rotation", "clutter"),
        ("number", "angle.csv", "illumination", "rotation"),
    ],
)
def test_poor_pictures_are_asked_about_too(
    kind: OtherTarget,
    table: str,
    others: str,
    without: str,
    target_runs: dict[str, Path],
    data: Path,
    run_cli: Callable[..., Any],
) -> None:
    """Changes that would change the truth are left out; the fall is that of the same images."""
    words = ("evaluate", str(data / table), "--run", str(target_runs[kind]), "--robustness")

    shown = run_cli(*words)
    told = json.loads(run_cli(*words, "--json").out)

    falls = told["robustness"]
    whole = told["metrics"]["map" if kind == "labels" else "mae"]
    better = 1 if kind == "labels" else -1
    kinds = {f["kind"] for f in falls}
    assert others in kinds
    assert without not in kinds
    assert len(falls) == 3 * len(kinds)
    for f in falls:
        assert f["score"] + better * f["lost"] == pytest.approx(whole, rel=1e-3, abs=1e-3)
        assert f["images"] == 12
        assert f["error"] >= 0
    assert f"{'mAP' if kind == 'labels' else 'MAE'} on 12 images" in shown.out
    assert "what strong is" in shown.out


def test_class_folders_called_by_numbers_are_measured_on(
    tmp_path: Path, target_runs: dict[str, Path]
) -> None:
    """A run of a number reads the names of folders as it would in training."""
    for i in range(6):
        (tmp_path / f"{10 * (i // 2)}").mkdir(exist_ok=True)
        Image.new("RGB", (30, 30), (40 * i, 90, 10)).save(
            tmp_path / f"{10 * (i // 2)}" / f"{i}.png"
        )

    found = finetune.evaluate(tmp_path, target_runs["number"])

    assert isinstance(found, TargetEvaluation)
    assert (found.metrics.n, found.metrics.per_number[0].mean) == (6, 10.0)
