"""A labelling campaign: how many images a classifier needs where `suggest` says which are next.

    python benchmarks/label_next.py --data FOLDER_OF_DATA_SETS [--sets NAME …] [--seeds 0 1 2 3 4]

A third of a set is test. A few images of each class are labelled (`START`), then a batch at a time
is added, as many as there are classes and ten at least, chosen by each of `WAYS` among the rest;
after each batch a probe on the top features is fitted anew, as `train` fits it. Rows go to
`label_next.csv`; what is there is not measured again. The tables are printed from it: the mean
accuracy over the campaign, and the images that random choice needs for the accuracy that
`suggest` ends with, and `suggest` for that of random choice.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import row_file
from label_sets import CAPS, MAIN, Labelled

from finetune.analysis import label_next
from finetune.backbones.inference import TOP
from finetune.heads import calibration, cross_validation, kernels, ridge

ROWS = Path(__file__).with_name("label_next.csv")
START, BATCHES = 5, 8
# chance; the least margin; variety alone; variety among the least margins, ten times a batch
WAYS = ("random", "margin", "variety", "filtered", "suggest")


@dataclass(frozen=True)
class Row:
    """Accuracy on the test images with so many labelled ones."""

    data: str
    seed: int
    way: str
    labelled: int
    tested: int
    accuracy: float


def main() -> None:
    """Measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(MAIN), choices=list(CAPS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    asked = parser.parse_args()
    done = {(r.data, r.seed, r.way) for r in row_file.read(Row, ROWS)}
    for name in asked.sets:
        keys = [(name, seed, way) for seed in asked.seeds for way in asked.ways]
        if not (missing := [key for key in keys if key not in done]):
            continue
        whole = Labelled.read(asked.data / name, CAPS[name])
        for _, seed, way in missing:
            for labelled, tested, accuracy in list(campaign(whole, seed, way)):
                row_file.append(Row(name, seed, way, labelled, tested, accuracy), ROWS)
            print(name, seed, way, flush=True)
    show(row_file.read(Row, ROWS))


def campaign(whole: Labelled, seed: int, way: str) -> Iterator[tuple[int, int, float]]:
    """Labelled images, test images and accuracy after the start and after each batch."""
    top = whole.blocks((TOP,)).rows[:]
    labels, classes = whole.labels, int(whole.labels.max()) + 1
    groups = np.unique(np.array(whole.groups), return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(groups.max() + 1)
    turn = np.argsort(order)[groups]  # copies stay on one side
    test, pool = np.flatnonzero(turn % 3 == 0), np.flatnonzero(turn % 3 != 0)
    pool = pool[np.argsort(turn[pool], kind="stable")]
    few = min(START, max(2, len(pool) // (4 * classes)))
    known = [int(i) for c in range(classes) for i in pool[labels[pool] == c][:few]]
    rng, batch = np.random.default_rng([seed, WAYS.index(way)]), max(classes, 10)
    for step in range(BATCHES + 1):
        head = probe(top[known], labels[known], classes)
        called = ridge.score(head, top[test]).argmax(axis=1)
        yield len(known), len(test), float((called == labels[test]).mean())
        rest = np.setdiff1d(pool, known)
        if step == BATCHES or len(rest) < batch:
            return
        likely = calibration.probabilities(ridge.score(head, top[rest]), head.temperature)
        known += rest[chosen(way, top[rest], likely, batch, rng)].tolist()


def probe(rows: np.ndarray, labels: np.ndarray, classes: int) -> ridge.Head:
    """As `train` fits it: the penalty and the temperature by leaving each image out."""
    span = (0, rows.shape[1])
    kernel = kernels.stage_kernels(rows, {TOP: span})[TOP]
    left = cross_validation.leave_out(TOP, (TOP,), kernel, labels, rows.shape[1])
    blocks = ridge.Blocks(rows, (span,))
    return ridge.fit(blocks, labels, classes, left.score.penalty, left.temperature)


def chosen(
    way: str, features: np.ndarray, likely: np.ndarray, batch: int, rng: np.random.Generator
) -> np.ndarray:
    """Which of the images to label."""
    if way == "random":
        return rng.permutation(len(features))[:batch]
    ordered = np.sort(likely, axis=1)
    least = np.argsort(ordered[:, -1] - ordered[:, -2], kind="stable")
    if way == "margin":
        return least[:batch]
    rows = least[: 10 * batch] if way == "filtered" else np.arange(len(features))
    wrong = 1 - likely[rows].max(axis=1) if way == "suggest" else np.ones(len(rows))
    candidates = label_next.Candidates()
    candidates.add(rows, features[rows], wrong)
    groups = candidates.groups(batch)
    queue = [g.members[at] for at in range(batch) for g in groups if at < len(g.members)]
    return np.array(queue[:batch])


def show(rows: list[Row]) -> None:
    """Means over seeds by set, and the images needed for the same accuracy."""
    curves: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for r in rows:
        curves[r.data][r.way][r.labelled].append(r.accuracy)
    ways = [w for w in WAYS if any(r.way == w for r in rows)]
    print(f"| data | seeds | labelled | {' | '.join(ways)} | ± | images for the same |")
    print("| --- " * (len(ways) + 5) + "|")
    total = defaultdict[str, list[float]](list)
    for name, by_way in curves.items():
        means = {w: [float(np.mean(v)) for v in by_way[w].values()] for w in by_way}
        counts = list(by_way["random"])
        for way, values in means.items():
            total[way].append(float(np.mean(values[1:])))
        texts = [f"{np.mean(means[w][1:]):.1%}" for w in ways]
        seeds = len(next(iter(by_way["random"].values())))
        print(
            f"| {name} | {seeds} | {counts[0]} to {counts[-1]} | {' | '.join(texts)} | "
            f"{error(by_way, 'suggest'):.1%} | {same(counts, means)} |"
        )
    print(f"| mean | | | {' | '.join(f'{np.mean(total[w]):.1%}' for w in ways)} | | |")


def error(by_way: dict[str, dict[int, list[float]]], way: str) -> float:
    """Standard error over seeds of the gain over chance in mean accuracy after the start."""
    one, two = (
        np.mean([np.array(v) for v in list(by_way[w].values())[1:]], axis=0)
        for w in (way, "random")
    )
    return float((one - two).std(ddof=1) / np.sqrt(len(one)))


def same(counts: list[int], means: dict[str, list[float]]) -> str:
    """Images with `suggest` for the accuracy that random choice ends with, of how many there."""
    target, best = means["random"][-1], np.maximum.accumulate(means["suggest"])
    if best[-1] < target:
        return f"more than {counts[-1]}"
    return f"{np.interp(target, best, counts):.0f} of {counts[-1]}"


if __name__ == "__main__":
    main()
