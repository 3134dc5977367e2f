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

    The interval is that of fits to curves drawn with the binomial noise of these errors. Where the
    error does not fall, or there is none, more images are not expected to change it.

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
    drawn = np.concatenate([errors[None], drawn])
    centered = 1 / np.sqrt(counts)
    middle = centered.mean()
    centered -= middle
    slopes = np.maximum(drawn @ centered / (centered @ centered), 0.0)
    rests = drawn.mean(axis=1) - slopes * middle
    out = []
    for times in TIMES:
        found = rests + slopes / np.sqrt(times * max(images, counts[-1]))
        found = np.clip(found, 0.0, errors[-1])  # more images do not harm
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
