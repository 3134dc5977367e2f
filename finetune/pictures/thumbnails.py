"""Small copies of pictures as the network sees them, as JPEG, for people to look at."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from finetune.pictures import decoding
from finetune.pictures.decoding import Pixels
from finetune.records.backbone import HALF, Box
from finetune.records.dataset import Scale
from finetune.records.errors import ImageError

SIDE_PX = 112
_QUALITY = (
    68  # JPEG: WebP is a fifth smaller and takes nine times as long (docs/log.md, 2026-11-26)
)
_AHEAD = 32


def of_pixels(pixels: Pixels) -> bytes:
    """A picture uint8[S, S, 3] as JPEG, no larger than `SIDE_PX`."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if image.width > SIDE_PX:
        image = image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def of_files(
    root: Path,
    paths: Sequence[str],
    scales: Sequence[Scale] | None,
    most_bytes: int,
    box: Box = HALF,
    workers: int | None = None,
) -> dict[str, bytes]:
    """Thumbnails by path, in the order asked for until there are too many bytes.

    Args:
        root: Where the pictures lie.
        paths: Their names below it; what cannot be read is left out, and what leads out of it.
        scales: As for `decoding.decode`.
        most_bytes: Of all together.
        box: As for `decoding.decode`.
        workers: Threads.
    """
    made: dict[str, bytes] = {}
    total = 0

    def attempt(path: str) -> bytes | None:
        try:
            return of_pixels(decoding.decode(root / path, SIDE_PX, scales, box))
        except ImageError:
            return None

    names = list(dict.fromkeys(paths))
    with contextlib.closing(decoding.in_order(names, attempt, _AHEAD, workers)) as results:
        for path, found in zip(names, results, strict=True):
            if found is None:
                continue
            total += len(found)
            if total > most_bytes:
                break
            made[path] = found
    return made
