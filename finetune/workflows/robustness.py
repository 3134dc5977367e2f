"""How a run's accuracy falls on pictures that are dark, blurred, covered, turned …; torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from finetune.deploy.predictor import Predictor
from finetune.metrics import paired
from finetune.pictures import corruptions, decoding
from finetune.pictures.corruptions import Corruption, Picture
from finetune.records.dataset import Sample
from finetune.records.errors import ImageError
from finetune.records.events import Listener
from finetune.records.robustness import Fall

# Each is classified 31 times; 200 tell a fall of 10 points from none.
MOST_IMAGES = 200
_BATCH = 32


class Change(NamedTuple):
    """What has happened to pictures: a kind, its strength from 1 to 3, and what that is."""

    kind: str
    strength: int
    what: str


def measure(
    model: Predictor, root: Path, samples: Sequence[Sample], listener: Listener
) -> tuple[Fall, ...]:
    """Accuracy on the same images under every corruption, at three strengths.

    Args:
        model: What answers.
        root: Where the images lie.
        samples: Labelled images; of more than `MOST_IMAGES` some, drawn at random.
        listener: Hears of progress.

    Returns:
        Three for each kind; empty where no image can be read.
    """
    kept, pictures = some(model, root, samples)
    if not pictures:
        return ()
    labels = np.array([s.label for s in kept], np.int64)
    before: npt.NDArray[np.float64] | None = None
    falls: list[Fall] = []
    for change, logits in answers(model, pictures, corruptions.CORRUPTIONS, listener):
        now = np.asarray(logits.argmax(1) == labels, np.float64)
        if change is None or before is None:
            before = now
            continue
        lost, error = paired.paired(before - now)
        falls.append(
            Fall(
                kind=change.kind,
                strength=change.strength,
                what=change.what,
                images=len(pictures),
                accuracy=float(now.mean()),
                lost=lost,
                error=min(error, 1.0),  # of one image nothing is known
            )
        )
    return tuple(falls)


def some(
    model: Predictor, root: Path, samples: Sequence[Sample]
) -> tuple[list[Sample], list[Picture]]:
    """At most `MOST_IMAGES` that can be read, drawn at random, and as the network sees them."""
    order = np.random.default_rng(0).permutation(len(samples))[:MOST_IMAGES]
    kept, pictures = [], []
    for sample in (samples[i] for i in sorted(order.tolist())):
        try:
            pictures.append(
                decoding.decode(root / sample.path, model.side_px, model.scales, model.box)
            )
        except ImageError:
            continue  # named by the evaluation itself
        kept.append(sample)
    return kept, pictures


def answers(
    model: Predictor,
    pictures: Sequence[Picture],
    kinds: Sequence[Corruption],
    listener: Listener,
) -> Iterator[tuple[Change | None, npt.NDArray[np.float64]]]:
    """What a model says of pictures as they are (None), then of each kind at three strengths.

    Args:
        model: What answers, float64[N, K].
        pictures: At least one.
        kinds: What happens to them.
        listener: Hears of progress.
    """
    total = len(pictures) * (1 + 3 * len(kinds))
    listener.step(f"classifying {len(pictures)} images under {len(kinds)} corruptions")
    yield None, _said(model, pictures)
    done = len(pictures)
    for one in kinds:
        for strength, what in enumerate(one.words):
            listener.progress(done, total)
            changed = [
                corruptions.apply(one, strength, picture, pictures[i - 1], i)
                for i, picture in enumerate(pictures)
            ]
            yield Change(one.kind, strength + 1, what), _said(model, changed)
            done += len(pictures)
    listener.progress(total, total)


def _said(model: Predictor, pictures: Sequence[Picture]) -> npt.NDArray[np.float64]:
    """A model's outputs, float64[N, K]."""
    parts = [
        model.logits(np.stack(pictures[start : start + _BATCH]))
        for start in range(0, len(pictures), _BATCH)
    ]
    return np.asarray(np.concatenate(parts), np.float64)
