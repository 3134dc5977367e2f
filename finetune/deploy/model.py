"""A run in memory: pictures in, records, logits or features out; torch only where it has to be."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from finetune.backbones.features import BATCH
from finetune.deploy import doubt, explained, explaining, outputs, predictor, stream
from finetune.deploy.doubt import Policy
from finetune.deploy.predictor import Predictor
from finetune.deploy.stream import Answer, Shown
from finetune.pictures import decoding
from finetune.records.answers import Prediction
from finetune.records.backbone import Preprocess
from finetune.records.errors import ImageError, UsageError
from finetune.records.events import Listener
from finetune.records.explanation import Explanation
from finetune.records.run import RunFacts
from finetune.records.unsure import NO_DOUBT, DoubtOptions
from finetune.runs import run_folder
from finetune.sources import to_classify
from finetune.sources.archives import Found
from finetune.storage.arrays import Array, Floats

Picture = str | os.PathLike[str] | Image.Image | npt.NDArray[np.uint8]
_THUMB_PX, _THUMBS = 96, 50


class Predictions(list[Prediction]):
    """Answers in the order of the pictures; a notebook shows them as a table with the pictures."""

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{_thumb(p.path) if number < _THUMBS else ''}</td>"
            f"<td>{html.escape(p.path)}</td><td><b>{html.escape(p.error or p.told)}</b></td>"
            f"<td>{'' if p.probability is None else f'{p.probability:.1%}'}</td></tr>"
            for number, p in enumerate(self)
        )
        return f"<table>{rows}</table>"


class Explanations(list[Explanation]):
    """Heat maps in the order of the pictures; a notebook shows them drawn on these."""

    def __init__(
        self, rows: Iterable[Explanation], items: Sequence[Found | Shown], about: Preprocess
    ) -> None:
        super().__init__(rows)
        self._items, self._about = items, about

    def drawn(self, number: int) -> Image.Image:
        """A picture with its heat map and the box with most of the evidence.

        Raises:
            ImageError: it cannot be read.
        """
        record = self[number]
        if record.error is not None:
            raise ImageError(record.path, record.error)
        return Image.open(io.BytesIO(explained.drawn(record, self._items[number], self._about)))

    def _repr_html_(self) -> str:
        rows = []
        for number, e in enumerate(self[:_THUMBS]):
            shown = "" if e.error else _inline(self.drawn(number))
            likely = "" if e.probability is None else f"{e.probability:.1%}"
            told = html.escape(e.label or e.error or "")
            rows.append(
                f"<tr><td>{shown}</td><td>{html.escape(e.path)}</td><td><b>{told}</b></td>"
                f"<td>{likely}</td></tr>"
            )
        return f"<table>{''.join(rows)}</table>"


@dataclass(frozen=True)
class Model:
    """A run that answers. From `finetune.load`.

    Pictures are files, folders, archives or patterns (as text or `Path`), Pillow's images, or
    arrays uint8[H,W,3], uint8[H,W] of gray ones or uint8[H,W,4] with transparency: one, or any
    number of them, from a generator, too.
    """

    run: Path
    facts: RunFacts
    device: str
    listener: Listener
    policy: Policy

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of logits."""
        return self.facts.classes

    def predict(self, images: Picture | Iterable[Picture], *, top: int = 3) -> Predictions:
        """A record for each picture; one that cannot be read has its error.

        Args:
            images: The pictures.
            top: How many classes to list for each.

        Raises:
            UsageError: something that is no picture.
        """
        return Predictions(self.stream(images, top=top))

    def stream(self, images: Picture | Iterable[Picture], *, top: int = 3) -> Iterator[Prediction]:
        """The same one by one, as soon as each is known, without a list of them; as `predict`."""
        if top < 1:
            raise UsageError(f"top is {top}", hint="Give 1 or more.")
        return (
            stream.prediction(answer, self.policy, self.facts.head.temperature, top)
            for answer in self._answers(images)
        )

    def logits(self, images: Picture | Iterable[Picture]) -> Array:
        """Logits float64[N,C] whose softmax are the probabilities: the temperature is in them.

        Of labels the logistic function gives the probabilities; numbers are in their own unit.

        Raises:
            ImageError: a picture that cannot be read.
            UsageError: something that is no picture.
        """
        rows = [_read(answer.logits, answer) for answer in self._answers(images)]
        if not rows:
            return np.empty((0, len(self.classes)))
        return np.stack(rows) / self.facts.head.temperature

    def features(self, images: Picture | Iterable[Picture]) -> npt.NDArray[np.float32]:
        """What the classifier reads of each picture, float32[N,D]; raises as `logits` does."""
        found = stream.Answering(self._featured).answers(_items(images))
        rows = [_read(answer.features, answer) for answer in found]
        return np.stack(rows) if rows else np.empty((0, 0), np.float32)

    def explain(
        self, images: Picture | Iterable[Picture], *, label: str | None = None
    ) -> Explanations:
        """Where the evidence for an answer lies in each picture; one with a fault has its error.

        Args:
            images: The pictures.
            label: The class to explain; each picture's answer where None.

        Raises:
            UsageError: no such class, or something that is no picture.
        """
        outputs.require_evidence(self.facts)
        number = None if label is None else explained.number(label, self.facts)
        rows, items = [], []
        for item in _items(images):
            rows.append(explained.picture(item, self._explainer, self.facts, number))
            items.append(item)
        return Explanations(rows, items, self.facts.preprocess)

    @cached_property
    def _explainer(self) -> explaining.Explainer:
        return explaining.of_run(self.run, self.facts, self.device, self.listener)

    @cached_property
    def _model(self) -> Predictor:
        return predictor.of_run(
            self.run, self.facts, device=self.device, images=BATCH, listener=self.listener
        )

    @cached_property
    def _featured(self) -> Predictor:
        return predictor.featuring(self.run, self.facts, self.device, self.listener)

    def _answers(self, images: Picture | Iterable[Picture]) -> Iterator[Answer]:
        yield from stream.Answering(self._model).answers(_items(images))


