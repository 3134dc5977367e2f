"""A run as the start of another training."""

from __future__ import annotations

import os
from pathlib import Path

from finetune.records.backbone import Origin, Variant
from finetune.records.errors import BackboneError, safe_name
from finetune.records.file_names import MODEL
from finetune.runs import run_folder

_MOST_SOURCE = 300  # characters of what a run says of its weights; each run tells of the one before


def as_start(weights: str | None, backbone: str | None = None) -> Origin | None:
    """The run that `--weights` names: its folder, or the model.safetensors in it; else None.

    Args:
        weights: As for `load.build`.
        backbone: What it has to be a run of; None for any.

    Raises:
        RunError: its run.json cannot be read.
        BackboneError: it is a run of another backbone.
    """
    if weights is None:
        return None
    given = Path(weights)
    file = given / MODEL if run_folder._has_facts(given) else given
    if file.name != MODEL or not run_folder._has_facts(file.parent):
        return None
    facts = run_folder.load_facts(file.parent)
    about = facts.backbone
    if backbone not in (None, about.name):
        raise BackboneError(
            f"{file.parent} is a run of {safe_name(about.name)}, not of {backbone}",
            hint=f"Leave out --backbone: then it is the run's, {safe_name(about.name)}.",
        )
    name = safe_name(Path(os.path.realpath(file.parent)).name)
    source = safe_name(f"run {name} ({facts.strategy}), from {about.weights}")[:_MOST_SOURCE]
    licence = safe_name(about.licence)[:_MOST_SOURCE]
    known = about.preprocess
    variant = Variant(
        side_px=known.side_px,
        mean=known.mean,
        std=known.std,
        interpolation=known.interpolation,
    )
    return Origin(str(file), about.name, source, licence, variant)
