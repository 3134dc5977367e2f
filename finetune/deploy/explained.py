"""One picture explained: the record of it, and the evidence drawn on it."""

from __future__ import annotations

import difflib

import numpy as np
from PIL import Image

from finetune.deploy import evidence_box, outputs, overlay
from finetune.deploy.explaining import Explainer
from finetune.deploy.stream import Shown
from finetune.pictures import decoding, whole_picture
from finetune.pictures.whole_picture import Spot
from finetune.records.backbone import Box, Preprocess
from finetune.records.errors import ImageError, UsageError, safe_name
from finetune.records.explanation import EvidenceBox, Explanation
from finetune.records.run import RunFacts
from finetune.sources.archives import Found
from finetune.storage.arrays import Array

_LISTED = 10  # classes in a hint
_DIGITS = 6  # of a map's numbers: a runtime gives no more


def picture(
    item: Found | Shown, explain: Explainer, facts: RunFacts, label: int | None = None
) -> Explanation:
    """What speaks for a class in a picture; of one that cannot be read its fault.

    Args:
        item: The picture, with its name for people.
        explain: From `explaining.of_run`.
        facts: Of the same run.
        label: The class; None for the answer.
    """
    about, name = facts.preprocess, item.name
    if isinstance(item, Found) and item.file is None:
        return Explanation(path=name, error=item.fault)
    try:
        source = _source(item)
        if isinstance(source, Image.Image):
            pixels = decoding.square_of(source, about.side_px, about.box)
        else:
            pixels = decoding.decode(source, about.side_px, about.scales, about.box)
        size = whole_picture.size_of(source, about.bands)
    except ImageError as fault:
        return Explanation(path=name, error=safe_name(fault.message))
    found = explain(pixels, label)
    kind = None if facts.target is None else facts.target.kind
    likely = outputs.meant(found.logits[None], kind, 1.0)[0]
    return Explanation(
        path=name,
        answer=facts.classes[int(found.logits.argmax())],
        label=facts.classes[found.label],
        probability=float(likely[found.label]),
        method=found.method,
        logit=float(found.logits[found.label]),
        bias=float(found.bias),
        size=size,
        box=_box(found.places, size, about.box),
        map=tuple(tuple(round(float(v), _DIGITS) for v in row) for row in found.places),
    )


def drawn(record: Explanation, item: Found | Shown, about: Preprocess) -> bytes:
    """A PNG of a picture with the evidence and its box drawn on.

    Args:
        record: From `picture`; one without a fault.
        item: As for `picture`.
        about: How pictures become the network's input.

    Raises:
        ImageError: the picture cannot be read any more.
    """
    assert record.size is not None  # as there is no fault
    image = whole_picture.upright(_source(item), about.scales, about.bands)
    part, inside = whole_picture.seen(*image.size, about.box)
    x, y = image.width / record.size[0], image.height / record.size[1]
    box = record.box
    edges = None if box is None else (x * box.left, y * box.upper, x * box.right, y * box.lower)
    return overlay.drawn(image, np.array(record.map), part, inside, edges)


def number(label: str, facts: RunFacts) -> int:
    """The class of that name.

    Raises:
        UsageError: there is none.
    """
    if label in facts.classes:
        return facts.classes.index(label)
    close = difflib.get_close_matches(label, facts.classes, 1)
    there = ", ".join(facts.classes[:_LISTED]) + (" …" if len(facts.classes) > _LISTED else "")
    raise UsageError(
        f"the run has no class {label}",
        hint=f"Is '{close[0]}' meant?" if close else f"Give one of {there}.",
    )


def _source(item: Found | Shown) -> whole_picture.Picture:
    if isinstance(item, Shown):
        return item.image
    assert item.file is not None  # its fault was told
    return item.file


def _box(places: Array, size: tuple[int, int], box: Box) -> EvidenceBox | None:
    """The box with most of the evidence, in pixels of the picture."""
    part, inside = whole_picture.seen(*size, box)
    found = evidence_box.most(places, inside)
    if found is None:
        return None
    left, upper, right, lower = _placed(found.spot, part, inside)
    return EvidenceBox(
        left=round(left),
        upper=round(upper),
        right=round(right),
        lower=round(lower),
        share=found.share,
        area=found.area,
    )


def _placed(spot: Spot, part: Spot, inside: Spot) -> Spot:
    """A box in shares of the square as pixels of the picture that it was made of."""

    def along(share: float, axis: int) -> float:
        low, high = inside[axis], inside[axis + 2]
        at = min(max((share - low) / (high - low), 0.0), 1.0)
        return part[axis] + at * (part[axis + 2] - part[axis])

    return along(spot[0], 0), along(spot[1], 1), along(spot[2], 0), along(spot[3], 1)
