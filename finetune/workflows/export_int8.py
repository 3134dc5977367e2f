"""What an export in 8 bits needs: pictures for its ranges, others to measure its loss on."""

from __future__ import annotations

import math
import shlex
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.deploy import formats, outputs, parity, predictor, readmes
from finetune.metrics import clusters, lost
from finetune.pictures import decoding
from finetune.records.answers import Int8
from finetune.records.choices import Format
from finetune.records.dataset import Sample, Target
from finetune.records.errors import DataError, ExportError, ImageError, UsageError
from finetune.records.events import Listener
from finetune.records.options import columns_of
from finetune.records.run import RunFacts
from finetune.runs import run_folder
from finetune.sources import readers
from finetune.storage.arrays import Array

CALIBRATION = 300  # as others take: NNCF's default; more did not change the ranges
_TIMED = 15  # answers of each, in turn
_POINTS = 100


@dataclass(frozen=True)
class Pictures:
    """What calibrates and what judges: `source` says which the latter are."""

    root: Path
    calibrating: tuple[Sample, ...]
    judging_root: Path
    judging: tuple[Sample, ...]
    source: str


def require(kind: Format) -> None:
    """Refuse before the work what has no form in 8 bits.

    Raises:
        UsageError: the format.
    """
    if kind not in formats.OF_ONNX:
        raise UsageError(
            f"--int8 with --format {kind}: there is no form of it in 8 bits",
            hint=f"Use one of {', '.join(formats.OF_ONNX)}.",
        )


def pictures(run: Path, facts: RunFacts, images: Path | None) -> Pictures:
    """Training pictures for the ranges; test pictures for the loss, else --images, else validation.

    Where the run's data has gone, every other picture of --images is for the ranges.

    Raises:
        DataError: there are none.
    """
    splits, root = run_folder.load_splits(run), place_of(facts)
    train, test, val = (_there(root, s) for s in (splits.train, splits.test, splits.val))
    given: tuple[Sample, ...] = ()
    if images is not None and not (train and test):
        known = {sample.digest for sample in splits.fitting}
        found, images = _given(facts, images)
        given = tuple(s for s in found if s.digest not in known and parity.fair(images / s.path))
    if train and test:
        return Pictures(root, _some(train), root, test, f"{len(test)} test images")
    if train and given and images is not None:
        return Pictures(root, _some(train), images, given, f"{len(given)} images of {images}")
    if len(given) > 1 and images is not None:
        judging = given[1::2]
        source = f"{len(judging)} images of {images}"
        return Pictures(images, _some(given[::2]), images, judging, source)
    if train and val:
        source = f"{len(val)} validation images, which the run has learned from"
        return Pictures(root, _some(train), root, val, source)
    raise DataError(
        f"--int8 needs labelled images, and no images of the run lie in {root} any more",
        hint=f"Give some, one folder per class or with a table: --images {shlex.quote('DIR')}",
    )


def place_of(facts: RunFacts) -> Path:
    """What the paths of the run's samples are below: its folder, or what lists or packs them."""
    columns = columns_of(facts.request.label_column if facts.request else None)
    return readers.root_of(facts.data_root, columns)


def _given(facts: RunFacts, images: Path) -> tuple[tuple[Sample, ...], Path]:
    """The samples of `--images` with what the run answers, and what their paths are below."""
    if facts.target is None:
        return readers.read_labelled(images, facts.classes).pool, readers.root_of(images)
    target = Target(kind=facts.target.kind, names=facts.classes, reason="")
    found, place = readers.read_target(images, target)
    return found.pool, place


