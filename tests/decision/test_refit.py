"""Promises of `decision.refit`: which tuned model is returned."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from examples import PLAN
from helpers import Recorder

from finetune.analysis.clock import Clock
from finetune.decision import refit
from finetune.heads import ridge
from finetune.records.errors import TrainingError
from finetune.records.training import EpochRecord
from finetune.training import holdout
from finetune.training.loop import Tuned

HEAD = ridge.Head(np.zeros((2, 3)), np.zeros(2), 1.0)
WANTED = replace(PLAN, refit=True)


def epochs(*best: bool) -> tuple[EpochRecord, ...]:
    return tuple(
        EpochRecord(i, 0.5, 0.4, 0.8, 1e-3, 1.0, best=b) for i, b in enumerate(best, start=1)
    )


def judged(*best: bool, **changes: Any) -> Tuned:
    backbone: Any = "judged"
    return replace(Tuned(backbone, HEAD, epochs(*best), WANTED), **changes)


def outcome(
    monkeypatch: pytest.MonkeyPatch, tuned: Tuned | None, plan: Any = WANTED, fault: Any = None
) -> tuple[Tuned, list[tuple[Any, ...]]]:
    """What is returned, and the trainings on all images that were asked for."""
    asked: list[tuple[Any, ...]] = []

    def on_everything(_: object, *given: Any) -> Tuned:
        asked.append(given)
        if fault is not None:
            raise fault
        backbone: Any = "all"
        return Tuned(backbone, HEAD, epochs(False), given[0])

    monkeypatch.setattr(holdout, "on_everything", on_everything)
    trial = holdout.Trial((), np.zeros((0, 2)), tuned, "")
    seen: Any = SimpleNamespace(samples=[0] * 5, listener=Recorder())
    material: Any = None
    return refit.outcome(seen, material, plan, trial, Clock(Recorder())), asked


def test_without_a_judged_model_one_is_trained_on_all_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After two-fold cross-validation there is no model yet: all epochs of the plan."""
    found, asked = outcome(monkeypatch, None)

    assert str(found.backbone) == "all"
    assert asked == [(WANTED,)]


def test_a_judged_model_is_trained_again_for_its_best_epochs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the rate that the judged one needed; the history is the one with validation figures."""
    slower = replace(WANTED, lr=WANTED.lr / 3)
    one = judged(True, False, True, False, plan=slower)

    found, asked = outcome(monkeypatch, one)

    assert asked == [(slower, 3)]
    assert str(found.backbone) == "all"
    assert found.history == one.history


@pytest.mark.parametrize(
    ("tuned", "plan"),
    [
        (judged(True), replace(PLAN, refit=False)),
        (judged(False, False), WANTED),
        (judged(True, stopped=KeyboardInterrupt()), WANTED),
    ],
    ids=["the plan does not", "the probe's head was best", "it was stopped"],
)
def test_a_judged_model_is_returned_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tuned: Tuned, plan: Any
) -> None:
    """Where nothing is to be won by a second training there is none."""
    found, asked = outcome(monkeypatch, tuned, plan)

    assert found is tuned
    assert asked == []


@pytest.mark.parametrize(
    ("fault", "stopped"),
    [(KeyboardInterrupt(), True), (TrainingError("diverged", hint=""), False)],
)
def test_a_second_training_that_fails_leaves_the_judged_model(
    monkeypatch: pytest.MonkeyPatch, fault: BaseException, stopped: bool
) -> None:
    """What was proved is not lost; interrupted work can be resumed, a failed one is over."""
    found, _ = outcome(monkeypatch, judged(True), fault=fault)

    assert str(found.backbone) == "judged"
    assert found.stopped is (fault if stopped else None)
