"""The story of `explain`: where the evidence for an answer lies, in a table and drawn."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finetune.backbones import prepared
from finetune.data import scales
from finetune.data.files import list_images
from finetune.deploy import explained, explaining
from finetune.records.errors import UsageError, cause, refusals, safe_name
from finetune.records.events import Listener
from finetune.records.explanation import Explanation
from finetune.records.run import RunFacts
from finetune.runs import places, run_folder
from finetune.storage import atomic_files

END = "-explained"


def run_explanation(
    run: Path,
    paths: Sequence[Path],
    *,
    out: Path | None = None,
    label: str | None = None,
    device: str = "auto",
    listener: Listener,
) -> list[Explanation]:
    """`finetune explain RUN IMAGE…`: a record for each image, in their order, and a PNG beside.

    Args:
        run: Its folder.
        paths: Images, or folders of them.
        out: The folder for the pictures; beside the run where None.
        label: The class to explain; each image's answer where None.
        device: `auto`, `cpu`, `cuda`, `mps`.
        listener: Hears of progress.

    Raises:
        UsageError: no such class, or a folder that cannot be written, or lies among the images.
    """
    prepared.require_device(device)
    facts = run_folder.load_facts(run)
    number = None if label is None else _number(label, facts)
    folder = out or run.resolve().with_name(f"{run.resolve().name}{END}")
    _require_elsewhere(folder, facts, paths)
    found = list_images(paths)
    if found.others:
        listener.note(f"{found.others} file(s) that are not images left out")
    for text in scales.unseen(found.files, facts.preprocess.scales):
        listener.note(text)
    listener.step(f"explaining {len(found.files)} image(s) with {run}")
    explain = explaining.of_run(run, facts, device, listener)
    with refusals(lambda error: _unwritten(folder, error)):
        folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    answers = []
    for i, file in enumerate(found.files):
        listener.progress(i, len(found.files))
        name = safe_name(str(file))
        if i in found.faults:
            answers.append(Explanation(path=name, error=safe_name(found.faults[i])))
            continue
        record, draw = explained.picture(name, file, explain, facts, number)
        if draw is not None:
            place = folder / _free(file.stem, taken)
            with refusals(lambda error: _unwritten(folder, error)):
                atomic_files.put(place, draw())
            record = replace(record, overlay=safe_name(str(place)))
        answers.append(record)
    listener.progress(len(found.files), len(found.files))
    return answers


def _number(label: str, facts: RunFacts) -> int:
    """The class of that name."""
    if label in facts.classes:
        return facts.classes.index(label)
    close = difflib.get_close_matches(label, facts.classes, 1)
    there = ", ".join(facts.classes[:10]) + (" …" if len(facts.classes) > 10 else "")
    raise UsageError(
        f"--class {label}: the run knows no such class",
        hint=f"Is '{close[0]}' meant?" if close else f"Give one of {there}.",
    )


def _require_elsewhere(folder: Path, facts: RunFacts, paths: Sequence[Path]) -> None:
    """Nothing is written among images: neither those given nor those of the training."""
    places.require_outside(facts.data_root, folder)
    for path in paths:
        # a folder of images may hold more folders, a single image lies beside others
        home = path if path.is_dir() else path.parent
        here, there = os.path.realpath(folder), os.path.realpath(home)
        if here == there or (path.is_dir() and Path(here).is_relative_to(there)):
            raise UsageError(
                f"{folder} lies among the images of {home}, where nothing is written",
                hint="Give another folder with --out.",
            )


def _free(stem: str, taken: set[str]) -> str:
    """A file name that no image of this call has yet."""
    name, number = f"{stem}.png", 2
    while name in taken:
        name, number = f"{stem}-{number}.png", number + 1
    taken.add(name)
    return name


def _unwritten(folder: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write to {folder}: {cause(error)}", hint="Give another --out.")
