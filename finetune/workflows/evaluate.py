"""The story of `evaluate`: how a run does on labelled images; torch-free."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.backbones import prepared
from finetune.data import examination, grouping, near_duplicates
from finetune.deploy import doubt, predictor
from finetune.metrics import classification, clusters, mistakes, verdict
from finetune.pictures.corruptions import CORRUPTIONS
from finetune.records.answers import Evaluation
from finetune.records.dataset import Dataset, Sample, Splits, Target
from finetune.records.errors import DataError, safe_name
from finetune.records.events import Listener
from finetune.records.options import columns_of
from finetune.records.robustness import Fall
from finetune.records.run import RunFacts
from finetune.records.target import TargetFacts
from finetune.records.target_result import TargetEvaluation
from finetune.records.unsure import NO_DOUBT, DoubtOptions
from finetune.runs import listing, run_folder
from finetune.sources import names, readers
from finetune.sources.findings import SEEN, leaks
from finetune.workflows import answered, evaluate_target, robustness


def run_evaluation(  # noqa: PLR0913 - what a person can ask for
    root: Path,
    run: Path | None,
    *,
    device: str,
    unseen: bool,
    listener: Listener,
    label_from: str | None = None,
    label_column: str | None = None,
    group: str | None = None,
    robust: bool = False,
    doubts: DoubtOptions = NO_DOUBT,
) -> Evaluation | TargetEvaluation:
    """`finetune evaluate DIR`: how a run does on labelled images.

    Its interval is by groups where images are copies, near duplicates, or of one `group`. Where it
    is asked for, the same images are also classified dark, blurred, covered and so on.
    """
    prepared.require_device(device)
    together = names.compiled("--group", group, "^(patient[0-9]+)_")
    pattern = names.compiled("--label-from", label_from, r"^([a-z]+)\.")
    path = run or listing.latest()
    facts, splits = run_folder.load_facts(path), run_folder.load_splits(path)
    policy = doubt.resolve(facts, doubts)
    columns = columns_of(label_column)
    if facts.target is not None:
        whole, place = readers.read_target(root, _target(facts, facts.target), pattern, columns)
        return evaluate_target.measured(
            evaluate_target.Run(path=path, facts=facts, splits=splits, target=facts.target),
            whole,
            _unseen(whole, splits, path, unseen=unseen),
            place,
            device=device,
            listener=listener,
            groups=lambda some: _groups(place, some, together, listener, facts.preprocess.bands),
            robust=robust,
        )
    dataset = readers.read_labelled(root, facts.classes, pattern, columns)
    place = readers.root_of(root, columns)
    samples = _unseen(dataset, splits, path, unseen=unseen)
    listener.step(f"classifying {len(samples)} images")
    told = ((path, facts), samples, place, str(root))
    found, good, unread = answered.of_samples(*told, device=device, listener=listener)
    answers = classification.answers(
        (likely for _, likely in found.probabilities()), np.array([s.label for s in good], np.int64)
    )
    groups = _groups(place, good, together, listener, facts.preprocess.bands)
    metrics = classification.summary(answers, facts.classes, groups, _shares(facts))
    selected = None
    if doubts != NO_DOUBT or found.distances is not None:
        parts = (likely for _, likely in found.probabilities())
        selected = doubt.measure(policy, parts, found.distances, answers.labels, groups)
    standing = verdict.against_commonest(metrics, f"{metrics.n} images")
    findings = dataset.findings + leaks(splits.fitting, good, SEEN)
    falls: tuple[Fall, ...] = ()
    if robust:
        many = len(good) * (1 + 3 * len(CORRUPTIONS))
        model = predictor.of_run(path, facts, device=device, images=many, listener=listener)
        falls = robustness.measure(model, place, good, listener)
    return Evaluation(
        run=safe_name(str(path)),
        data=safe_name(str(root)),
        metrics=metrics,
        findings=findings + unread + standing.findings,
        errors=mistakes.wrong(
            answers.labels,
            answers.called,
            answers.confidence,
            [s.path for s in good],
            facts.classes,
        ),
        better_than_commonest=standing.better,
        verdict=standing.text,
        robustness=falls,
        selected=selected,
    )


def _unseen(dataset: Dataset, splits: Splits, run: Path, *, unseen: bool) -> tuple[Sample, ...]:
    """All images, or those that the run was not trained on.

    Raises:
        DataError: there is none.
    """
    known = {s.digest for s in splits.fitting} | set(splits.learnt)
    samples = tuple(s for s in dataset.pool if not (unseen and s.digest in known))
    if not samples:
        raise DataError(
            f"every image in {dataset.root} was used to train {run}",
            hint="Give images that the run was not trained on, or leave out --unseen.",
        )
    return samples


def _target(facts: RunFacts, target: TargetFacts) -> Target:
    return Target(kind=target.kind, names=facts.classes, reason="what the run has learned")


def _shares(facts: RunFacts) -> npt.NDArray[np.float64] | None:
    """The classes' shares for which the run was made, float64[C]; None for those of its images."""
    if facts.shares is None:
        return None
    found = np.array([facts.shares.wanted.get(name, 0.0) for name in facts.classes])
    return found if np.isfinite(found).all() and (found > 0).all() else None


def _groups(
    root: Path,
    samples: Sequence[Sample],
    pattern: re.Pattern[str] | None,
    listener: Listener,
    bands: tuple[int, ...] | None,
) -> clusters.Clusters | None:
    """Which images go together, int64[N]; None where each is one by itself."""
    side = near_duplicates.SIDE_PX
    nothing = examination.Looked.nothing(len(samples), side, bands)
    looked = examination.look(root, samples, side, listener.progress, nothing)
    near = examination.near_clusters(samples, looked)
    return clusters.number(grouping.units(samples, near, pattern))
