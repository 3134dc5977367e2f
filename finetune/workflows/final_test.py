"""The one test of a fitted model, on images that nothing has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.data import grouping
from finetune.decision.fitted import FittedModel, Model
from finetune.heads import calibration
from finetune.metrics import classification, clusters, mistakes
from finetune.records.dataset import Finding, Sample
from finetune.records.errors import DataError, FinetuneError
from finetune.records.metrics import Metrics, WrongAnswer
from finetune.sources import files, names
from finetune.sources.findings import known, leaks, unreadable
from finetune.storage.arrays import Array


@dataclass(frozen=True)
class Test:
    """Probabilities float64[M,C], labels int64[M] and paths of the test images that decoded.

    `groups` int64[M] says which go together; None where each is one by itself.
    """

    probabilities: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    findings: tuple[Finding, ...]
    paths: tuple[str, ...]
    groups: clusters.Clusters | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Outputs float64[M, K] of the test images that decoded, which these are, and their groups.

    `temperature` is what outputs of classes are divided by.
    """

    outputs: Array
    temperature: float
    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]
    groups: clusters.Clusters | None


def ask(analysis: Analysis, model: Model, clock: Clock) -> Asked:
    """Ask a model about the test images; empty where there are none or none decoded."""
    root = analysis.root
    with clock.step("test", f"testing on {len(analysis.splits.test)} images"):
        samples, closed = digested(root, analysis.splits.test)
        paths, digests = [root / s.path for s in samples], [s.digest for s in samples]
        found = model.predictor(analysis.scales, analysis.box).of_files(
            paths, analysis.listener, digests
        )
        findings = unread(samples, closed, found.faults)
        findings += leaks(analysis.splits.fitting, samples)
        findings += known(analysis.splits.learnt, samples)
        pattern = names.compiled("--group", analysis.options.data.group, "")
        kept = tuple(samples[i] for i in found.kept)
        return Asked(
            outputs=np.asarray(found.rows[:], np.float64),
            temperature=found.temperature,
            samples=kept,
            findings=findings,
            groups=clusters.number(grouping.units(kept, (), pattern)),
        )


def examine(analysis: Analysis, model: FittedModel, clock: Clock) -> Test:
    """Classify the test images; empty where there are none or none decoded."""
    found = ask(analysis, model, clock)
    return Test(
        calibration.probabilities(found.outputs, found.temperature),
        np.array([s.label for s in found.samples], np.int64),
        found.findings,
        tuple(s.path for s in found.samples),
        found.groups,
    )


def require_any(analysis: Analysis, images: int) -> None:
    """Some test images could be read.

    Raises:
        DataError: none could.
    """
    if not images:
        raise DataError(
            f"none of the {len(analysis.splits.test)} test images of "
            f"{analysis.options.data.root} can be read",
            hint="Repair them, or let `finetune check` name what is wrong.",
        )


def digested(
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


def unread(
    samples: Sequence[Sample],
    closed: Sequence[tuple[Sample, FinetuneError]],
    faults: Sequence[tuple[int, FinetuneError]],
) -> tuple[Finding, ...]:
    """Test images that cannot be read: files that may not, and those that do not decode."""
    bad = [*closed, *((samples[i], fault) for i, fault in faults)]
    return unreadable([s for s, _ in bad], [fault.message for _, fault in bad])


def measured(analysis: Analysis, test: Test) -> Metrics:
    """What the test says."""
    return classification.measure(
        *(test.probabilities, test.labels, analysis.dataset.classes, test.groups),
        None if analysis.wanted is None else analysis.wanted.shares,
    )


def wrong_answers(analysis: Analysis, test: Test) -> tuple[WrongAnswer, ...]:
    """Which answers were wrong, the most confident first."""
    found = classification.answers([test.probabilities], test.labels)
    return mistakes.wrong(
        found.labels, found.called, found.confidence, test.paths, analysis.dataset.classes
    )
