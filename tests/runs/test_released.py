"""Promises to runs of earlier releases: each is read, listed, and answers as it did.

`released/<version>/` holds a run written by the released code and a few of the images it was
trained on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.backbones import inference
from finetune.runs import listing, run_folder

RELEASED = Path(__file__).parent / "released" / "0.1.0"
RUN, IMAGES = RELEASED / "run", RELEASED / "images"
# What the released code's `finetune predict released/0.1.0/images` said: the likeliest class.
ANSWERS = {
    "bar/00.png": ("disc", 0.697239130257465),
    "bar/01.png": ("disc", 0.5161444887112548),
    "disc/00.png": ("disc", 0.5476921084779776),
    "disc/01.png": ("disc", 0.8004571466721868),
}


def test_a_run_of_0_1_0_is_read() -> None:
    """Facts, result, splits, tensors and inference file of a run of 0.1.0 are read as written."""
    facts, result = run_folder.load_facts(RUN), run_folder.load_result(RUN)
    splits, loaded = run_folder.load_splits(RUN), run_folder.load(RUN)

    assert (facts.schema_version, facts.versions["finetune"]) == (1, "0.1.0")
    assert (facts.strategy, facts.classes, facts.seed) == ("scratch", ("bar", "disc"), 0)
    assert (facts.backbone.name, facts.preprocess.side_px) == ("lenet5", 32)
    assert facts.data_root == "/data/shapes"
    assert result.counts == {"train": 11, "val": 4, "test": 5}
    assert result.test.accuracy == facts.accuracy == 0.8
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [11, 4, 5]
    assert loaded.weight.shape == (2, 84)
    assert run_folder.load_network(RUN, facts) is not None


@pytest.mark.parametrize("by", ["inference file", "torch"])
def test_a_run_of_0_1_0_answers_as_it_did(
    by: str, run_cli: Callable[..., object], tmp_path: Path
) -> None:
    """`predict` gives the classes and probabilities that the released code gave."""
    run = Path(shutil.copytree(RUN, tmp_path / "run"))
    if by == "torch":
        for name in inference.FILES:
            (run / name).unlink()

    told = run_cli("predict", IMAGES, "--run", run, "--json")

    assert told.code == 0, told.err
    found = {one["path"]: one for one in map(json.loads, told.out.splitlines())}
    assert found.keys() == {str(IMAGES / name) for name in ANSWERS}
    for name, (label, probability) in ANSWERS.items():
        assert found[str(IMAGES / name)]["label"] == label
        assert found[str(IMAGES / name)]["probability"] == pytest.approx(probability, abs=1e-5)


def test_a_run_of_0_1_0_is_evaluated(run_cli: Callable[..., object]) -> None:
    """`evaluate` on labelled images says the accuracy that the released code said."""
    told = run_cli("evaluate", IMAGES, "--run", RUN, "--json")

    assert told.code == 0, told.err
    metrics = json.loads(told.out)["metrics"]
    assert (metrics["n"], metrics["accuracy"]) == (4, 0.5)


def test_a_run_of_0_1_0_is_listed(
    run_cli: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`finetune runs` shows it with its accuracy, and it is the newest run where it is the only."""
    shutil.copytree(RUN, tmp_path / "runs" / "old")
    monkeypatch.chdir(tmp_path)

    told = run_cli("runs")

    assert told.code == 0, told.err
    assert "old" in told.out
    assert "80.0%" in told.out
    assert listing.latest() == Path("runs/old")
