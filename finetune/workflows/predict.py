"""The story of `predict`: an answer or a fault for every image; torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finetune.backbones import prepared
from finetune.data import file_kinds
from finetune.data.files import list_images
from finetune.deploy import predictor
from finetune.records.answers import Prediction
from finetune.records.errors import safe_name
from finetune.records.events import Listener
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
        predictor.predict(path, facts, files, top=top, device=device, listener=listener)
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
    advice = file_kinds.foreign(file) if answer.error else ""
    return replace(answer, error=f"{answer.error}; {advice}") if advice else answer
