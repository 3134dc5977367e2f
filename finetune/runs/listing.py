"""Which runs there are, and the newest of them."""

from __future__ import annotations

from pathlib import Path

from finetune.records.errors import RunError, cause, refusals, safe_name
from finetune.records.run import RunRow
from finetune.runs import places, run_folder
from finetune.runs.run_folder import HOME


def rows(home: Path = HOME) -> list[RunRow]:
    """The runs below a folder, newest first; damaged ones are listed with their fault.

    Raises:
        RunError: the folder cannot be read.
    """
    with refusals(
        lambda error: RunError(
            f"cannot list the runs in {home}: {cause(error)}", hint="Name another folder."
        )
    ):
        folders = [p for p in home.iterdir() if p.is_dir()] if home.is_dir() else []
    found = []
    for path in folders:
        if path.name.startswith("."):
            continue
        try:
            begun = places.unfinished(path)
            facts = run_folder.load_facts(path)
            score = None if facts.target is None else _score(path)
        except RunError as error:
            text = error.message if begun is None else f"unfinished: {begun.request.command}"
            found.append(RunRow(run=safe_name(str(path)), error=safe_name(text)))
            continue
        found.append(
            RunRow(
                run=safe_name(str(path)),
                created=facts.created,
                strategy=facts.strategy,
                backbone=facts.backbone.name,
                classes=len(facts.classes),
                accuracy=facts.accuracy,
                accuracy_source=facts.accuracy_source,
                target=None if facts.target is None else facts.target.kind,
                score=score,
            )
        )
    return sorted(found, key=lambda r: (r.created, r.run), reverse=True)


def _score(path: Path) -> float | None:
    """The mAP or R² of a run of labels or numbers, of its test or of the estimate before it."""
    result = run_folder.load_target_result(path)
    metrics = result.test or result.estimate
    return metrics.r2 if metrics.map is None else metrics.map


def latest(home: Path = HOME) -> Path:
    """The newest readable run.

    Raises:
        RunError: there is none.
    """
    for row in rows(home):
        if row.error is None:
            return Path(row.run)
    raise RunError(
        f"no run in {home.resolve()}", hint="Train one with `finetune train DIR`, or give --run."
    )
