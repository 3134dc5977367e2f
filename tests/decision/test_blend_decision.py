"""Promises of when two networks answer together, and when one is enough."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import changed, options_for

from finetune.decision import blend
from finetune.heads import calibration
from finetune.metrics import paired
from finetune.records.metrics import Baseline
from finetune.records.options import DecisionOptions

CLASSES = 4


def answers(right: float, seed: int, n: int = 240) -> np.ndarray:
    """Logits float64[N, C] that favour the label in so many of the images."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    favoured = np.where(rng.random(n) < right, labels, rng.integers(CLASSES, size=n))
    logits = rng.normal(size=(n, CLASSES))
    logits[np.arange(n), favoured] += 3
    return logits


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`judged(tuned, probed, **options)`: the verdict on held-out logits, or None for one."""

    def ask(tuned: np.ndarray, probed: np.ndarray, **asked: object) -> blend.Verdict | None:
        labels = np.arange(len(tuned)) % CLASSES
        monkeypatch.setattr(blend, "_held_out", lambda *_: (tuned, probed, labels))
        samples = [SimpleNamespace(unit=str(i)) for i in range(len(labels))]
        monkeypatch.setattr(blend, "_moves", lambda *_: None)

        def calibrated(logits: np.ndarray, _rows: object, **_options: object) -> tuple[Any, Any]:
            found = calibration.fit_temperature(logits, labels)
            return found, calibration.probabilities(logits, found)

        analysis: Any = SimpleNamespace(
            options=options_for(root="x", **asked),
            samples=samples,
            calibrated=calibrated,
            yardstick=lambda _rows: paired.PLAIN,
        )
        trial: Any = SimpleNamespace(held=np.arange(len(labels)), weighed=False)
        probes: Any = None
        return blend.paying(analysis, probes, trial)

    return ask


def test_two_that_err_apart_answer_together(judged: Any) -> None:
    """Both get a weight, and together they beat the better one's log loss by more than noise."""
    found = judged(answers(0.7, 1), answers(0.7, 2))

    assert found is not None
    assert 0 < found.weight < 1
    assert found.less > found.less_error > 0


@pytest.mark.parametrize("better", ["tuned", "probe"])
def test_beside_one_that_is_far_better_the_other_is_not_heard(judged: Any, better: str) -> None:
    """A side that guesses adds nothing: one network stays one network."""
    sides = {"tuned": answers(0.0, 1), "probe": answers(0.0, 2)} | {better: answers(0.97, 3)}

    assert judged(sides["tuned"], sides["probe"]) is None


def test_of_twins_one_is_enough(judged: Any) -> None:
    """Two that say the same gain nothing together."""
    one = answers(0.7, 1)

    assert judged(one, one) is None


@pytest.mark.parametrize(
    "asked", [{"single": True}, {"strategy": "deep"}, {"policy": "table"}], ids=str
)
def test_one_network_is_what_was_asked_for(judged: Any, asked: dict[str, object]) -> None:
    """`--single`, a strategy by its name, and the table to the letter forbid a blend."""
    assert judged(answers(0.7, 1), answers(0.7, 2), **asked) is None


def test_what_is_allowed_follows_from_the_options() -> None:
    """A blend that is named has to be; by default it may be."""
    default = options_for(root="x")

    assert blend.allowed(default.decision) == "where it pays"
    assert blend.allowed(changed(default, strategy="blend").decision) == "always"
    assert blend.allowed(DecisionOptions(strategy="scratch")) == "never"


def test_the_floor_is_told_with_what_both_do_together() -> None:
    """Kept as a blend, the reason has the figures of all three and the cost; else why not."""
    floor = Baseline("tuned", 97, 0.8, 0.75, 0.6, 0.7, "The tuned model is kept")
    found = blend.Verdict(
        weight=0.4,
        better="tuned",
        accuracy=0.84,
        log_loss=0.5,
        gain=0.04,
        gain_error=0.03,
        less=0.1,
        less_error=0.02,
        over_probe=0.09,
        over_probe_error=0.03,
    )
    behind = replace(found, over_probe=-0.05)

    kept = blend.judge(floor, found, "97 images", "where it pays")
    worse = blend.judge(floor, behind, "97 images", "where it pays")
    alone = blend.judge(floor, replace(found, weight=1.0), "97 images", "where it pays")
    forced = blend.judge(floor, behind, "97 images", "always")

    assert (kept.kept, kept.blend_accuracy, kept.blend_log_loss) == ("blend", 0.84, 0.5)
    for text in ("84.0 %", "+4.0 ± 3.0 points", "80.0 %", "75.0 %", "a second pass"):
        assert text in kept.reason
    assert worse.kept == alone.kept == "tuned"
    assert "No blend, which is behind the probe" in worse.reason
    assert "one of the two all the weight" in alone.reason
    assert forced.kept == "blend"
    assert "because you asked for it" in forced.reason
