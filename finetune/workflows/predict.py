"""The story of `predict`: an answer or a fault for every image; torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from finetune.backbones import prepared
from finetune.data import file_kinds
from finetune.data.files import list_images
from finetune.deploy import predictor
from finetune.records.answers import ClassProbability, Prediction
from finetune.records.errors import safe_name
from finetune.records.events import Listener
from finetune.records.run import RunFacts
from finetune.runs import listing, run_folder


def run_prediction(
    paths: Sequence[Path], run: Path | None, *, top: int, device: str, listener: Listener
) -> list[Prediction]:
    """`finetune predict`: an answer or a fault for every image, in the order of the files."""
    prepared.require_device(device)
    path = run or listing.latest()
    facts = run_folder.load_facts(path)
    found = list_images(paths)
    files = [file for i, file in enumerate(found.files) if i not in found.faults]
    if found.others:
        listener.note(f"{found.others} file(s) that are not images left out")
    listener.step(f"classifying {len(files)} image(s) with {path}")
    answers = iter(
        classified(path, facts, files, top=top, device=device, listener=listener) if files else ()
    )
    return [
        Prediction(safe_name(str(file)), error=safe_name(found.faults[i]))
        if i in found.faults
        else _advised(next(answers), file)
        for i, file in enumerate(found.files)
    ]


def classified(
    run: Path,
    facts: RunFacts,
    paths: Sequence[Path],
    *,
    top: int,
    device: str,
    listener: Listener,
) -> list[Prediction]:
    """Classify files with a run; a file that cannot be read becomes a record with its error.

    Args:
        run: As for `predictor.run_logits`, as are all others but one.
        facts: From `run_folder.load_facts`.
        paths: Image files.
        top: How many classes to list per image.
        device: `auto`, `cpu`, `cuda`, `mps`.
        listener: Hears of progress.
    """
    found = predictor.run_logits(run, facts, paths, device=device, listener=listener)
    names = [safe_name(str(path)) for path in paths]
    answers: dict[int, Prediction] = {
        i: Prediction(path=names[i], error=safe_name(fault.message)) for i, fault in found.faults
    }
    for numbers, likely in found.probabilities():
        best = np.argsort(-likely, axis=1, kind="stable")[:, :top]
        for i, row, chosen in zip(numbers.tolist(), likely, best.tolist(), strict=True):
            listed = tuple(ClassProbability(facts.classes[c], float(row[c])) for c in chosen)
            answers[i] = Prediction(
                path=names[i],
                label=listed[0].label,
                probability=listed[0].probability,
                top=listed,
            )
    return [answers[i] for i in range(len(paths))]


def _advised(answer: Prediction, file: Path) -> Prediction:
    """What to do about a picture of a foreign kind that was named itself, and cannot be read."""
    advice = file_kinds.foreign(file) if answer.error else ""
    return replace(answer, error=f"{answer.error}; {advice}") if advice else answer
