"""How a run's accuracy falls on pictures that are dark, blurred, covered, turned …; torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.data import corruptions, decoding
from finetune.data.corruptions import Picture
from finetune.deploy.predictor import Predictor
from finetune.metrics import paired
from finetune.records.dataset import Sample
from finetune.records.errors import ImageError
from finetune.records.events import Listener
from finetune.records.robustness import Fall

# Each is classified 31 times; 200 tell a fall of 10 points from none.
MOST_IMAGES = 200
_BATCH = 32


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
    order = np.random.default_rng(0).permutation(len(samples))[:MOST_IMAGES]
    some = [samples[i] for i in sorted(order.tolist())]
    pictures, labels = _decoded(model, root, some)
    if not pictures:
        return ()
    kinds = corruptions.CORRUPTIONS
    total = len(pictures) * (1 + 3 * len(kinds))
    listener.step(f"classifying {len(pictures)} images under {len(kinds)} corruptions")
    before = _correct(model, pictures, labels)
    falls: list[Fall] = []
    for one in kinds:
        for strength, what in enumerate(one.words):
            listener.progress(len(pictures) * (1 + len(falls)), total)
            changed = [
                corruptions.apply(one, strength, picture, pictures[i - 1], i)
                for i, picture in enumerate(pictures)
            ]
            now = _correct(model, changed, labels)
            lost, error = paired.paired(before - now)
            falls.append(
                Fall(
                    kind=one.kind,
                    strength=strength + 1,
                    what=what,
                    images=len(pictures),
                    accuracy=float(now.mean()),
                    lost=lost,
                    error=min(error, 1.0),  # of one image nothing is known
                )
            )
    listener.progress(total, total)
    return tuple(falls)


def _decoded(
    model: Predictor, root: Path, samples: Sequence[Sample]
) -> tuple[list[Picture], npt.NDArray[np.int64]]:
    """The pictures as the network sees them, without those that cannot be read, and the labels."""
    pictures, labels = [], []
    for sample in samples:
        try:
            pictures.append(
                decoding.decode(root / sample.path, model.side_px, model.scales, model.box)
            )
        except ImageError:
            continue  # named by the evaluation itself
        labels.append(sample.label)
    return pictures, np.array(labels, np.int64)


def _correct(
    model: Predictor, pictures: Sequence[Picture], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """1 where the answer is right, float64[N]."""
    called = [
        model.logits(np.stack(pictures[start : start + _BATCH])).argmax(1)
        for start in range(0, len(pictures), _BATCH)
    ]
    return np.asarray(np.concatenate(called) == labels, np.float64)
