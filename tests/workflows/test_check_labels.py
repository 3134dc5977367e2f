"""Promises of `check --labels`: suspects in the answer and in files, nothing relabelled."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ImageFolder, Outcome
from examples import LABELS

from finetune.records.codec import from_json, to_json
from finetune.records.labels import LabelIssues
from finetune.records.run import RunResult

CLASSES = {"ash": 14, "oak": 14, "yew": 14}


@pytest.fixture
def mislaid(image_folder: ImageFolder) -> Path:
    """Three classes that differ in shape and color; one picture lies in the folder of another."""
    root = image_folder(CLASSES)
    shutil.move(root / "ash/0003.png", root / "oak/moved one.png")
    return root


def test_a_mislaid_picture_leads_the_list(
    run_cli: Callable[..., Outcome], mislaid: Path, tmp_path: Path
) -> None:
    """JSON, CSV and Label Studio's tasks name it with its label and what it should be."""
    table, tasks = tmp_path / "suspects.csv", tmp_path / "tasks.json"
    before = sorted(mislaid.rglob("*"))

    done = run_cli("check", mislaid, "--labels", "--json", "--csv", table, "--label-studio", tasks)

    assert done.code == 0, done.err
    found = json.loads(done.out)["labels"]
    worst = found["suspects"][0]
    assert (worst["path"], worst["given"], worst["suggested"]) == (
        "oak/moved one.png",
        "oak",
        "ash",
    )
    assert found["images"] == 42
    assert found["found"] == len(found["suspects"])
    assert found["text"].startswith(f"{found['found']} of 42")
    assert all(name.startswith("ash/") for name in worst["neighbors"])
    (row, *_) = csv.DictReader(table.read_text().splitlines())
    assert (row["path"], row["given"], row["suggested"]) == ("oak/moved one.png", "oak", "ash")
    (task, *_) = json.loads(tasks.read_text())
    assert task["data"]["image"] == "/data/local-files/?d=oak/moved%20one.png"
    (prediction,) = task["predictions"]
    assert prediction["result"][0]["value"] == {"choices": ["ash"]}
    assert prediction["score"] == pytest.approx(worst["suggested_probability"])
    assert sorted(mislaid.rglob("*")) == before


def test_the_answer_begins_with_the_number_of_suspects(
    run_cli: Callable[..., Outcome], mislaid: Path
) -> None:
    """Without a file the answer says how many, the worst, and how to get all of them."""
    done = run_cli("check", mislaid, "--labels")

    first, *rest = done.out.splitlines()
    assert " of 42 label" in first
    assert "oak/moved one.png" in "".join(rest)
    assert "--labels --csv suspects.csv" in done.out


@pytest.mark.parametrize("flag", ["--csv", "--label-studio", "--backbone", "--device"])
def test_options_of_labels_are_refused_without_them(
    run_cli: Callable[..., Outcome], tmp_path: Path, flag: str
) -> None:
    """An option that would have no effect is named."""
    done = run_cli("check", tmp_path, flag, "x")

    assert done.code == 2
    assert f"{flag} has no effect on check without --labels" in done.err


def test_nothing_is_written_among_the_images(
    run_cli: Callable[..., Outcome], mislaid: Path
) -> None:
    """A file in the folder of images is refused before any work."""
    done = run_cli("check", mislaid, "--labels", "--label-studio", mislaid / "tasks.json")

    assert done.code == 2
    assert "nothing is written there" in done.err


def test_a_run_keeps_its_suspect_labels(leaves_run: tuple[RunResult, Path]) -> None:
    """The result of a training has what `find` gives, of the images that are not test."""
    labels = leaves_run[0].labels

    assert labels is not None
    assert labels.images == leaves_run[0].counts["train"] + leaves_run[0].counts["val"]
    assert labels.found >= len(labels.suspects)
    assert all(s.given_probability < s.suggested_probability for s in labels.suspects)
    assert from_json(to_json(LABELS), LabelIssues) == LABELS
