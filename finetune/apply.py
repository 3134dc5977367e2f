"""The stories of `predict`, `evaluate` and `check`, which train nothing; torch-free."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from finetune import data, evaluate, health, predict, prepared, runs
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
    advice = data.foreign(file) if answer.error else ""
    return replace(answer, error=f"{answer.error}; {advice}") if advice else answer


def run_evaluation(
    root: Path, run: Path | None, *, device: str, unseen: bool, listener: Listener
) -> Evaluation:
    """`finetune evaluate DIR`: how a run does on labelled images."""
    prepared.require_device(device)
    path = run or runs.latest()
    facts, splits = runs.load_facts(path), runs.load_splits(path)
    dataset = data.scan_labelled(root, facts.classes)
    known = {s.digest for s in splits.fitting}
    samples = tuple(s for s in dataset.pool if not (unseen and s.digest in known))
    if not samples:
        raise DataError(
            f"every image in {root} was used to train {path}",
            hint="Give images the run has not seen, or leave out --unseen.",
        )
    listener.step(f"classifying {len(samples)} images")
    answers = predict.predict(
        path,
        facts,
        [root / s.path for s in samples],
        top=len(facts.classes),
        device=device,
        listener=listener,
        digests=[s.digest for s in samples],
    )
    index = {name: i for i, name in enumerate(facts.classes)}
    good = [(s, a) for s, a in zip(samples, answers, strict=True) if a.error is None]
    bad = [(s, str(a.error)) for s, a in zip(samples, answers, strict=True) if a.error is not None]
    if not good:
        raise DataError(f"no image in {root} could be read: {bad[0][1]}", hint="Check the files.")
    rows = np.zeros((len(good), len(index)))
    for i, (_, answer) in enumerate(good):
        for entry in answer.top:
            rows[i, index[entry.label]] = entry.probability
    labels = np.array([s.label for s, _ in good], np.int64)
    metrics = evaluate.measure(rows, labels, facts.classes)
    leaks = data.leaks(splits.fitting, [s for s, _ in good], data.SEEN)
    findings = dataset.findings + leaks + data.unreadable([s for s, _ in bad], [m for _, m in bad])
    return Evaluation(
        run=safe_name(str(path)), data=safe_name(str(root)), metrics=metrics, findings=findings
    )
