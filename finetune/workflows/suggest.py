"""The story of `suggest`: which images of a folder to label next; torch-free."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from finetune.analysis.label_next import Candidates, Group
from finetune.backbones import prepared
from finetune.backbones.features import BATCH
from finetune.data import near_duplicates, scales
from finetune.deploy import outputs, predictor
from finetune.heads import calibration
from finetune.pictures import decoding
from finetune.records import option_table
from finetune.records.errors import DataError, ImageError, UsageError, safe_name
from finetune.records.events import Listener
from finetune.records.labels import Suggestion, Suggestions
from finetune.records.run import RunFacts
from finetune.runs import run_folder
from finetune.sources import files
from finetune.storage.arrays import Array


def run_suggestion(
    run: Path, folder: Path, *, count: int, device: str, listener: Listener
) -> Suggestions:
    """`finetune suggest RUN FOLDER`: images to label next, by doubt and variety.

    Images are read a few at a time and features of at most some thousand are held, so memory does
    not grow with the folder.

    Args:
        run: The run's folder.
        folder: Of images without labels; its folders are looked into.
        count: How many to suggest.
        device: `auto`, `cpu`, `cuda`, `mps`.
        listener: Hears of progress.

    Raises:
        UsageError: no folder.
        DataError: no image in it that is new to the run and can be read.
    """
    option_table.check({"count": count})
    prepared.require_device(device)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", hint="Give a folder of images.")
    facts, splits = run_folder.load_facts(run), run_folder.load_splits(run)
    outputs.require_classes(facts, "suggest", "it looks for doubt between classes")
    listener.step(f"listing the images of {folder}")
    known = {s.digest for s in (*splits.fitting, *splits.test) if s.digest}
    fresh = _fresh(folder, known, listener)
    listener.step(f"classifying {len(fresh.paths)} images with {run}")
    looked = _Looked(fresh.paths, Candidates())
    if fresh.paths:
        looked.look(run, facts, device, listener)
    unreadable = (*fresh.faults, *looked.faults)
    if not looked.answers:
        why = safe_name(unreadable[0]) if unreadable else f"all {fresh.known} are in {run}"
        raise DataError(
            f"nothing to suggest in {folder}: {why}", hint="Give a folder with new images."
        )
    groups = looked.candidates.groups(count)
    chosen = _apart(groups, fresh.paths, count, facts.preprocess.bands)
    similar = {row: len(g.members) for g in groups for row in g.members}
    return Suggestions(
        run=safe_name(str(run)),
        data=safe_name(str(folder)),
        images=len(looked.answers),
        known=fresh.known,
        copies=fresh.copies,
        unreadable=tuple(map(safe_name, unreadable)),
        suggestions=tuple(
            _suggestion(folder, fresh.paths[row], looked.answers[row], facts, similar[row])
            for row in chosen
        ),
        text=_text(len(chosen), len(looked.answers), fresh, len(unreadable)),
    )


@dataclass
class _Fresh:
    """The files that are new, and how many are not; why the others cannot be read."""

    paths: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    known: int = 0
    copies: int = 0


def _fresh(folder: Path, known: set[str], listener: Listener) -> _Fresh:
    """Every image of a folder that the run has not seen, each once."""
    listed, out, seen = files.list_images([folder]), _Fresh(), set[str]()
    for number, path in enumerate(listed.files):
        listener.progress(number, len(listed.files))
        if number in listed.faults:
            out.faults.append(listed.faults[number])
            continue
        try:
            digest = files.digest_file(path)
        except DataError as error:
            out.faults.append(error.message)
            continue
        if digest in known:
            out.known += 1
        elif digest in seen:
            out.copies += 1
        else:
            out.paths.append(path)
        seen.add(digest)
    listener.progress(len(listed.files), len(listed.files))
    return out


@dataclass
class _Looked:
    """What a run says of files, by their numbers: class, probability, margin; the rest's faults."""

    paths: Sequence[Path]
    candidates: Candidates
    answers: dict[int, tuple[int, float, float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def look(self, run: Path, facts: RunFacts, device: str, listener: Listener) -> None:
        """Read every file once."""
        about, workers = facts.preprocess, os.cpu_count() or 1
        for text in scales.unseen(self.paths, about.scales):
            listener.note(text)
        forward = predictor.features_of_run(run, facts, device, listener)
        head = run_folder.load(run)
        done = 0
        for good, pixels, bad in decoding.stream(
            self.paths, about.side_px, BATCH, workers, about.scales, about.box
        ):
            if good:
                features = forward(pixels)
                logits = features.astype(np.float64) @ head.weight.T + head.bias
                likely = calibration.probabilities(logits, facts.head.temperature)
                self.candidates.add(np.array(good), features, 1 - likely.max(axis=1))
                self._answer(good, likely)
            self.faults += [fault.message for _, fault in bad]
            done += len(good) + len(bad)
            listener.progress(done, len(self.paths))

    def _answer(self, numbers: Sequence[int], likely: Array) -> None:
        """Take note of what images are taken for, by probabilities float64[n, C]."""
        best = likely.argmax(axis=1)
        ordered = np.sort(likely, axis=1)
        second = ordered[:, -2] if likely.shape[1] > 1 else np.zeros(len(likely))
        for i, c, first, other in zip(
            numbers, best.tolist(), ordered[:, -1].tolist(), second.tolist(), strict=True
        ):
            self.answers[i] = (c, first, first - other)


def _apart(
    groups: Sequence[Group], paths: Sequence[Path], count: int, bands: tuple[int, ...] | None
) -> list[int]:
    """One image of each group, then a second of each and so on, no near duplicate of another.

    Args:
        groups: Numbers of images, the one in the middle first.
        paths: All files, by number.
        count: How many are wanted.
        bands: Which of a TIFF are taken.
    """
    deepest = max((len(g.members) for g in groups), default=0)
    queue = [g.members[at] for at in range(deepest) for g in groups if at < len(g.members)]
    chosen: list[int] = []
    thumbs = np.empty((0, near_duplicates.SIDE_PX, near_duplicates.SIDE_PX, 3), np.uint8)
    while queue and len(chosen) < count:
        wanted, queue = queue[: count - len(chosen)], queue[count - len(chosen) :]
        some, small = [], []
        for number in wanted:
            try:
                thumb = decoding.glance(paths[number], near_duplicates.SIDE_PX, bands).thumb
            except ImageError:  # it could be read a moment ago
                continue
            assert thumb is not None  # one was asked for
            some.append(number)
            small.append(thumb)
        if not some:
            continue
        together = np.concatenate([thumbs, np.stack(small)])
        first = near_duplicates.clusters(together)
        alone = first[len(thumbs) :] == np.arange(len(thumbs), len(together))
        chosen += [number for number, new in zip(some, alone, strict=True) if new]
        thumbs = np.concatenate([thumbs, np.stack(small)[alone]])
    return chosen


def _suggestion(
    folder: Path, path: Path, answer: tuple[int, float, float], facts: RunFacts, similar: int
) -> Suggestion:
    label, probability, margin = answer
    return Suggestion(
        path=safe_name(path.relative_to(folder).as_posix()),
        label=facts.classes[label],
        probability=probability,
        margin=margin,
        similar=similar,
    )


def _text(chosen: int, images: int, fresh: _Fresh, unreadable: int) -> str:
    """What was suggested, and what was left out."""
    left = [
        f"{number} {what}"
        for number, what in (
            (fresh.known, "already in the run"),
            (fresh.copies, "exact copies"),
            (unreadable, "unreadable"),
        )
        if number
    ]
    out = f"; left out: {', '.join(left)}" if left else ""
    return f"Label these {chosen} of {images} images next{out}."
