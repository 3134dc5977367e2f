"""The story of `explain`: where the evidence for an answer lies, in a table and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finetune.backbones import prepared
from finetune.deploy import explained, explaining, outputs, sorting
from finetune.records.errors import UsageError, cause, refusals, safe_name
from finetune.records.events import Listener
from finetune.records.explanation import Explanation
from finetune.runs import run_folder
from finetune.sources import to_classify
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
        paths: Images, folders, patterns or archives.
        out: The folder for the pictures; beside the run where None.
        label: The class to explain; each image's answer where None.
        device: `auto`, `cpu`, `cuda`, `mps`.
        listener: Hears of progress.

    Raises:
        UsageError: no such class, or a folder that cannot be written, or lies among the images.
    """
    prepared.require_device(device)
    facts = run_folder.load_facts(run)
    outputs.require_evidence(facts)
    number = None if label is None else explained.number(label, facts)
    folder = out or run.resolve().with_name(f"{run.resolve().name}{END}")
    data = Path(facts.data_root) if facts.data_root else None
    sorting.require("--out", folder, paths, data)
    total = to_classify.count(paths) or 0
    listener.step(f"explaining {total or 'all'} image(s) with {run}")
    explain = explaining.of_run(run, facts, device, listener)
    with refusals(lambda error: _unwritten(folder, error)):
        folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    answers: list[Explanation] = []
    tally = to_classify.Tally()
    for item in to_classify.stream(paths, tally=tally):
        record = explained.picture(item, explain, facts, number)
        if record.error is None:
            place = folder / _free(Path(item.name).stem, taken)
            with refusals(lambda error: _unwritten(folder, error)):
                atomic_files.put(place, explained.drawn(record, item, facts.preprocess))
            record = replace(record, overlay=safe_name(str(place)))
        answers.append(record)
        listener.progress(len(answers), max(total, len(answers)))
    for text in tally.told():
        listener.note(text)
    return answers


def _free(stem: str, taken: set[str]) -> str:
    """A file name that no image of this call has yet."""
    name, number = f"{stem}.png", 2
    while name in taken:
        name, number = f"{stem}-{number}.png", number + 1
    taken.add(name)
    return name


def _unwritten(folder: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write to {folder}: {cause(error)}", hint="Give another --out.")
