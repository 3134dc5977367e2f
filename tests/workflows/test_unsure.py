"""Promises of a run's doubt: kept by every training, used by whatever answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import SAMPLE

import finetune
from finetune.records.errors import UsageError
from finetune.records.run import RunResult
from finetune.runs import run_folder, run_tensors

OLD = Path(__file__).parents[1] / "runs" / "released" / "0.1.0"


def test_a_run_keeps_what_its_held_out_images_said(leaves_run: tuple[RunResult, Path]) -> None:
    """As many images as the estimate is of, its accuracy with all answered, and distances."""
    result, path = leaves_run
    facts = run_folder.load_facts(path)

    assert facts.doubt is not None
    assert facts.doubt.images == result.estimate.n
    assert facts.doubt.source == result.estimate_source
    assert facts.doubt.confidence[0].error == pytest.approx(1 - result.estimate.accuracy, abs=1e-6)
    assert facts.doubt.confidence[0].interval == pytest.approx(
        (1 - result.estimate.interval[1], 1 - result.estimate.interval[0]), abs=1e-5
    )
    reference = run_tensors.load_reference(path, facts)
    assert reference is not None
    assert facts.doubt.unknown is not None
    assert len(reference) == facts.doubt.unknown.images


def test_noise_is_unknown_and_leaves_are_not(leaves_run: tuple[RunResult, Path]) -> None:
    """Pictures of noise are marked, those of the training are not; all have labels."""
    model = finetune.load(leaves_run[1])
    noise = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)

    strange = model.predict(noise)
    known = model.predict(sorted((SAMPLE / "oak").iterdir())[:6])

    assert [p.standing for p in strange] == ["unknown"] * 2
    assert all(p.label for p in strange)
    assert sum(p.standing == "unknown" for p in known) <= 1
    off = finetune.load(leaves_run[1], unknown=0).predict(noise)
    assert [p.standing for p in off] == ["answered"] * 2


def test_evaluate_tells_what_doubt_does(leaves_run: tuple[RunResult, Path]) -> None:
    """Shares add up to one; sets cover about what was asked; the reasons have the figures."""
    found = finetune.evaluate(SAMPLE, leaves_run[1], coverage=0.8, target_error=0.25).selected

    assert found is not None
    assert found.answered + found.unsure + found.unknown == pytest.approx(1)
    assert found.covered is not None
    assert found.covered > 0.7
    assert found.set_size is not None
    assert found.set_size >= 1
    assert len(found.reasons) == 2


def test_a_run_of_an_older_version_answers_and_says_what_it_lacks() -> None:
    """Without figures answers are as ever; thresholds of one's own work, others are refused."""
    picture = next((OLD / "images").rglob("*.*"))

    (answer,) = finetune.load(OLD / "run", min_confidence=1.0).predict(picture)

    assert (answer.standing, answer.known, answer.set) == ("unsure", None, None)
    with pytest.raises(UsageError, match="an older version made it"):
        finetune.load(OLD / "run", target_error=0.1)
