"""The data before any network has seen it: read, checked, split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.analysis.clock import Clock
from finetune.data import class_shares, examination, scales
from finetune.heads import logit_adjustment
from finetune.heads.logit_adjustment import Wanted
from finetune.pictures import bands
from finetune.records.choices import TUNED
from finetune.records.dataset import Dataset, Sample, Scale, Splits
from finetune.records.errors import DataError, UsageError
from finetune.records.events import Listener
from finetune.records.options import Options
from finetune.runs import run_folder, start
from finetune.sources import findings, readers
from finetune.training import recipe

LEAST_IMAGES = 4  # two to learn from and two to measure on, where no classes ask for more


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A data set before any network has seen it: its parts, and how deep pictures are scaled.

    `wanted` are the classes' shares where the model will be used; None for those of the images.
    `learnt` are digests of the images that have taught the run to start from.
    """

    examined: examination.Examination
    scaled: tuple[Scale, ...]
    wanted: Wanted | None = None
    learnt: frozenset[str] = frozenset()

    @property
    def fitting(self) -> tuple[Sample, ...]:
        """The images that are not test."""
        return self.examined.splits.fitting


def look(options: Options, listener: Listener, clock: Clock, *, kept: bool) -> Seen:
    """Scan and split.

    Args:
        options: What the user wants.
        listener: Hears of progress.
        clock: Times the steps.
        kept: Whether a run will be written.

    Raises:
        DataError: unreadable images where these are an error, or a class without any.
    """
    root = readers.root_of(options.data.root, options.data.columns)
    with clock.step("scan", f"reading and checking {options.data.root}"):
        learnt = start.learnt(start.named(options.backbone))
        examined = examination.examine(
            options.data, options.training.seed, listener.progress, learnt=learnt
        )
        splits = examined.splits
        _require_readable(examined, options.data.root)
        _require_validation(options, splits)
        if examined.dataset.target is not None and options.decision.prior != "train":
            raise UsageError(
                f"--prior {options.decision.prior} is about shares of classes, and "
                f"{examined.dataset.target.kind} is learned here",
                hint="Leave it out.",
            )
        wanted = _wanted(options.decision.prior, examined.dataset.classes)
        scaled = scales.decide(root, splits.fitting, examined.looked.glances, examined.looked.bands)
        if kept:
            run_folder.require_room(splits)
    for finding in examined.findings:
        if finding.severity != "note" or finding.code in (
            findings.LAYOUT.code,
            findings.TARGET.code,
            findings.SPLIT_CLASS.code,
        ):
            listener.note(f"{finding.code} {finding.title}")
    for finding in bands.findings(examined.looked.bands):
        listener.note(finding.title)
    for scale in scaled:
        listener.detail(scale.reason)
    return Seen(examined=examined, scaled=scaled, wanted=wanted, learnt=learnt)


def _wanted(prior: str, classes: Sequence[str]) -> Wanted | None:
    """What `--prior` asks for; None where the classes stay as frequent as they are.

    Raises:
        DataError: a file of shares that is not one of these classes.
    """
    if prior in ("train", "uniform"):
        return None if prior == "train" else logit_adjustment.uniform(len(classes))
    path = Path(prior)
    return Wanted(class_shares.matched(class_shares.read(path), classes, path))


def _require_readable(examined: examination.Examination, root: str) -> None:
    """Where no image can be read, or none of a class, the reason is what helps.

    Of labels and numbers `classes` are only what images are divided by: one may be lost.
    """
    faults = examined.subject.faults
    whole = examined.subject.dataset
    left = {s.label for s in examined.dataset.pool}
    lost = [s for s in whole.pool if s.label not in left]
    if not lost or (left and examined.dataset.target is not None):
        return
    counted = Counter(faults[s.path] for s in lost).most_common(3)
    why = ", ".join(f"{reason} ({count} of {len(lost)})" for reason, count in counted)
    classes = list(dict.fromkeys(whole.classes[s.label] for s in lost))
    all_of = "" if not left else f" of {', '.join(classes[:5])}"
    raise DataError(
        f"none of the {len(lost)} training images{all_of} in {root} can be read: {why}",
        hint="Fix that, or remove the class folder; `finetune check` names every file.",
    )


def _require_validation(options: Options, splits: Splits) -> None:
    """Options about validation images are refused where too few of them can have an effect."""
    strategy, images = options.decision.strategy, len(splits.val)
    least = 1 if strategy == "scratch" else recipe.TELLING_IMAGES
    if strategy not in ("auto", *TUNED) or images >= least:
        return
    if "patience" in options.training.overrides:
        raise UsageError(
            f"--patience needs at least {least} validation images, here are {images}: by fewer "
            "no training is ended early",
            hint="Leave it out, which trains all --epochs, or give more to --val-fraction.",
        )
    if options.training.overrides.get("refit") is False:
        raise UsageError(
            f"--no-refit needs at least {least} validation images, here are {images}: with fewer "
            "the model that is returned is trained on all images anyway",
            hint="Leave it out, or give more to --val-fraction.",
        )


def require_every_class(dataset: Dataset, labels: npt.NDArray[np.int64], distinct: int) -> None:
    """Refuse data that lack a class, or have too few different images.

    Args:
        dataset: What was scanned.
        labels: Of the images that can be read, int64[N].
        distinct: How many of them are different.

    Raises:
        DataError: says what to add.
    """
    if dataset.target is not None:  # `classes` are only what images are divided by
        if distinct < LEAST_IMAGES:
            raise DataError(
                f"{dataset.root} has {distinct} different training images; copies, near duplicates "
                "and a --group count as one",
                hint=f"Give {LEAST_IMAGES} at the very least; a hundred is a sensible start.",
            )
        return
    counts = np.bincount(labels, minlength=len(dataset.classes))
    empty = [dataset.classes[i] for i in np.flatnonzero(counts == 0)]
    if empty:
        raise DataError(
            f"no readable training image of {', '.join(empty[:5])} in {dataset.root}",
            hint="Add images of it, or remove the class folder.",
        )
    if distinct < 2 * len(dataset.classes):
        raise DataError(
            f"{dataset.root} has {distinct} different training images for "
            f"{len(dataset.classes)} classes; copies, near duplicates and a --group count as one",
            hint="Give at least two per class; ten is a sensible least.",
        )
