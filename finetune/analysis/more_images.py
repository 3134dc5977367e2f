"""What more images of the same kind are expected to give the probe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finetune.records.material import ExpectedError

TIMES = (2.0, 4.0)
_DRAWS = 400
_ENDS = (0.1, 0.9)


def expected(curve: Sequence[tuple[int, float]], images: int) -> tuple[ExpectedError, ...]:
    """Go on from a learning curve by its law, error = rest + slope / sqrt(images).

    What the law takes off is taken off the last error. A curve that falls faster has a rest of
    nothing, as one that rises by chance stays where it is. The interval is that of curves drawn
    with the binomial noise of these errors. `benchmarks/more_images.py` holds it against what was
    measured with as many images.

    Args:
        curve: (images, error of the probe) in rising order.
        images: How many there are; the curve may end before.

    Returns:
        One for each of `TIMES`; empty where the curve has fewer than three points.
    """
    if len(curve) < 3:
        return ()
    counts = np.array([n for n, _ in curve], np.float64)
    errors = np.array([error for _, error in curve])
    # one more wrong image of two more, so that no error of few images is certain to stay (Laplace)
    believed = (errors * counts + 1) / (counts + 2)
    noise = np.sqrt(believed * (1 - believed) / counts)
    rng = np.random.default_rng(0)
    drawn = errors + noise * rng.standard_normal((_DRAWS, len(curve)))
    drawn = np.clip(np.concatenate([errors[None], drawn]), 0.0, 1.0)
    roots = 1 / np.sqrt(counts)
    centered = roots - roots.mean()
    slopes = np.maximum(drawn @ centered / (centered @ centered), 0.0)
    rests = np.maximum(drawn.mean(axis=1) - slopes * roots.mean(), 0.0)
    now = rests + slopes / np.sqrt(counts[-1])
    out = []
    for times in TIMES:
        then = rests + slopes / np.sqrt(times * max(images, counts[-1]))
        found = drawn[:, -1] * then / np.maximum(now, 1e-12)
        low, high = np.quantile(found[1:], _ENDS)
        out.append(
            ExpectedError(
                times=times,
                images=round(times * images),
                error=float(found[0]),
                low=float(min(low, found[0])),
                high=float(max(high, found[0])),
            )
        )
    return tuple(out)
