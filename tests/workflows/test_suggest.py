"""Promises of `suggest`: what is new and in doubt, once, with what was left out named."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ImageFolder, Outcome
from examples import CLASSES, SPLITS
from helpers import Recorder, small_run
from PIL import Image

import finetune
from finetune.deploy import predictor
from finetune.records.codec import to_json
from finetune.records.dataset import Sample
from finetune.records.file_names import SPLITS as SPLITS_FILE
from finetune.records.labels import Suggestions
from finetune.runs import run_folder
from finetune.sources import files


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that answers, of two classes."""
    return small_run(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture
def unlabelled(image_folder: ImageFolder) -> Path:
    """Twenty new images, in folders that mean nothing."""
    return image_folder({"monday": 10, "tuesday": 10})


def test_new_images_are_suggested_once(run: Path, unlabelled: Path) -> None:
    """A copy and a near duplicate are left out, one that cannot be read is named."""
    first = sorted(unlabelled.rglob("*.png"))[0]
    shutil.copy(first, unlabelled / "copy.png")
    with Image.open(first) as image:
        image.point(lambda v: min(255, v + 3)).save(unlabelled / "near.png")
    (unlabelled / "torn.png").write_bytes(b"none")
    before = sorted(unlabelled.rglob("*"))

    found = finetune.suggest(run, unlabelled, count=100)

    paths = [s.path for s in found.suggestions]
    assert len(paths) == len(set(paths)) == 20
    assert len({"monday/0000.png", "copy.png", "near.png"} & set(paths)) == 1
    assert (found.images, found.known, found.copies) == (21, 0, 1)
    assert len(found.unreadable) == 1
    assert "torn.png" in found.unreadable[0]
    assert found.text == (
        "Label these 20 of 21 images next; left out: 1 exact copies, 1 unreadable."
    )
    assert sorted(unlabelled.rglob("*")) == before


def test_answers_are_those_of_predict(run: Path, unlabelled: Path) -> None:
    """Label and probability of a suggestion are what the run says of the file."""
    found = finetune.suggest(run, unlabelled, count=4)

    answers = finetune.load(run).predict([unlabelled / s.path for s in found.suggestions], top=2)

    assert len(found.suggestions) == 4
    for suggestion, answer in zip(found.suggestions, answers, strict=True):
        assert suggestion.label == answer.label
        assert suggestion.probability == pytest.approx(answer.probability, abs=1e-4)
        assert suggestion.margin == pytest.approx(
            answer.top[0].probability - answer.top[1].probability, abs=2e-4
        )


def test_images_of_the_run_are_left_out(tmp_path: Path, run: Path, unlabelled: Path) -> None:
    """What it was trained or tested on is known by its bytes, wherever it lies."""
    learnt = tmp_path / "learnt"
    shutil.copytree(run, learnt)
    some = sorted(unlabelled.rglob("*.png"))[:3]
    known = tuple(Sample(f"ash/{i}.png", 0, files.digest_file(p)) for i, p in enumerate(some))
    splits = replace(SPLITS, train=known[:1], val=known[1:2], test=known[2:])
    (learnt / SPLITS_FILE).write_text(to_json(splits))

    found = finetune.suggest(learnt, unlabelled, count=50)

    assert (found.images, found.known) == (17, 3)
    assert not {p.relative_to(unlabelled).as_posix() for p in some} & {
        s.path for s in found.suggestions
    }


def test_the_command_writes_what_a_person_or_label_studio_reads(
    run_cli: Callable[..., Outcome], run: Path, unlabelled: Path, tmp_path: Path
) -> None:
    """The answer first, the same images as JSON, CSV and tasks."""
    table, tasks = tmp_path / "next.csv", tmp_path / "next.json"

    plain = run_cli("suggest", run, unlabelled, "--count", 3)
    done = run_cli(
        *("suggest", run, unlabelled, "--count", 3, "--json"),
        *("--csv", table, "--label-studio", tasks),
    )

    assert (plain.code, done.code) == (0, 0), plain.err + done.err
    assert plain.out.startswith("Label these 3 of 20 images next.")
    assert "--csv next.csv" in plain.out
    paths = [s["path"] for s in json.loads(done.out)["suggestions"]]
    assert all(path in plain.out for path in paths)
    assert [row["path"] for row in csv.DictReader(table.read_text().splitlines())] == paths
    assert [task["data"]["path"] for task in json.loads(tasks.read_text())] == paths
    assert {
        t["predictions"][0]["result"][0]["value"]["choices"][0]
        for t in json.loads(tasks.read_text())
    } <= set(CLASSES)


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (["--count", "0"], 2, "--count"),
        (["--csv", "{folder}/next.csv"], 2, "nothing is written there"),
    ],
    ids=["no image", "among the images"],
)
def test_what_makes_no_sense_is_refused(
    run_cli: Callable[..., Outcome],
    run: Path,
    unlabelled: Path,
    given: list[str],
    code: int,
    said: str,
) -> None:
    """Before any image is read."""
    done = run_cli("suggest", run, unlabelled, *(g.format(folder=unlabelled) for g in given))

    assert (done.code, said in done.err) == (code, True)


def test_a_folder_without_anything_new_is_a_fault(
    run_cli: Callable[..., Outcome], run: Path, tmp_path: Path
) -> None:
    """It says why there is nothing to suggest."""
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "torn.png").write_bytes(b"none")

    done = run_cli("suggest", run, folder)

    assert done.code == 3
    assert f"nothing to suggest in {folder}: " in done.err
    assert "torn.png" in done.err


def test_the_head_reads_these_features(run: Path, unlabelled: Path) -> None:
    """Features times the kept weights are the logits that the run gives."""
    facts, loaded, recorder = run_folder.load_facts(run), run_folder.load(run), Recorder()
    paths = sorted(unlabelled.rglob("*.png"))[:3]
    whole = predictor.of_run(run, facts, device="cpu", images=3, listener=recorder)
    features = finetune.load(run).features(list(map(str, paths)))

    logits = whole.of_files(paths, recorder).rows[:]

    np.testing.assert_allclose(features @ loaded.weight.T + loaded.bias, logits, atol=1e-4)
    assert isinstance(finetune.suggest(run, unlabelled, count=1), Suggestions)