def open_run(run: Path, device: str, listener: Listener, doubts: DoubtOptions = NO_DOUBT) -> Model:
    """A run ready to answer; its network is read with the first picture.

    Raises:
        RunError: there is none, or it is damaged.
        UsageError: its held-out images cannot vouch for what is asked.
    """
    facts = run_folder.load_facts(run)
    return Model(run, facts, device, listener, doubt.resolve(facts, doubts))


def _read(row: Floats | Array | None, answer: Answer) -> Any:
    """A row, where the picture could be read."""
    if row is None:
        found = answer.found
        raise answer.fault or ImageError(found.name, getattr(found, "fault", ""))
    return row


def _items(images: Picture | Iterable[Picture]) -> Iterator[Found | Shown]:
    """The pictures with names, those of folders, archives and patterns one by one."""
    for number, image in enumerate(_listed(images)):
        if isinstance(image, str | os.PathLike):
            yield from to_classify.stream([Path(image)])
        elif isinstance(image, Image.Image):
            yield Shown(str(getattr(image, "filename", "") or f"image {number}"), image)
        elif isinstance(image, np.ndarray):
            yield Shown(f"image {number}", _of_array(image, number))
        else:
            raise UsageError(
                f"image {number} is of type {type(image).__name__}",
                hint="Give paths, Pillow's images, or arrays uint8[H,W,3].",
            )


def _listed(images: Picture | Iterable[Picture]) -> Iterable[Picture]:
    if isinstance(images, str | os.PathLike | Image.Image):
        return [images]
    if isinstance(images, np.ndarray) and images.ndim != 4:
        return [images]
    return images


def _of_array(array: npt.NDArray[np.generic], number: int) -> Image.Image:
    shape = array.shape
    fits = len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))
    if array.dtype != np.uint8 or not fits or 0 in shape:
        raise UsageError(
            f"image {number} is an array {array.dtype}{list(shape)}",
            hint="Give uint8[H,W,3] in RGB, uint8[H,W] or uint8[H,W,4]; values from 0 to 255.",
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _thumb(path: str) -> str:
    """A small picture of a file, inside the page; nothing where it cannot be read."""
    try:
        thumb = decoding.glance(Path(path), _THUMB_PX).thumb
    except ImageError:
        return ""
    assert thumb is not None  # one was asked for
    return _inline(Image.fromarray(thumb), _THUMB_PX)


def _inline(image: Image.Image, width: int | None = None) -> str:
    content = io.BytesIO()
    image.save(content, "WEBP")
    data = base64.b64encode(content.getvalue()).decode()
    return f"<img src='data:image/webp;base64,{data}' width='{width or image.width}'>"
