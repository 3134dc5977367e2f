"""The stories of `predict`, `evaluate` and `check`, which train nothing; torch-free."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from finetune import (
    data,
    evaluate,
    health,
    kinds,
    mistakes,
    names,
    predict,
    prepared,
    runs,
    scan,
    verdict,
)
from finetune.errors import DataError, safe_name
from finetune.records import Evaluation, Health, Listener, Prediction, Request


def run_check(request: Request, listener: Listener) -> Health:
    """`finetune check DIR`: every check, a ready-made test included, nothing learnt."""
    began = time.perf_counter()
    listener.step(f"reading and checking {request.root}")
    found = health.examine(request, listener.progress, with_test=True)
    splits = found.splits
    return Health(
        data=safe_name(request.root),
        classes=found.dataset.classes,
        layout=found.dataset.layout,
        counts={"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)},
        checks=found.checks,
        seconds=time.perf_counter() - began,
    )


def run_prediction(
    paths: Sequence[Path], run: Path | None, *, top: int, device: str, listener: Listener
) -> list[Prediction]:
    """`finetune predict`: an answer or a fault for every image, in the order of the files."""
    prepared.require_device(device)
    path = run or runs.latest()
    facts = runs.load_facts(path)
    found = data.list_images(paths)
    files = [file for i, file in enumerate(found.files) if i not in found.faults]
    if found.others:
        listener.note(f"{found.others} file(s) that are not images left out")
    listener.step(f"classifying {len(files)} image(s) with {path}")
    answers = iter(
        predict.predict(path, facts, files, top=top, device=device, listener=listener)
        if files
        else ()
    )
    return [
        Prediction(safe_name(str(file)), error=safe_name(found.faults[i]))
        if i in found.faults
        else _advised(next(answers), file)
        for i, file in enumerate(found.files)
    ]


def _advised(answer: Prediction, file: Path) -> Prediction:
    """What to do about a picture of a foreign kind that was named itself, and cannot be read."""
    advice = kinds.foreign(file) if answer.error else ""
    return replace(answer, error=f"{answer.error}; {advice}") if advice else answer


def run_evaluation(
    root: Path,
    run: Path | None,
    *,
    device: str,
    unseen: bool,
    listener: Listener,
    label_from: str | None = None,
) -> Evaluation:
    """`finetune evaluate DIR`: how a run does on labelled images."""
    prepared.require_device(device)
    pattern = names.compiled("--label-from", label_from, r"^([a-z]+)\.")
    path = run or runs.latest()
    facts, splits = runs.load_facts(path), runs.load_splits(path)
    dataset = scan.scan_labelled(root, facts.classes, pattern)
    known = {s.digest for s in splits.fitting}
    samples = tuple(s for s in dataset.pool if not (unseen and s.digest in known))
    if not samples:
        raise DataError(
            f"every image in {root} was used to train {path}",
            hint="Give images the run has not seen, or leave out --unseen.",
        )
    listener.step(f"classifying {len(samples)} images")
    found = predict.scores(
        path,
        facts,
        [root / s.path for s in samples],
        device=device,
        listener=listener,
        digests=[s.digest for s in samples],
    )
    good = [samples[i] for i in found.kept.tolist()]
    bad = [samples[i] for i, _ in found.faults]
    messages = [safe_name(fault.message) for _, fault in found.faults]
    if not good:
        raise DataError(f"no image in {root} could be read: {messages[0]}", hint="Check the files.")
    answers = evaluate.answers(
        (likely for _, likely in found.probabilities()), np.array([s.label for s in good], np.int64)
    )
    metrics = evaluate.summary(answers, facts.classes)
    standing = verdict.against_commonest(metrics, f"{metrics.n} images")
    findings = dataset.findings + data.leaks(splits.fitting, good, data.SEEN)
    return Evaluation(
        run=safe_name(str(path)),
        data=safe_name(str(root)),
        metrics=metrics,
        findings=findings + data.unreadable(bad, messages) + standing.findings,
        errors=mistakes.wrong(
            *(answers.labels, answers.called, answers.confidence),
            *([s.path for s in good], facts.classes),
        ),
        better_than_commonest=standing.better,
        verdict=standing.text,
    )
