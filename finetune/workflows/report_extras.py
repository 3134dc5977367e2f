"""What a report has where the time allows: heat maps, and how accuracy falls on poor pictures."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from finetune.deploy.predictor import Predictor
from finetune.pictures import decoding, thumbnails
from finetune.records.dataset import Sample
from finetune.records.errors import ImageError, first_line
from finetune.records.events import Listener
from finetune.records.material import HeatMap, Material
from finetune.records.run import RunFacts, RunResult
from finetune.storage import untrusted_files

if TYPE_CHECKING:
    from finetune.deploy.explaining import Explainer

EXPLAINED = 6  # right answers, and as many wrong ones
# Of the time that a training has taken so far: less than its forecasts are off by.
SHARE = 0.1
MOST_EXPLAINING_S, LEAST_S = 3.0, 0.5
FEWEST_IMAGES = 50  # with fewer, a fall of ten points cannot be told from none
_CHANGES = 31  # times that each image is classified
_DIGITS = 4


def heat_maps(
    facts: RunFacts,
    result: RunResult,
    material: Material,
    explain: Callable[[], Explainer],
    root: Path,
    seconds: float,
    listener: Listener,
) -> Material:
    """The same with heat maps of the surest wrong and right answers, as many as the time allows.

    Args:
        facts: Of the run.
        result: Its answer, with the wrong answers.
        material: With the surest right answers.
        explain: Gives what explains the run.
        root: Where the images lie.
        seconds: For all of them.
        listener: Hears why there are none.
    """
    from finetune.deploy import explaining  # noqa: PLC0415 - a probe's report has none

    pairs = itertools.zip_longest(result.errors[:EXPLAINED], material.sure)
    truth = {one.path: one.truth for pair in pairs for one in pair if one is not None}
    paths = [path for path in truth if inside(path)]
    if not paths:
        return material
    try:
        seen = explaining.within(explain(), facts.preprocess, [root / p for p in paths], seconds)
    except Exception as error:  # networks of all kinds: a report is no reason to lose a run
        listener.note(f"no heat maps in the report: {first_line(error)}")
        return material
    names = {root / path: path for path in paths}
    made = tuple(
        HeatMap(
            path=names[one.path],
            truth=truth[names[one.path]],
            answer=facts.classes[one.evidence.label],
            places=tuple(tuple(row) for row in np.round(one.places, _DIGITS).tolist()),
        )
        for one in seen
    )
    return replace(material, heat_maps=made)


def falls(
    material: Material,
    model: Predictor,
    root: Path,
    samples: Sequence[Sample],
    images: int,
    listener: Listener,
) -> Material:
    """The same with what poor pictures cost.

    Args:
        material: What is there.
        model: What answers.
        root: Where the images lie.
        samples: The test images.
        images: At most so many of them; none measures nothing.
        listener: Hears of progress.
    """
    from finetune.workflows import robustness  # noqa: PLC0415 - as above

    images = min(images, len(samples), robustness.MOST_IMAGES)
    if images == 0:
        return material
    order = np.random.default_rng(0).permutation(len(samples))[:images]
    some = [samples[i] for i in sorted(order.tolist())]
    return replace(material, robustness=robustness.measure(model, root, some, listener))


def affordable(seconds: float, seconds_per_image: float) -> int:
    """How many images can be classified under all changes in a time; none where they are few."""
    images = int(seconds / (2 * _CHANGES * max(seconds_per_image, 1e-6)))  # changed, classified
    return images if images >= FEWEST_IMAGES else 0


def drawn(facts: RunFacts, material: Material, root: Path) -> dict[str, bytes]:
    """The heat maps over their pictures, JPEG by path; without those that cannot be read."""
    if not material.heat_maps:
        return {}
    from finetune.deploy import overlay  # noqa: PLC0415 - as above

    how, out = facts.preprocess, {}
    for one in material.heat_maps:
        if not inside(one.path):
            continue
        try:
            pixels = decoding.decode(root / one.path, thumbnails.SIDE_PX, how.scales, how.box)
        except ImageError:
            continue
        png = overlay.on_square(pixels, np.array(one.places, np.float64))
        with Image.open(io.BytesIO(png)) as image:
            out[one.path] = thumbnails.of_pixels(np.asarray(image.convert("RGB")))
    return out


def inside(path: str) -> bool:
    """Whether a name from a run's files leads nowhere but below its data folder."""
    try:
        untrusted_files.check_name(path)
    except ValueError:
        return False
    return True
