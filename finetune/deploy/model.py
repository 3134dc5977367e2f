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
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from finetune.backbones import inference
from finetune.backbones.features import BATCH
from finetune.data import decoding
from finetune.data.files import list_images
from finetune.deploy import predictor
from finetune.deploy.predictor import Predictor
from finetune.heads import calibration
from finetune.records.answers import ClassProbability, Prediction
from finetune.records.errors import ImageError, UsageError, safe_name
from finetune.records.events import Listener
from finetune.records.run import RunFacts
from finetune.runs import run_folder
from finetune.storage.arrays import Array

Picture = str | os.PathLike[str] | Image.Image | npt.NDArray[np.uint8]
T = TypeVar("T")
_THUMB_PX, _THUMBS = 96, 50


class Predictions(list[Prediction]):
    """Answers in the order of the pictures; a notebook shows them as a table with the pictures."""

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{_thumb(p.path) if number < _THUMBS else ''}</td>"
            f"<td>{html.escape(p.path)}</td><td><b>{html.escape(p.label or p.error or '')}</b></td>"
            f"<td>{'' if p.probability is None else f'{p.probability:.1%}'}</td></tr>"
            for number, p in enumerate(self)
        )
        return f"<table>{rows}</table>"


@dataclass(frozen=True)
class Model:
    """A run that answers. From `finetune.load`.

    Pictures are files or folders (as text or `Path`), Pillow's images, or arrays uint8[H,W,3],
    uint8[H,W] of gray ones or uint8[H,W,4] with transparency: one, or a sequence of them.
    """

    run: Path
    facts: RunFacts
    device: str
    listener: Listener

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
        if top < 1:
            raise UsageError(f"top is {top}", hint="Give 1 or more.")
        out = Predictions()
        for name, logits in self._answers(images):
            if isinstance(logits, ImageError):
                out.append(Prediction(name, error=safe_name(logits.message)))
                continue
            likely = calibration.probabilities(logits[None], 1.0)[0]
            best = np.argsort(-likely, kind="stable")[:top].tolist()
            listed = tuple(ClassProbability(self.classes[c], float(likely[c])) for c in best)
            out.append(Prediction(name, listed[0].label, listed[0].probability, listed))
        return out

    def logits(self, images: Picture | Iterable[Picture]) -> Array:
        """Logits float64[N,C] whose softmax are the probabilities: the temperature is in them.

        Raises:
            ImageError: a picture that cannot be read.
            UsageError: something that is no picture.
        """
        rows = [_read(logits) for _, logits in self._answers(images)]
        return np.stack(rows) if rows else np.empty((0, len(self.classes)))

    def features(self, images: Picture | Iterable[Picture]) -> npt.NDArray[np.float32]:
        """What the classifier reads of each picture, float32[N,D]; raises as `logits` does."""
        rows = [
            self._featured(np.stack([_read(pixels) for _, pixels in part]))
            for part in _batches(self._pixels(images))
        ]
        return np.concatenate(rows) if rows else np.empty((0, 0), np.float32)

    @cached_property
    def _model(self) -> Predictor:
        return predictor.of_run(
            self.run, self.facts, device=self.device, images=BATCH, listener=self.listener
        )

    @cached_property
    def _featured(self) -> inference.Forward:
        return predictor.features_of_run(self.run, self.facts, self.device, self.listener)

    def _answers(
        self, images: Picture | Iterable[Picture]
    ) -> Iterator[tuple[str, Array | ImageError]]:
        """Logits over temperature float64[C] of each picture, or its fault."""
        for part in _batches(self._pixels(images)):
            good = [found for _, found in part if not isinstance(found, ImageError)]
            logits: Iterator[Array] = iter(())
            if good:
                logits = iter(self._model.logits(np.stack(good)) / self.facts.head.temperature)
            for name, found in part:
                if isinstance(found, ImageError):
                    yield name, found
                else:
                    yield name, next(logits)

    def _pixels(
        self, images: Picture | Iterable[Picture]
    ) -> Iterator[tuple[str, decoding.Pixels | ImageError]]:
        """The name of each picture, and what the network sees of it, or why it cannot be read."""
        about = self.facts.preprocess
        named = [
            found for number, image in enumerate(_listed(images)) for found in _named(image, number)
        ]

        def decoded(item: tuple[str, Path | Image.Image]) -> decoding.Pixels | ImageError:
            source = item[1]
            try:
                if isinstance(source, Path):
                    return decoding.decode(source, about.side_px, about.scales, about.box)
                return decoding.square_of(source, about.side_px, about.box)
            except ImageError as fault:
                return fault

        results = decoding.in_order(named, decoded, 3 * BATCH, os.cpu_count())
        for (name, _), found in zip(named, results, strict=True):
            yield name, found


def open_run(run: Path, device: str, listener: Listener) -> Model:
    """A run ready to answer; its network is read with the first picture.

    Raises:
        RunError: there is none, or it is damaged.
    """
    return Model(run, run_folder.load_facts(run), device, listener)


def _read(found: Array | decoding.Pixels | ImageError) -> npt.NDArray[np.generic]:
    if isinstance(found, ImageError):
        raise found
    return found


def _listed(images: Picture | Iterable[Picture]) -> Sequence[Picture]:
    if isinstance(images, str | os.PathLike | Image.Image):
        return [images]
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    return list(images)


def _named(image: object, number: int) -> Iterator[tuple[str, Path | Image.Image]]:
    """A picture with a name, or all pictures of a folder."""
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        files = list_images([path]).files if path.is_dir() else [path]
        yield from ((safe_name(str(file)), file) for file in files)
    elif isinstance(image, Image.Image):
        yield str(getattr(image, "filename", "") or f"image {number}"), image
    elif isinstance(image, np.ndarray):
        yield f"image {number}", _of_array(image, number)
    else:
        raise UsageError(
            f"image {number} is of type {type(image).__name__}",
            hint="Give paths, Pillow's images, or arrays uint8[H,W,3].",
        )


def _of_array(array: npt.NDArray[np.generic], number: int) -> Image.Image:
    shape = array.shape
    fits = len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))
    if array.dtype != np.uint8 or not fits or 0 in shape:
        raise UsageError(
            f"image {number} is an array {array.dtype}{list(shape)}",
            hint="Give uint8[H,W,3] in RGB, uint8[H,W] or uint8[H,W,4]; values from 0 to 255.",
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    part: list[T] = []
    for item in items:
        part.append(item)
        if len(part) == BATCH:
            yield part
            part = []
    if part:
        yield part


def _thumb(path: str) -> str:
    """A small picture of a file, inside the page; nothing where it cannot be read."""
    try:
        thumb = decoding.glance(Path(path), _THUMB_PX).thumb
    except ImageError:
        return ""
    assert thumb is not None  # one was asked for
    content = io.BytesIO()
    Image.fromarray(thumb).save(content, "WEBP")
    data = base64.b64encode(content.getvalue()).decode()
    return f"<img src='data:image/webp;base64,{data}' width='{_THUMB_PX}'>"
