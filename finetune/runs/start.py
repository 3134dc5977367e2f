"""A run as the start of another training."""

from __future__ import annotations

import os
from pathlib import Path

from finetune.records.backbone import Origin, Variant
from finetune.records.backbone_choice import AUTO
from finetune.records.choices import PROBES
from finetune.records.errors import BackboneError, UsageError, safe_name
from finetune.records.file_names import FACTS, MODEL
from finetune.records.options import BackboneOptions
from finetune.runs import run_folder

_MOST_SOURCE = 300  # characters of what a run says of its weights; each run tells of the one before


def as_start(weights: str | None, backbone: str | None = None) -> Origin | None:
    """The run that is named: by its folder, or by the model.safetensors in it; else None.

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


def named(asked: BackboneOptions) -> str | None:
    """What names the weights: `--start-from`, or else `--weights`."""
    return asked.start_from or asked.weights


def require(asked: BackboneOptions, strategy: str) -> None:
    """Refuse a `--start-from` that cannot be done before any image is read.

    Raises:
        UsageError: it goes with no other source of weights, nor with random ones.
        RunError: there is no run, or it cannot be read.
        BackboneError: it is a run of another backbone.
    """
    run = asked.start_from
    if run is None:
        return
    if asked.weights is not None:
        raise UsageError(
            f"--start-from names a run, and --weights is {asked.weights}: both say where weights "
            "come from",
            hint="Give --start-from to compare the run with ImageNet's weights, or --weights RUN "
            "to take its network in any case.",
        )
    if asked.name == AUTO:
        raise UsageError(
            f"--backbone {AUTO} chooses among pretrained networks, and --start-from names a run",
            hint="Leave out --backbone: it is the run's.",
        )
    if strategy == "scratch":
        raise UsageError(
            f"--strategy scratch starts from random weights, not from {run}",
            hint="Leave out --start-from, or choose another --strategy.",
        )
    if as_start(run, asked.name) is None:
        run_folder.load_facts(Path(run))  # tells what is not there
        raise BackboneError(
            f"{run} is no run: its network has no {FACTS} beside it",
            hint="Give the folder of a run; --weights takes a file of weights alone.",
        )


def learnt(weights: str | None) -> frozenset[str]:
    """Digests of the images that have taught a run's network, there and in runs before it.

    The images of a probe have taught its head alone. Of what a run's network was before it became
    one, ImageNet's or a file's, nothing is known.

    Args:
        weights: What names the weights, a run or not.

    Raises:
        RunError: the run's list of images cannot be read.
    """
    origin = as_start(weights)
    if origin is None:
        return frozenset()
    run = Path(origin.file).parent
    splits = run_folder.load_splits(run)
    if run_folder.load_facts(run).strategy in PROBES:
        return frozenset(splits.learnt)
    return frozenset(splits.learnt).union(s.digest for s in splits.fitting)
