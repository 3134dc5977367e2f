"""Carry out a strategy: a model with its estimate before the test, and the one test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune import data, evaluate, features, mistakes, probe
from finetune.errors import DataError
from finetune.inference import Engine
from finetune.records import (
    EpochRecord,
    Finding,
    Floor,
    Metrics,
    Plan,
    Sample,
    Strategy,
    WrongAnswer,
)
from finetune.survey import Clock, Survey


@dataclass(frozen=True)
class Model:
    """What is returned: a backbone with a head, and what is known of it before the test.

    `tensors` gives the backbone's, `graph` the converted network, or None where it cannot be had;
    `plan` is that of a tuned model as it was carried out; `stopped` is what ended its training
    before its time.
    """

    strategy: Strategy
    runtime: Engine
    tensors: Callable[[], Mapping[str, npt.NDArray[Any]]]
    graph: Callable[[], Any]
    head: probe.Head
    taps: tuple[str, ...]
    side_px: int
    estimate: Metrics
    estimate_source: str
    history: tuple[EpochRecord, ...] = ()
    floor: Floor | None = None
    plan: Plan | None = None
    stopped: BaseException | None = None


@dataclass(frozen=True)
class Test:
    """Probabilities float64[M,C], labels int64[M] and paths of the test images that decoded."""

    probabilities: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    findings: tuple[Finding, ...]
    paths: tuple[str, ...]


def probed(survey: Survey, chosen: probe.LeftOut, name: Strategy) -> Model:
    """Fit the head on every image that is not test; its estimate is the cross-validated one."""
    head = survey.head(chosen)
    probabilities = probe.probabilities(chosen.scores, chosen.temperature)
    return Model(
        strategy=name,
        runtime=survey.body.engine,
        tensors=lambda: survey.body.tensors,
        graph=survey.body.graph,
        head=head,
        taps=chosen.score.taps,
        side_px=survey.facts.preprocess.side_px,
        estimate=evaluate.measure(probabilities, chosen.labels, survey.dataset.classes),
        estimate_source="images by leave-one-out cross-validation, which also chose the penalty",
    )


def examine(survey: Survey, model: Model, clock: Clock) -> Test:
    """Classify the test images; empty where there are none or none decoded."""
    root = Path(survey.request.root)
    with clock.step("test", f"testing on {len(survey.splits.test)} images"):
        samples, closed = _digested(root, survey.splits.test)
        paths, digests = [root / s.path for s in samples], [s.digest for s in samples]
        listener, scales = survey.listener, survey.scales
        table = features.extract(paths, model.runtime, model.side_px, listener, digests, scales)
        bad = [*closed, *((samples[i], fault) for i, fault in table.faults)]
        findings = data.unreadable([s for s, _ in bad], [fault.message for _, fault in bad])
        findings += data.leaks(survey.splits.fitting, samples)
        labels = np.array([samples[i].label for i in table.kept], np.int64)
        scores = probe.score(stored(model.head), table.columns(model.taps))
        likely = probe.probabilities(scores, model.head.temperature)
    return Test(likely, labels, findings, tuple(samples[i].path for i in table.kept))


def _digested(
    root: Path, samples: Sequence[Sample]
) -> tuple[list[Sample], list[tuple[Sample, DataError]]]:
    """The samples with their digests, and those whose files cannot be read, with the reason."""
    known, closed = [], []
    for sample in samples:
        try:
            digest = sample.digest or data.digest_file(root / sample.path)
        except DataError as fault:
            closed.append((sample, fault))
        else:
            known.append(replace(sample, digest=digest))
    return known, closed


def metrics(survey: Survey, test: Test) -> Metrics:
    """What the test says."""
    return evaluate.measure(test.probabilities, test.labels, survey.dataset.classes)


def errors(survey: Survey, test: Test) -> tuple[WrongAnswer, ...]:
    """Which answers were wrong, the surest first."""
    found = evaluate.answers([test.probabilities], test.labels)
    return mistakes.wrong(
        *(found.labels, found.called, found.confidence),
        *(test.paths, survey.dataset.classes),
    )


def stored(head: probe.Head) -> probe.Head:
    """The head as the run keeps it, in float32, so that the test measures what is kept."""
    weight, bias = head.weight.astype(np.float32), head.bias.astype(np.float32)
    return probe.Head(weight.astype(np.float64), bias.astype(np.float64), head.temperature)