def _there(root: Path, samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Those that still lie there, and that the program in a README reads as predict does."""
    return tuple(s for s in samples if (root / s.path).is_file() and parity.fair(root / s.path))


def _some(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """At most `CALIBRATION` of them, of every class alike: classes lie one after another."""
    ordered = sorted(samples, key=lambda s: s.label)
    step = max(1.0, len(ordered) / CALIBRATION)
    return tuple(ordered[int(i * step)] for i in range(min(CALIBRATION, len(ordered))))


def network(
    run: run_folder.LoadedRun, content: bytes, chosen: Pictures, listener: Listener
) -> bytes:
    """The network in 8 bits, its ranges from the pictures as the network sees them."""
    about = run.facts.preprocess
    listener.step(f"taking ranges from {len(chosen.calibrating)} pictures")
    pixels = []
    for sample in chosen.calibrating:
        try:
            path = chosen.root / sample.path
            pixels.append(decoding.decode(path, about.side_px, about.scales, about.box))
        except ImageError as fault:  # it could be read when the run was made
            listener.note(fault.message)
    return formats.in_8_bits(run, content, pixels, listener.progress)


def measured(
    run: Path,
    facts: RunFacts,
    exports: tuple[formats.Export, formats.Export],
    sizes: tuple[int, int],
    chosen: Pictures,
    max_loss: float,
    listener: Listener,
) -> Int8:
    """What 8 bits lose of what `predict` has: accuracy, mAP, or how its RMSE rises.

    Args:
        run: Its folder.
        facts: Of the run.
        exports: In 8 bits, and in full precision.
        sizes: Their bytes.
        chosen: The pictures.
        max_loss: In points (RMSE: percent), the most that may be lost.
        listener: Hears of progress.

    Raises:
        ExportError: more is lost.
    """
    paths = [chosen.judging_root / sample.path for sample in chosen.judging]
    listener.step(f"measuring the loss on {chosen.source}")
    digests = [sample.digest for sample in chosen.judging]
    found = predictor.run_logits(
        run, facts, paths, device="cpu", listener=listener, digests=digests
    )
    full = np.concatenate([some for _, some in found.probabilities()])
    kept = [chosen.judging[i] for i in found.kept.tolist()]
    less = parity.compare(
        exports[0].answer,
        parity.Expected(tuple(paths[i] for i in found.kept.tolist()), full),
        listener.progress,
    ).likely
    cost = _lost(facts, full, less, kept)
    ms = _in_turn([made.answer for made in exports], paths[int(found.kept[0])])
    told = Int8(
        metric=cost.metric,
        loss=cost.loss,
        interval=cost.interval,
        max_loss=max_loss / _POINTS,
        images=len(kept),
        source=chosen.source,
        fp32_accuracy=cost.score if facts.target is None else None,
        fp32_score=cost.score,
        same_labels=cost.same,
        calibrated=len(chosen.calibrating),
        bytes=sizes[0],
        fp32_bytes=sizes[1],
        ms=ms[0],
        fp32_ms=ms[1],
    )
    if _POINTS * cost.loss > max_loss + 1e-9:
        enough = math.ceil(_POINTS * cost.loss * 10) / 10
        raise ExportError(
            f"in 8 bits {readmes.loss(told)}, more than the {max_loss:g} that --max-loss allows",
            hint=f"Nothing was written. Leave out --int8, or allow it: --max-loss {enough:g}. "
            "Other backbones lose less; those with depthwise convolutions lose most.",
        )
    return told


def _lost(facts: RunFacts, full: Array, less: Array, kept: Sequence[Sample]) -> lost.Lost:
    """The loss in the metric of what the run answers, of answers float64[N, C]."""
    groups = clusters.number([sample.unit for sample in kept])
    if facts.target is None:
        labels = np.array([sample.label for sample in kept], np.int64)
        return lost.of_classes(full, less, labels, groups)
    truth = np.array([sample.values for sample in kept], np.float64)
    if facts.target.kind == "number":
        return lost.of_numbers(full, less, truth, groups)
    least = outputs.thresholds(facts.target, facts.classes)
    return lost.of_labels(full, less, truth, least, groups)


def _in_turn(answers: Sequence[Callable[[Path], object]], path: Path) -> list[float]:
    """Milliseconds of one answer of each, from the file: the median, measured in turn."""
    seconds: list[list[float]] = [[] for _ in answers]
    for _ in range(_TIMED):
        for answer, spent in zip(answers, seconds, strict=True):
            began = time.perf_counter()
            answer(path)
            spent.append(time.perf_counter() - began)
    return [1000 * statistics.median(spent) for spent in seconds]
