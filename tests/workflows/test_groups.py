"""Promises of answers on images that come in groups."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ImageFolder, Outcome
from examples import CLASSES
from helpers import small_run

from finetune.decision import baseline
from finetune.metrics import clusters, paired


def test_evaluate_says_by_how_many_groups_its_interval_is(
    tmp_path: Path, image_folder: ImageFolder, run_cli: Callable[..., Outcome]
) -> None:
    """With `--group` the interval is by groups, on the screen and as JSON; without it is not."""
    run = small_run(tmp_path / "run")
    data = image_folder(dict.fromkeys(CLASSES, 12))
    options = ("evaluate", data, "--run", run)

    alone = json.loads(run_cli(*options, "--json").out)["metrics"]
    grouped = json.loads(run_cli(*options, "--json", "--group", "^00[0-9]([0-9])").out)["metrics"]
    shown = run_cli(*options, "--group", "^00[0-9]([0-9])").out

    assert alone["groups"] is None
    assert grouped["groups"] == 10
    assert grouped["accuracy"] == alone["accuracy"]
    assert np.ptp(grouped["interval"]) > np.ptp(alone["interval"])
    assert "95 % interval by 10 groups" in shown


def test_evaluate_finds_copies_by_itself(
    tmp_path: Path, image_folder: ImageFolder, run_cli: Callable[..., Outcome]
) -> None:
    """Copies of one file are one group, whatever they are called."""
    run = small_run(tmp_path / "run")
    data = image_folder(dict.fromkeys(CLASSES, 4))
    for folder in data.iterdir():
        for path in sorted(folder.iterdir()):
            path.with_stem(f"copy{path.stem}").write_bytes(path.read_bytes())

    found = json.loads(run_cli("evaluate", data, "--run", run, "--json").out)["metrics"]

    assert found["n"] == 16
    assert found["groups"] == 8


def test_a_lead_that_rests_on_one_group_is_noise() -> None:
    """Ten images of one patient that a tuned model has right are one proof, not ten."""
    labels = np.zeros(60, np.int64)
    groups = np.repeat(np.arange(6), 10)
    right, wrong = np.array([0.9, 0.1]), np.array([0.4, 0.6])
    tuned = np.tile(right, (60, 1))
    probed = np.where((groups == 2)[:, None], wrong, right)

    alone = baseline.judge(tuned, probed, labels, "top", "60 images")
    by = paired.Yardstick(groups=groups)
    grouped = baseline.judge(tuned, probed, labels, "top", "60 images", by=by)

    assert alone.kept == "tuned"
    assert grouped.kept == "probe"
    assert "by 6 groups" in grouped.reason
    assert "groups" not in alone.reason


@pytest.mark.parametrize("copies", [1, 4])
def test_a_probe_on_copies_has_the_error_of_the_originals(copies: int) -> None:
    """Leaving copies out together, the standard error of the accuracy does not fall with them."""
    from finetune.heads import cross_validation, kernels  # noqa: PLC0415

    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 20)
    rows = rng.normal(size=(40, 5)).astype(np.float32) + 0.7 * labels[:, None].astype(np.float32)
    some = np.repeat(np.arange(40), copies)
    kernel = kernels.stage_kernels(rows[some], {"top": (0, 5)})["top"]
    units = [str(i) for i in some]

    found = cross_validation.leave_out("top", ("top",), kernel, labels[some], 5, units)

    accuracy = found.score.accuracy
    plain = (accuracy * (1 - accuracy) / 40) ** 0.5
    assert found.score.standard_error == pytest.approx(plain, rel=0.08)
    assert (found.groups is None) == (copies == 1)
    if found.groups is not None:
        assert clusters.count(found.groups) == 40
