"""One picture explained: the record of it, and the picture with the evidence drawn on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from finetune.data import decoding, whole_picture
from finetune.data.opening import Content
from finetune.data.whole_picture import Spot
from finetune.deploy import evidence_box, overlay
from finetune.deploy.explaining import Explainer
from finetune.heads import calibration
from finetune.records.errors import ImageError, safe_name
from finetune.records.explanation import EvidenceBox, Explanation
from finetune.records.run import RunFacts

Source = Path | Content | Image.Image
_DIGITS = 6  # of a map's numbers: a runtime gives no more


def picture(
    name: str, source: Source, explain: Explainer, facts: RunFacts, label: int | None = None
) -> tuple[Explanation, Callable[[], bytes] | None]:
    """What speaks for a class in a picture, and what draws it as a PNG; None of one with a fault.

    Args:
        name: How it is called in the record.
        source: Its file, or the picture itself.
        explain: From `explaining.of_run`.
        facts: Of the same run.
        label: The class; None for the answer.
    """
    about = facts.preprocess
    try:
        if isinstance(source, Image.Image):
            pixels = decoding.square_of(source, about.side_px, about.box)
            whole = whole_picture.of_image(source)
        else:
            pixels = decoding.decode(source, about.side_px, about.scales, about.box)
            whole = whole_picture.of_file(source, about.scales)
    except ImageError as fault:
        return Explanation(path=name, error=safe_name(fault.message)), None
    found = explain(pixels, label)
    likely = calibration.probabilities(found.logits[None], 1.0)[0]
    part, inside = whole_picture.seen(*whole.image.size, about.box)
    box = evidence_box.most(found.places, inside)
    spot = None if box is None else _placed(box.spot, part, inside)
    record = Explanation(
        path=name,
        answer=facts.classes[int(found.logits.argmax())],
        label=facts.classes[found.label],
        probability=float(likely[found.label]),
        method=found.method,
        logit=float(found.logits[found.label]),
        bias=float(found.bias),
        size=(whole.width_px, whole.height_px),
        box=None if box is None or spot is None else _in_pixels(box, spot, whole),
        map=tuple(tuple(round(float(v), _DIGITS) for v in row) for row in found.places),
    )
    return record, lambda: overlay.drawn(whole.image, found.places, part, inside, spot)


def _placed(spot: Spot, part: Spot, inside: Spot) -> Spot:
    """A box in shares of the square as pixels of the picture that it was made of."""

    def along(share: float, axis: int) -> float:
        low, high = inside[axis], inside[axis + 2]
        at = min(max((share - low) / (high - low), 0.0), 1.0)
        return part[axis] + at * (part[axis + 2] - part[axis])

    return along(spot[0], 0), along(spot[1], 1), along(spot[2], 0), along(spot[3], 1)


def _in_pixels(box: evidence_box.Box, spot: Spot, whole: whole_picture.Whole) -> EvidenceBox:
    """The record of a box, in pixels of the picture's own size."""
    x, y = whole.width_px / whole.image.width, whole.height_px / whole.image.height
    return EvidenceBox(
        left=round(x * spot[0]),
        upper=round(y * spot[1]),
        right=round(x * spot[2]),
        lower=round(y * spot[3]),
        share=box.share,
        area=box.area,
    )
