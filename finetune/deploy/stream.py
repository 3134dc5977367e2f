"""Pictures one after the other to answers in their order, however many there are; torch-free."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from finetune.backbones.features import BATCH
from finetune.data import scales
from finetune.deploy import outputs
from finetune.deploy.doubt import Policy
from finetune.deploy.predictor import Predictor
from finetune.heads import calibration
from finetune.pictures import decoding, file_kinds, high_depth
from finetune.pictures.decoding import Pixels
from finetune.pictures.opening import Content, File, Member
from finetune.records.answers import Prediction
from finetune.records.errors import BackboneError, ImageError, safe_name
from finetune.sources.archives import Found
from finetune.storage.arrays import Array, Floats

_AHEAD = 3 * BATCH  # pictures that threads unpack before they are asked for
# Of archives that are read one file after the other, so much waits in memory, and as much again in
# a batch.
HELD_BYTES = 64_000_000


@dataclass(frozen=True)
class Shown:
    """A picture in memory, with a name for people."""

    name: str
    image: Image.Image
    held: int = 0


@dataclass(frozen=True)
class Answer:
    """What came of one picture.

    `logits` float64[C] are before temperature, `features` float32[D] what the classifier read; both
    are None where the picture cannot be read, as `fault` then says. `found` is what was asked,
    `distance` how far from the training images it is, if the model can tell.
    """

    found: Found | Shown
    logits: Array | None = None
    features: Floats | None = None
    fault: ImageError | None = None
    distance: float | None = None


@dataclass(frozen=True)
class _Decoded:
    found: Found | Shown
    pixels: Pixels | None = None
    fault: ImageError | None = None
    kind: high_depth.Kind | None = None


@dataclass(frozen=True)
class Answering:
    """A predictor at work on a stream.

    `unseen` counts pictures of more than 8 bits whose kind the training has not seen.
    """

    model: Predictor
    unseen: Counter[high_depth.Kind | None] = field(default_factory=Counter)

    def answers(self, items: Iterable[Found | Shown]) -> Iterator[Answer]:
        """An answer for each, in their order; no more of them are in memory than are under way.

        Raises:
            BackboneError: what the network computes are no numbers.
        """
        for part in _parts(_ahead(items, self._decoded)):
            pixels = [one.pixels for one in part if one.pixels is not None]
            rows: Iterator[tuple[Array, Floats, float | None]] = iter(())
            if pixels:
                features = self.model.features(np.stack(pixels))
                logits = self.model.read(features)
                if not np.isfinite(logits).all():
                    first = next(one for one in part if one.pixels is not None)
                    raise BackboneError(
                        f"the network's answer for {first.found.name} or an image after it is not "
                        "a number",
                        hint="Its weights are damaged: train again.",
                    )
                far = self.model.distances(features)
                distances = [None] * len(logits) if far is None else far.tolist()
                rows = zip(logits, features, distances, strict=True)
            for one in part:
                self.unseen[one.kind] += 1
                if one.pixels is None:
                    yield Answer(one.found, fault=one.fault)
                else:
                    row, read, distance = next(rows)
                    yield Answer(one.found, row, read, distance=distance)

    def _decoded(self, found: Found | Shown) -> _Decoded:
        model = self.model
        try:
            if isinstance(found, Shown):
                pixels = decoding.square_of(found.image, model.side_px, model.box)
                return _Decoded(found, pixels)
            if found.file is None:
                return _Decoded(found)
            file: File = found.file
            if isinstance(file, Member) and model.scales is not None:
                # unpacked once, as it is looked at twice
                with file.open("rb") as opened:
                    file = Content(file.name, opened.read())
            pixels = decoding.decode(file, model.side_px, model.scales, model.box)
            return _Decoded(found, pixels, kind=self._kind(file))
        except ImageError as fault:
            return _Decoded(found, fault=fault)

    def _kind(self, file: File) -> high_depth.Kind | None:
        known = self.model.scales
        return None if isinstance(file, Member) else scales.unseen_kind(file, known)


def prediction(answer: Answer, policy: Policy, temperature: float, top: int) -> Prediction:
    """An answer as a record: the `top` likeliest classes, or why there are none."""
    found = answer.found
    if answer.logits is None:
        told = found.fault if isinstance(found, Found) and found.fault else str(answer.fault)
        return Prediction(found.name, error=safe_name(f"{told}{_advice(found)}"))
    if policy.target is not None:
        return outputs.prediction(found.name, answer.logits, policy.target, policy.classes)
    likely = calibration.probabilities(answer.logits[None], temperature)[0]
    return policy.prediction(found.name, likely, answer.distance, top)


def _advice(found: Found | Shown) -> str:
    """What to do about a picture of a foreign kind that was named itself, and cannot be read."""
    file = found.file if isinstance(found, Found) else None
    advice = file_kinds.foreign(file) if isinstance(file, Path) else ""
    return f"; {advice}" if advice else ""


def _ahead(
    items: Iterable[Found | Shown], work: Callable[[Found | Shown], _Decoded]
) -> Iterator[_Decoded]:
    """What comes of each item, in their order; threads work some items, and bytes, ahead."""
    with decoding.threads(os.cpu_count()) as pool:
        waiting: deque[tuple[int, Future[_Decoded]]] = deque()
        held = 0
        for item in items:
            waiting.append((item.held, pool.submit(work, item)))
            held += item.held
            while len(waiting) > _AHEAD or held > HELD_BYTES:
                size, future = waiting.popleft()
                held -= size
                yield future.result()
        while waiting:
            yield waiting.popleft()[1].result()


def _parts(items: Iterable[_Decoded]) -> Iterator[list[_Decoded]]:
    """A batch at a time, a smaller one where its files would fill the memory."""
    part: list[_Decoded] = []
    held = 0
    for item in items:
        part.append(item)
        held += item.found.held
        if len(part) == BATCH or held > HELD_BYTES:
            yield part
            part, held = [], 0
    if part:
        yield part
