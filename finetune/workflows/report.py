"""The story of `report`: the page of a finished run, made again from what its folder holds."""

from __future__ import annotations

import os
from pathlib import Path

from finetune.records.answers import Reported
from finetune.records.errors import RunError, TakenError, cause, refusals, safe_name
from finetune.records.events import Listener
from finetune.records.file_names import REPORT
from finetune.runs import places, run_folder
from finetune.storage import atomic_files
from finetune.workflows import report_material


def run_report(run: Path, out: Path | None, *, no_images: bool, listener: Listener) -> Reported:
    """`finetune report RUN`: make the page again, with other options or of a newer version.

    Args:
        run: Its folder.
        out: Where to write; the page in the run is replaced where None.
        no_images: Leave pictures out.
        listener: Hears where pictures cannot be had.

    Raises:
        RunError: the run holds nothing to make a report of, or the page cannot be written.
        TakenError: something stands in that place.
    """
    facts, result = run_folder.load_facts(run), run_folder.load_result(run)
    material, history = run_folder.load_material(run), run_folder.load_history(run)
    place = run / REPORT if out is None else out
    places.require_outside(facts.data_root, place)
    if out is not None and os.path.lexists(out):
        raise TakenError(f"{out} exists already", hint="Give another --out, or remove it.")
    root = None if no_images else Path(facts.data_root)
    if root is not None and not root.is_dir():
        listener.note(f"the images do not lie in {root} any more: the report has no pictures")
        root = None
    listener.step(f"making the report of {run}")
    page, shown = report_material.page(facts, result, material, history, root)
    content = page.encode(errors="backslashreplace")
    with refusals(
        lambda error: RunError(
            f"cannot write {place}: {cause(error)}", hint="Give another place with --out."
        )
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.put(place, content)
    return Reported(
        path=safe_name(str(place)), run=safe_name(str(run)), bytes=len(content), pictures=shown
    )
