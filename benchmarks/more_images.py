"""What twice and four times the images give, expected from a learning curve and then measured.

    python benchmarks/more_images.py DATA [DATA …]

Of each data set draws of 10, 20 and 40 images a class have a learning curve as `train` makes it;
what `analysis.more_images` expects from it is held against the error with all of twice and four
times as many, of which the draw is a part. Two draws each; a linear probe on the top features.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from finetune.analysis import analyze, more_images
from finetune.analysis.clock import Clock
from finetune.heads import cross_validation, kernels
from finetune.records.events import Silent
from finetune.records.options import DataOptions, Options

SIZES, DRAWS, MOST, MOST_IMAGES = (10, 20, 40), 2, 80, 1000


def cells(root: str) -> Iterator[tuple[int, float, float, float, float, float]]:
    """Times, error now, expected with both ends, measured."""
    options = Options(data=DataOptions(root=root, max_per_class=MOST, test_fraction=0.05))
    listener = Silent()
    found = analyze.analyze(options, listener, Clock(listener))
    labels, width = found.labels, len(found.dataset.classes)
    first = found.body.facts.probed_top
    layout = {first: found.table.layout[first]}
    kernel = kernels.combined(kernels.stage_kernels(found.table.rows[:], layout), (first,))
    groups = [s.unit for s in found.samples]
    for seed in range(DRAWS):
        order = np.random.default_rng(seed).permutation(len(labels))
        place = np.empty(len(labels), np.int64)
        for c in range(width):
            mine = order[labels[order] == c]
            place[mine] = np.arange(len(mine))
        full = int(np.bincount(labels).min())

        def part(n: int, place: np.ndarray = place) -> tuple[np.ndarray, np.ndarray, list[str]]:
            rows = np.flatnonzero(place < n)
            inner = kernels.unit(kernels.centered(kernel[np.ix_(rows, rows)]))
            return inner, labels[rows], [groups[i] for i in rows.tolist()]

        for n in SIZES:
            if 2 * n > full or n * width > MOST_IMAGES:
                continue
            inner, own, units = part(n)
            curve = cross_validation.learning_curve(inner, own, units)
            for one in more_images.expected(curve, len(own)):
                times = int(one.times)
                if times * n > full or times * n * width > MOST_IMAGES:
                    continue
                inner, more, units = part(times * n)
                score = cross_validation.leave_out("", (), inner, more, 0, units).score
                yield times, curve[-1][1], one.error, one.low, one.high, 1 - score.accuracy


def main() -> None:
    """Print bias, error and coverage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    rows = []
    for root in parser.parse_args().data:
        mine = list(cells(str(root)))
        rows += mine
        print(root.name, [tuple(round(100 * v, 1) for v in row[1:]) for row in mine], flush=True)
    for times in sorted({row[0] for row in rows}):
        now, expected, low, high, got = np.array([r[1:] for r in rows if r[0] == times]).T
        inside = (got >= low - 1e-9) & (got <= high + 1e-9)
        print(
            f"{times} times ({len(got)} cells): bias {100 * (expected - got).mean():+.1f} points, "
            f"off by {100 * np.abs(expected - got).mean():.1f}, staying as it is by "
            f"{100 * np.abs(now - got).mean():.1f}; inside the band {inside.mean():.0%}, "
            f"above {(got > high).mean():.0%}, below {(got < low).mean():.0%}"
        )


if __name__ == "__main__":
    main()
