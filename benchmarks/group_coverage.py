"""How often a nominal 95 % interval holds where images come in groups (docs/log.md, 2026-11-26).

    python benchmarks/group_coverage.py [--draws 1000] [--groups 15 31 60] [--seed 0]

Groups have 5 to 20 images, all of one class or of mixed ones. How easy a group is for a model is
drawn from a beta distribution with the given correlation inside a group, then each image is right
or wrong by that chance; a second model shares half of the groups' difficulty. Printed is how often
the interval holds the truth, in percent: of the accuracy, of the balanced accuracy (three classes
of 60, 30 and 10 %), and of the difference of two models, by groups and as if images were
independent.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from finetune.metrics import classification, clusters, paired

SIZES = (5, 20)
SHARES = (0.6, 0.3, 0.1)


@dataclass(frozen=True)
class Setting:
    """How many groups, how accurate the first model is, and the correlation inside a group."""

    groups: int
    accuracy: float
    correlation: float


@dataclass(frozen=True)
class Drawn:
    """One draw: groups int64[N], labels int64[N], and which images two models have right."""

    groups: np.ndarray
    labels: np.ndarray
    right: tuple[np.ndarray, np.ndarray]


def draw(setting: Setting, rng: np.random.Generator) -> Drawn:
    """Groups of one class each, and two models of equal accuracy."""
    sizes = rng.integers(SIZES[0], SIZES[1] + 1, setting.groups)
    groups = np.repeat(np.arange(setting.groups), sizes)
    labels = rng.choice(len(SHARES), setting.groups, p=SHARES)[groups]
    spread = (1 - setting.correlation) / setting.correlation
    ends = setting.accuracy * spread, (1 - setting.accuracy) * spread
    shared = rng.random(setting.groups) < 0.5
    easy = rng.beta(*ends, setting.groups)
    other = np.where(shared, easy, rng.beta(*ends, setting.groups))
    return Drawn(groups, labels, tuple(rng.random(len(groups)) < e[groups] for e in (easy, other)))


def held(setting: Setting, drawn: Drawn, *, grouped: bool) -> tuple[bool, bool, bool]:
    """Whether the intervals of accuracy, balanced accuracy and difference hold the truth."""
    groups = drawn.groups if grouped else None
    one, two = drawn.right
    low, high = classification.accuracy_interval(one, groups)
    least, most = classification.balanced_interval(drawn.labels, one, groups)
    gain, noise = paired.paired(one.astype(float) - two, groups)
    return (
        low <= setting.accuracy <= high,
        least <= setting.accuracy <= most,
        abs(gain) <= clusters.Z95 * noise,
    )


def coverage(setting: Setting, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares of intervals that hold, float64[3] each: by groups, and without."""
    rng = np.random.default_rng(seed)
    made = [draw(setting, rng) for _ in range(draws)]
    by, without = (
        np.mean([held(setting, d, grouped=grouped) for d in made], axis=0)
        for grouped in (True, False)
    )
    return by, without


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--groups", type=int, nargs="+", default=[8, 15, 31, 60])
    parser.add_argument("--accuracies", type=float, nargs="+", default=[0.7, 0.9, 0.97])
    parser.add_argument("--correlations", type=float, nargs="+", default=[0.1, 0.3, 0.7])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    names = ("accuracy", "balanced", "difference")
    head = ("groups", "accuracy", "correlation", *names, *(f"{n}, ungrouped" for n in names))
    print("| " + " | ".join(head) + " |")
    print("| --- " * len(head) + "|")
    for groups in asked.groups:
        for accuracy in asked.accuracies:
            for correlation in asked.correlations:
                setting = Setting(groups, accuracy, correlation)
                figures = np.concatenate(coverage(setting, asked.draws, asked.seed))
                cells = [str(groups), f"{accuracy:g}", f"{correlation:g}"]
                cells += [f"{100 * f:.1f}" for f in figures]
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
