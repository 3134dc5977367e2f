"""The story of `evaluate` for a run of labels or numbers; torch-free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.deploy import outputs, predictor
from finetune.metrics import labels, numbers, one_answer
from finetune.metrics.clusters import Clusters
from finetune.pictures.corruptions import CORRUPTIONS
from finetune.records.dataset import Dataset, Sample, Splits
from finetune.records.errors import RunError, safe_name
from finetune.records.events import Listener
from finetune.records.robustness import TargetFall
from finetune.records.run import RunFacts
from finetune.records.target import TargetFacts, TargetMetrics
from finetune.records.target_result import FarAnswer, TargetEvaluation
from finetune.sources.findings import SEEN, leaks
from finetune.storage.arrays import Array
from finetune.workflows import answered, robustness_target

WORST = 100  # answers that are told, as many as a run keeps


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is measured: a run's folder, its facts, and what it was trained on."""

    path: Path
    facts: RunFacts
    splits: Splits
    target: TargetFacts


def measured(  # noqa: PLR0913 - what a person can ask for
    run: Run,
    dataset: Dataset,
    samples: Sequence[Sample],
    place: Path,
    *,
    device: str,
    listener: Listener,
    groups: Callable[[Sequence[Sample]], Clusters | None],
    robust: bool = False,
) -> TargetEvaluation:
    """How a run does on images whose labels or numbers are known.

    Args:
        run: The run.
        dataset: Where the images are from.
        samples: The images of it that are measured on, at least one.
        place: What their paths are below.
        device: `auto`, `cpu`, `cuda`, `mps`.
        listener: Hears of progress.
        groups: Tells which of some images go together.
        robust: Whether the same images are also asked about dark, blurred and so on.

    Raises:
        DataError: no image can be read.
        RunError: a run of numbers that does not keep those it learned from.
    """
    facts = run.facts
    listener.step(f"asking {run.path} about {len(samples)} images")
    told = ((run.path, facts), samples, place, dataset.root)
    found, good, unread = answered.of_samples(*told, device=device, listener=listener)
    answers = np.concatenate([some for _, some in found.probabilities()])
    truth = np.array([s.values for s in good], np.float64)
    metrics = _metrics(run, answers, truth, groups(good))
    better, verdict = one_answer.standing(run.target.kind, metrics)
    findings = dataset.findings + leaks(run.splits.fitting, good, SEEN)
    falls: tuple[TargetFall, ...] = ()
    if robust:
        many = len(good) * (1 + 3 * len(CORRUPTIONS))
        model = predictor.of_run(run.path, facts, device=device, images=many, listener=listener)
        falls = robustness_target.measure(model, run.target.kind, place, good, listener)
    return TargetEvaluation(
        run=safe_name(str(run.path)),
        data=dataset.root,
        target=run.target.kind,
        names=facts.classes,
        metrics=metrics,
        findings=findings + unread,
        worst=_worst(run, answers, truth, [s.path for s in good]),
        better_than_baseline=better,
        verdict=verdict,
        robustness=falls,
    )


def _metrics(run: Run, answers: Array, truth: Array, groups: Clusters | None) -> TargetMetrics:
    names = run.facts.classes
    if run.target.kind == "labels":
        return labels.measure(answers, truth, names, outputs.thresholds(run.target, names), groups)
    return numbers.measure(answers, truth, names, _learned(run).mean(axis=0), groups)


def _learned(run: Run) -> Array:
    """The numbers that a run learned from, float64[N, K].

    Raises:
        RunError: it does not keep them.
    """
    found = [s.values for s in run.splits.fitting if len(s.values) == len(run.facts.classes)]
    if not found:
        raise RunError(
            f"{run.path} does not say which numbers it learned from",
            hint="Its splits.json is damaged; train again.",
        )
    return np.array(found, np.float64)


def _worst(run: Run, answers: Array, truth: Array, paths: Sequence[str]) -> tuple[FarAnswer, ...]:
    """The answers with the largest losses, these first.

    Of labels by cross-entropy, of numbers by squares in standard deviations of what was learned.
    """
    kind, names = run.target.kind, run.facts.classes
    if kind == "labels":
        likely = np.clip(np.where(truth > 0.5, answers, 1 - answers), 1e-15, 1)
        losses = -np.log(likely).mean(axis=1)
        said = (answers >= outputs.thresholds(run.target, names)).astype(np.float64)
    else:
        scale = np.maximum(_learned(run).std(axis=0), 1e-12)
        losses, said = np.square((answers - truth) / scale).mean(axis=1), answers
    return tuple(
        FarAnswer(
            path=paths[i],
            truth=one_answer.in_words(kind, names, truth[i]),
            answer=one_answer.in_words(kind, names, said[i]),
            loss=float(losses[i]),
        )
        for i in np.argsort(-losses, kind="stable")[:WORST].tolist()
    )
