"""Which images are near duplicates: small pictures compared one with another; pure numpy.

No perceptual hash: a picture of 32 by 32 pixels is small enough to be compared itself, and its 64
block means, an orthogonal projection, can only bring two pictures nearer. So what is too far apart
there is left out without a loss, at the price of a hash (docs/decisions/0011-near-duplicates.md).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from finetune.storage.arrays import Floats, Index

SIDE_PX = 32
# Least correlation of two near duplicates. Among the 12 sets' 30 million pairs those beyond are
# copies, but for 38 of spectrograms (up to 0.9956); strokes of a pen reach 0.9931, digits 0.989.
# Copies of images of 100 px and more, re-encoded, halved or doubled, keep 0.994 (docs/log.md,
# 2026-11-23).
ALIKE = 0.994
# Grey levels, the spread of a picture: below it there is nothing to compare but noise.
PLAIN = 4.0
_BLOCKS = 8  # block means a side
# Compared at once; together a hundred megabytes for a million images.
_ROWS, _COLUMNS = 128, 4096
Thumbs = npt.NDArray[np.uint8]


class Small(Protocol):
    """Pictures uint8[N, 32, 32, 3], some at a time: an array, or what lies in a file."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, index: Index, /) -> Thumbs:
        """Some pictures, by a slice or by their numbers."""


def clusters(thumbs: Small) -> npt.NDArray[np.int64]:
    """The family of each picture, int64[N]: the first of those it is a near copy of, in chains.

    Brightness and contrast do not count, colour does; mirrored, turned or cropped pictures are no
    near duplicates. A picture of one colour has no family but itself.

    Args:
        thumbs: Pictures as `decoding.glance` makes them.
    """
    cluster = np.arange(len(thumbs))
    low = _block_means(thumbs)
    # Near duplicates are near in every direction: in order of the one in which pictures differ
    # most, each need be compared only with those that follow within reach.
    along = low @ np.linalg.eigh(low.T @ low)[1][:, -1]
    order = np.argsort(along, kind="stable")
    low, along = low[order], along[order]
    half = (low * low).sum(axis=1) / 2
    slack = 1 - ALIKE + 1e-5  # half the squared distance of two near duplicates, and rounding
    ends = np.searchsorted(along, along + (2 * slack) ** 0.5, side="right")
    for start in range(0, len(thumbs), _ROWS):
        stop = min(start + _ROWS, len(thumbs))
        end = ends[stop - 1]
        # |a - b|² / 2 = |a|² / 2 + |b|² / 2 - a·b, for these rows and those within reach
        gap = half[start:stop, None] + half[None, start:end] - low[start:stop] @ low[start:end].T
        possible = np.triu(gap <= slack, k=1)
        # two of one cluster need no proof: of thousands all the same few are compared with the rest
        possible &= cluster[order[start:stop], None] != cluster[order[start:end]]
        rows, columns = (np.flatnonzero(possible.any(axis=axis)) for axis in (1, 0))
        ones = order[start + rows]
        for some in np.split(columns, range(_COLUMNS, len(columns), _COLUMNS)):
            others = order[start + some]
            sure = _unit(thumbs[ones]) @ _unit(thumbs[others]).T >= ALIKE
            sure &= possible[np.ix_(rows, some)]
            for row in np.flatnonzero(sure.any(axis=1)):
                joined = cluster[[ones[row], *others[sure[row]]]]
                if joined.min() < joined.max():
                    cluster[np.isin(cluster, joined)] = joined.min()
    return cluster


def is_plain(thumb: Thumbs) -> bool:
    """Has a picture uint8[side, side, 3] but one colour, give or take noise?"""
    pixels = thumb.reshape(-1, 3).astype(np.int64)  # exact, and ten times as fast as `var`
    count, sums = len(pixels), pixels.sum(axis=0)
    squares = int(np.vdot(pixels, pixels))
    return squares * count - int(np.vdot(sums, sums)) < 3 * (PLAIN * count) ** 2


def _unit(thumbs: Thumbs) -> Floats:
    """Pictures less their mean colour, as vectors of length 1, float32[N, 3072]; plain ones: 0."""
    pixels = thumbs.reshape(len(thumbs), SIDE_PX**2, 3).astype(np.float32)
    rows = (pixels - pixels.mean(axis=1, keepdims=True)).reshape(len(thumbs), 3 * SIDE_PX**2)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    spread = length / rows.shape[1] ** 0.5
    out: Floats = np.where(spread >= PLAIN, rows / np.maximum(length, 1e-6), 0)
    return out


def _block_means(thumbs: Small) -> Floats:
    """Grey means of 8 by 8 blocks, scaled to be an orthogonal projection of `_unit`: [N, 64]."""
    size = SIDE_PX // _BLOCKS
    parts = [
        _unit(thumbs[i : i + _ROWS])
        .reshape(-1, _BLOCKS, size, _BLOCKS, size, 3)
        .sum(axis=(2, 4, 5))
        .reshape(-1, _BLOCKS * _BLOCKS)
        for i in range(0, len(thumbs), _ROWS)
    ]
    empty = np.empty((0, _BLOCKS * _BLOCKS), np.float32)
    scale = np.float32(1 / (size * 3**0.5))
    means: Floats = np.concatenate([empty, *parts]) * scale
    return means
