"""Promises of `--prior` and `--metric`, from the command line to the run and its answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ImageFolder, Outcome
from helpers import Recorder, options_for

from finetune.decision import baseline
from finetune.metrics import paired
from finetune.records.answers import Contender
from finetune.records.metrics import Baseline
from finetune.records.run import RunResult
from finetune.runs import run_folder
from finetune.workflows import compare
from finetune.workflows.train import run_training

SMALL = ("--backbone", "test_resnet", "--weights", "random")
CLASSES = {"common": 36, "mid": 12, "rare": 6}


@pytest.fixture
def uneven(image_folder: ImageFolder) -> Path:
    """Three classes, 6:1 apart."""
    return image_folder(CLASSES)


def test_the_prior_is_in_the_run_and_its_answers(
    tmp_path: Path, uneven: Path, run_cli: Callable[..., Outcome]
) -> None:
    """Probes for other shares differ by bias and temperature alone, and answer so anywhere.

    What is at stake, why, and balanced accuracy with its interval are told.
    """
    shares = tmp_path / "shares.json"
    shares.write_text(json.dumps({"common": 1, "mid": 1, "rare": 18}))
    priors, told, likely = {"train": "train", "even": "uniform", "filed": shares}, {}, {}
    for name, prior in priors.items():
        made = ("--strategy", "linear-probe", *SMALL, "--prior", prior, "--out", tmp_path / name)
        told[name] = run_cli("train", uneven, *made)
        answers = ("--run", tmp_path / name, "--json", "--top", "3")
        rows = [
            json.loads(x) for x in run_cli("predict", uneven / "mid", *answers).out.splitlines()
        ]
        top = [c for r in rows for c in r["top"] if c["label"] == "rare"]
        likely[name] = np.mean([c["probability"] for c in top])
    plain, even, filed = (run_folder.load(tmp_path / name) for name in priors)

    assert likely["train"] < likely["even"] < likely["filed"]
    assert plain.facts.shares is None
    facts = even.facts.shares
    assert facts is not None
    assert facts.asked == "uniform"
    assert list(facts.wanted.values()) == pytest.approx([1 / 3] * 3)
    assert facts.trained["common"] > 4 * facts.trained["rare"]
    assert facts.shift["rare"] > facts.shift["mid"] > facts.shift["common"]
    assert filed.facts.shares is not None
    assert filed.facts.shares.wanted["rare"] == pytest.approx(0.9)
    assert filed.facts.request is not None
    assert filed.facts.request.prior == str(shares)
    assert "equally frequent" in told["even"].out
    assert "as that file says" in told["filed"].out
    assert "--prior uniform" in told["train"].out  # six to one: what is at stake
    shown = [told["train"].out, (tmp_path / "train" / "report.html").read_text("utf-8")]
    assert all("balanced accuracy (95 % interval" in text for text in shown)
    test = json.loads((tmp_path / "train" / "result.json").read_text("utf-8"))["test"]
    assert test["balanced_interval"][0] <= test["balanced_accuracy"] <= test["balanced_interval"][1]


def test_a_wrong_file_is_told_before_any_image_is_read(
    tmp_path: Path, uneven: Path, run_cli: Callable[..., Outcome]
) -> None:
    """Exit code 3, the row and its value; nothing was read by then."""
    shares = tmp_path / "shares.csv"
    shares.write_text("common,1\nmid,many\n")

    found = run_cli("train", uneven, *SMALL, "--prior", shares)

    assert found.code == 3
    assert "row 2 gives class 'mid' the share 'many'" in found.err
    assert "reading and checking" not in found.err


def test_recommend_says_what_is_at_stake(uneven: Path, run_cli: Callable[..., Outcome]) -> None:
    """From 3:1 on: what is expected of the commonest and of the rarest class, either way."""
    found = json.loads(run_cli("recommend", uneven, *SMALL, "--json").out)

    reasons = {r["rule"]: r["text"] for r in found["reasons"]}
    assert "by leave-one-out" in reasons["imbalance"]
    assert "'rare'" in reasons["imbalance"]
    assert "--prior uniform" in reasons["imbalance"]
    assert "shares" not in reasons
    assert found["reasons"][-1]["rule"] != "imbalance"


def test_even_classes_say_nothing_of_it(leaves_run: tuple[RunResult, Path]) -> None:
    """Below 3:1, and without `--prior` and `--metric`, no word of shares."""
    rules = {r.rule for r in leaves_run[0].recommendation.reasons}

    assert rules.isdisjoint({"imbalance", "shares", "metric"})


def test_a_tuned_model_is_moved_as_well(
    tmp_path: Path, uneven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights, its bias moved by what class weights have left to do."""
    keep = Baseline("tuned", 100, 0.9, 0.5, 1.0, 1.0, "made up by a test")
    monkeypatch.setattr(baseline, "judge", lambda *_, **_options: keep)
    found = {}
    for prior in ("train", "uniform"):
        options = options_for(
            root=str(uneven),
            out=str(tmp_path / prior),
            strategy="partial",
            backbone="test_resnet",
            weights="random",
            prior=prior,
            options={"epochs": 1, "side_px": 32, "class_weights": True},
        )
        run_training(options, Recorder())
        found[prior] = run_folder.load(tmp_path / prior)

    plain, even = found["train"], found["uniform"]
    assert (plain.weight == even.weight).all()
    facts = even.facts.shares
    assert facts is not None
    shift = np.array([facts.shift[name] for name in CLASSES])
    counts = np.array([facts.trained[name] for name in CLASSES])
    assert shift == pytest.approx(-0.5 * (np.log(counts) - np.log(counts).mean()))
    moved = even.bias - plain.bias
    assert moved == pytest.approx(even.facts.head.temperature * shift, abs=1e-5)


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("accuracy", " %, the best probe"),
        ("balanced-accuracy", "% balanced accuracy"),
        ("macro-f1", "% macro F1"),
        ("log-loss", "a log loss of"),
    ],
)
def test_the_baseline_looks_at_the_metric(metric: str, words: str) -> None:
    """A model that gives up the rare class for the common one loses by all but the accuracy."""
    labels = np.repeat([0, 1], [190, 10])
    sure, wrong = np.array([0.9, 0.1]), np.array([0.1, 0.9])
    tuned = np.tile(sure, (200, 1))
    probed = np.where((labels == 0)[:, None], sure, wrong)
    probed[:40] = wrong

    found = baseline.judge(
        *(tuned, probed, labels, "top", "200 images"),
        by=paired.Yardstick(metric),  # type: ignore[arg-type]
    )

    assert found.kept == ("tuned" if metric in ("accuracy", "log-loss") else "probe")
    assert words in found.reason


@pytest.mark.parametrize("metric", ["balanced-accuracy", "log-loss"])
def test_compare_ranks_by_the_metric(metric: str) -> None:
    """The best is best by it, and the sentence has its name or its unit."""
    rows = (
        Contender("linear-probe", 0.9, (0.8, 0.95), 0.30, 0.0, 0.0, 0.0, 1.0, score=0.7),
        Contender("deep", 0.8, (0.7, 0.9), 0.25, 0.1, 0.02, 0.18, 9.0, score=0.8),
    )
    if metric == "log-loss":
        rows = tuple(replace(c, score=c.log_loss) for c in rows)
    best = compare._best(rows, metric).strategy  # type: ignore[arg-type]
    told = compare._verdict(
        *(rows, metric),  # type: ignore[arg-type]
        table="linear-probe",
        chosen="linear-probe",
    )

    assert best == "deep"
    assert ("10.0 points of balanced accuracy" if metric != "log-loss" else "of log loss") in told
    assert ("below" if metric != "log-loss" else "0.050 of log loss above the best") in told
