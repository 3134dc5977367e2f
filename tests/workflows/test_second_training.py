"""A second training with the validation images, from the command's options to the run's files."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from helpers import Recorder, options_for

from finetune.decision import baseline
from finetune.records.codec import from_json
from finetune.records.metrics import Baseline
from finetune.records.run import RunResult
from finetune.records.training import EpochRecord
from finetune.training import holdout, recipe
from finetune.training import losses as losses_of
from finetune.training.loop import Tuned
from finetune.workflows.train import run_training

SMALL = {"backbone": "test_resnet", "weights": "random", "strategy": "deep", "single": True}
PLAN = {"epochs": 3, "side_px": 32, "batch_size": 16, "lr": 3e-3}


def trained(root: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> RunResult:
    """Judged on a split, whatever its size, and kept whether or not it beats the probe."""
    kept = Baseline("tuned", 100, 0.9, 0.5, 1.0, 1.0, "made up by a test")
    monkeypatch.setattr(baseline, "judge", lambda *_, **_given: kept)
    monkeypatch.setattr(recipe, "TELLING_IMAGES", 10)
    losses = itertools.cycle([0.9, 0.8, 0.7, 0.75])  # of epoch 0, the probe's head, to 3
    monkeypatch.setattr(losses_of.calibration, "calibrated_log_loss", lambda *_: next(losses))
    asked = options_for(root=str(root), out=str(out), options={**PLAN, **options}, **SMALL)
    return run_training(asked, Recorder())


def history(run: Path) -> list[EpochRecord]:
    lines = (run / "history.jsonl").read_text("utf-8").splitlines()
    return [from_json(line, EpochRecord) for line in lines]


def test_the_model_that_is_returned_has_learnt_from_the_validation_images(
    image_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By rule with few images a class, as many epochs as were best; not with `--no-refit`."""
    root = image_folder({"a": 40, "b": 40})
    seen: list[tuple[int, int | None]] = []
    fit = holdout._fit

    def counted(material, plan, rows, val, until=None) -> Tuned:
        seen.append((len(rows), until))
        return fit(material, plan, rows, val, until)

    monkeypatch.setattr(holdout, "_fit", counted)

    again = trained(root, tmp_path / "again", monkeypatch)
    once = trained(root, tmp_path / "once", monkeypatch, refit=False)

    learning, everything = 52, 64
    assert seen == [(learning, None), (everything, 2), (learning, None)]
    assert again.recommendation.plan.refit
    assert "each one counts" in again.recommendation.plan.why["refit"]
    assert once.recommendation.plan.why["refit"] == "user"
    assert [r.val_loss for r in history(tmp_path / "again")] == [0.8, 0.7, 0.75]
    assert "refit" in again.seconds
    assert "refit" not in once.seconds
