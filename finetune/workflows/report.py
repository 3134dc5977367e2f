"""The story of `report`: the page of a finished run, made again from what its folder holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from finetune.deploy import explaining, outputs, predictor
from finetune.records.answers import Reported
from finetune.records.codec import to_json
from finetune.records.errors import DataError, RunError, TakenError, cause, refusals, safe_name
from finetune.records.events import Listener
from finetune.records.file_names import MATERIAL, REPORT
from finetune.records.material import Material
from finetune.records.options import columns_of
from finetune.records.run import RunFacts, RunResult
from finetune.records.training import EpochRecord
from finetune.runs import places, run_folder
from finetune.sources import readers
from finetune.storage import atomic_files
from finetune.workflows import report_extras, report_material, report_target, robustness

_EXPLAINING_S = 60.0  # asked for, so all of them


def run_report(
    run: Path, out: Path | None, *, no_images: bool, full: bool = False, listener: Listener
) -> Reported:
    """`finetune report RUN`: make the page again, with other options or of a newer version.

    Args:
        run: Its folder.
        out: Where to write; the page in the run is replaced where None.
        no_images: Leave pictures out.
        full: Measure robustness and make heat maps first, and keep both in the run.
        listener: Hears where pictures cannot be had.

    Raises:
        RunError: the run holds nothing to make a report of, or the page cannot be written.
        DataError: the images that `full` needs do not lie where they lay.
        TakenError: something stands in that place.
    """
    facts, history = run_folder.load_facts(run), run_folder.load_history(run)
    place = run / REPORT if out is None else out
    places.require_outside(facts.data_root, place)
    if out is not None and os.path.lexists(out):
        raise TakenError(f"{out} exists already", hint="Give another --out, or remove it.")
    if facts.target is not None:
        if full:
            outputs.require_classes(facts, "--full", "it explains and disturbs answers of classes")
        root = None if no_images else _images_of(facts, listener)
        listener.step(f"making the report of {run}")
        page, shown = report_target.page(facts, run_folder.load_target_result(run), history, root)
    else:
        page, shown = _of_classes(
            run, facts, history, full=full, no_images=no_images, listener=listener
        )
    content = page.encode(errors="backslashreplace")
    _put(place, content)
    return Reported(
        path=safe_name(str(place)), run=safe_name(str(run)), bytes=len(content), pictures=shown
    )


def _of_classes(
    run: Path,
    facts: RunFacts,
    history: Sequence[EpochRecord],
    *,
    full: bool,
    no_images: bool,
    listener: Listener,
) -> tuple[str, int]:
    """The page of a run of classes, and how many pictures it shows."""
    result, material = run_folder.load_result(run), run_folder.load_material(run)
    home = Path(facts.data_root)
    if full:
        material = _fuller(run, facts, result, material, listener)
        _put(run / MATERIAL, (to_json(material) + "\n").encode())
    if not no_images and not home.is_dir():
        listener.note(f"the images do not lie in {home} any more: the report has no pictures")
    root = home if home.is_dir() and not no_images else None
    listener.step(f"making the report of {run}")
    return report_material.page(facts, result, material, history, root)


def _images_of(facts: RunFacts, listener: Listener) -> Path | None:
    """What the paths of a run's images are below; None, with a note, where they are gone."""
    columns = columns_of(facts.request.label_column) if facts.request else ()
    try:
        root = readers.root_of(facts.data_root, columns)
        there = Path(facts.data_root).exists()
    except DataError:
        there = False
    if not there:
        text = f"the images of {facts.data_root} are not there any more"
        listener.note(f"{text}: the report has no pictures")
        return None
    return root


def _fuller(
    run: Path, facts: RunFacts, result: RunResult, material: Material, listener: Listener
) -> Material:
    """The same with heat maps and robustness."""
    root, samples = Path(facts.data_root), run_folder.load_splits(run).test
    if not root.is_dir():
        raise DataError(
            f"the images do not lie in {root} any more",
            hint="Put them back, or leave out --full.",
        )
    listener.step(f"explaining answers of {run}")
    material = report_extras.heat_maps(
        facts,
        result,
        material,
        lambda: explaining.of_run(run, facts, "auto", listener),
        root,
        _EXPLAINING_S,
        listener,
    )
    images = robustness.MOST_IMAGES
    model = predictor.of_run(run, facts, device="auto", images=images, listener=listener)
    return report_extras.falls(material, model, root, samples, images, listener)


def _put(file: Path, content: bytes) -> None:
    with refusals(
        lambda error: RunError(
            f"cannot write {file}: {cause(error)}", hint="Give another place with --out."
        )
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.put(file, content)
