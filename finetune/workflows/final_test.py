"""The one test of a fitted model, on images that nothing has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.backbones import features
from finetune.data import files
from finetune.data.findings import leaks, unreadable
from finetune.decision.fitted import FittedModel
from finetune.heads import calibration, ridge
from finetune.metrics import classification, mistakes
from finetune.records.dataset import Finding, Sample
from finetune.records.errors import DataError
from finetune.records.metrics import Metrics, WrongAnswer


@dataclass(frozen=True)
class Test:
    """Probabilities float64[M,C], labels int64[M] and paths of the test images that decoded."""

    probabilities: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    findings: tuple[Finding, ...]
    paths: tuple[str, ...]


def examine(survey: Analysis, model: FittedModel, clock: Clock) -> Test:
    """Classify the test images; empty where there are none or none decoded."""
    root = Path(survey.options.data.root)
    with clock.step("test", f"testing on {len(survey.splits.test)} images"):
        samples, closed = _digested(root, survey.splits.test)
        paths, digests = [root / s.path for s in samples], [s.digest for s in samples]
        listener, scales = survey.listener, survey.scales
        table = features.extract(paths, model.runtime, model.side_px, listener, digests, scales)
        bad = [*closed, *((samples[i], fault) for i, fault in table.faults)]
        findings = unreadable([s for s, _ in bad], [fault.message for _, fault in bad])
        findings += leaks(survey.splits.fitting, samples)
        labels = np.array([samples[i].label for i in table.kept], np.int64)
        scores = ridge.score(stored(model.head), table.columns(model.taps))
        likely = calibration.probabilities(scores, model.head.temperature)
    return Test(likely, labels, findings, tuple(samples[i].path for i in table.kept))


def _digested(
    root: Path, samples: Sequence[Sample]
) -> tuple[list[Sample], list[tuple[Sample, DataError]]]:
    """The samples with their digests, and those whose files cannot be read, with the reason."""
    known, closed = [], []
    for sample in samples:
        try:
            digest = sample.digest or files.digest_file(root / sample.path)
        except DataError as fault:
            closed.append((sample, fault))
        else:
            known.append(replace(sample, digest=digest))
    return known, closed


def measured(survey: Analysis, test: Test) -> Metrics:
    """What the test says."""
    return classification.measure(test.probabilities, test.labels, survey.dataset.classes)


def wrong_answers(survey: Analysis, test: Test) -> tuple[WrongAnswer, ...]:
    """Which answers were wrong, the most confident first."""
    found = classification.answers([test.probabilities], test.labels)
    return mistakes.wrong(
        *(found.labels, found.called, found.confidence),
        *(test.paths, survey.dataset.classes),
    )


def stored(head: ridge.Head) -> ridge.Head:
    """The head as the run keeps it, in float32, so that the test measures what is kept."""
    weight, bias = head.weight.astype(np.float32), head.bias.astype(np.float32)
    return ridge.Head(weight.astype(np.float64), bias.astype(np.float64), head.temperature)
