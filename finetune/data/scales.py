"""One scale for a data set: which values are black and white in pictures of more than 8 bits.

Decided once from the training images and kept with the run, so that pictures of one camera are
scaled alike and a bright pixel changes nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.pictures import decoding, file_kinds, high_depth
from finetune.pictures.bands import Bands
from finetune.pictures.decoding import Glance
from finetune.pictures.opening import Content
from finetune.records.dataset import Finding, Sample, Scale
from finetune.records.errors import ImageError
from finetune.sources.findings import SCALED

# Of a set's values at either end: hot and dead pixels, and what a lamp or a label burns in.
TAIL = 0.001
MOST_PICTURES = 200  # of each kind, by their hash; more move the percentiles by less than a level
MOST_VALUES = 10_000  # of each picture, evenly, so that large ones do not count more
# Pillow reads signed 16 bits and PGM as 32.
_CALLED: dict[high_depth.Kind, str] = {
    "16-bit": "16-bit pictures",
    "32-bit": "32-bit or signed pictures",
    "float": "float pictures",
}
_PNG = b"\x89PNG\r\n\x1a\n"


def decide(
    root: Path,
    samples: Sequence[Sample],
    glances: Mapping[str, Glance],
    bands: Bands | None = None,
) -> tuple[Scale, ...]:
    """The scale of each kind of picture of more than 8 bits among the training images.

    Args:
        root: Where the images lie.
        samples: Those that are trained on; no test image may be among them.
        glances: What was seen of them, by path.
        bands: Which of a TIFF are taken.
    """
    found = []
    for kind in high_depth.KINDS:
        of_kind = [
            s
            for s in samples
            if s.path in glances and high_depth.kind_of(glances[s.path].mode) == kind
        ]
        # a hash is as good as chance, and the same tomorrow
        some = sorted(of_kind, key=lambda s: (s.digest, s.path))[:MOST_PICTURES]
        with decoding.threads(os.cpu_count()) as pool:
            read = pool.map(lambda s: _some(root / s.path, bands), some)
            parts = [p for p in read if p is not None]
        if parts:
            found.append(_scale(kind, parts))
    return tuple(found)


def findings(scales: Sequence[Scale]) -> tuple[Finding, ...]:
    """What was decided, as a run records it."""
    return tuple(SCALED.finding(scale.reason, ()) for scale in scales)


def unseen(paths: Sequence[Path], scales: Sequence[Scale] | None) -> tuple[str, ...]:
    """What is to be said of pictures whose kind the training has not seen, one sentence a kind.

    Args:
        paths: Files to classify.
        scales: The run's; None in runs that have none and need none.
    """
    return told(Counter(unseen_kind(path, scales) for path in paths))


def unseen_kind(path: Path | Content, scales: Sequence[Scale] | None) -> high_depth.Kind | None:
    """The kind of one picture, where the training has not seen it."""
    kind = None if scales is None else _kind(path)
    return None if kind in {s.kind for s in scales or ()} else kind


def told(counts: Mapping[high_depth.Kind | None, int]) -> tuple[str, ...]:
    """What is to be said of so many pictures of each kind, as `unseen` has it."""
    rule: dict[high_depth.Kind, str] = {"16-bit": "0 is black and 65,535 white, as its type has it"}
    other = "0 is black, and white the least of 1, 255, 4,095 and 65,535 that holds each picture"
    return tuple(
        f"{_CALLED[kind]}, of which the run was trained on none ({count}): {rule.get(kind, other)}"
        for kind, count in counts.items()
        if kind is not None
    )


def _kind(path: Path | Content) -> high_depth.Kind | None:
    """A picture's kind from its header, quickly for what most pictures are."""
    if isinstance(path, Content):  # not `Path`: those in archives are of classes of their own
        start = path.data[: file_kinds.HEAD_BYTES]
    else:
        start = file_kinds.head(path)
    if start.startswith((b"\xff\xd8", b"GIF8", b"RIFF", b"BM")):
        return None
    if start.startswith(_PNG):
        return "16-bit" if start[24:25] == b"\x10" else None
    try:
        return high_depth.kind_of(decoding.glance(path).mode)
    except ImageError:  # the answer will tell
        return None


def _some(path: Path, bands: Bands | None) -> npt.NDArray[Any] | None:
    """Values of a picture, evenly from all of it; None where it is not read, or of 8 bits."""
    try:
        picture = decoding.values(path, bands)
    except ImageError:  # its features will tell
        return None
    if picture is None:
        return None
    some = high_depth.thinned(picture.numbers, MOST_VALUES).astype(np.float64)
    return some if np.isfinite(some).all() else None


def _scale(kind: high_depth.Kind, parts: Sequence[npt.NDArray[Any]]) -> Scale:
    """The percentiles of all values, each picture counting alike."""
    size = min(len(part) for part in parts)
    pooled = np.concatenate(
        [part[np.linspace(0, len(part) - 1, size).astype(int)] for part in parts]
    )
    low, top = np.quantile(pooled, (TAIL, 1 - TAIL)).tolist()
    how = f"the {100 * TAIL:g} and {100 * (1 - TAIL):g} percentiles"
    if top <= low:  # nearly all values are one: what little differs is what is seen
        low, top, how = float(pooled.min()), float(pooled.max()), "the least and the greatest value"
    if top <= low:
        low, top, how = 0.0, max(2 * top, 1.0), "there is one value only"
    of = f"of {len(parts)} training picture{'s'[: len(parts) > 1]}"
    reason = f"{_CALLED[kind]}: {_said(low)} is black and {_said(top)} white, {how} {of}"
    return Scale(kind, low, top, len(parts), reason)


def _said(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
