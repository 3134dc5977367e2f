"""How sure must it be that other stages beat the top features? What `Probes.best` was chosen by.

    python benchmarks/stages.py --data FOLDER_OF_DATA_SETS [--draws 4]

From each data set a few images a class are drawn, and everything in the stage table is ranked on
them by leaving one out. The one with the least log loss is taken where it beats the top features by
so many standard errors of the difference, else the top features are. Printed is the accuracy on
other images over that of the top features, in points (docs/log.md, 2026-11-25).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from truth import SETS

from finetune.analysis import analyze, probes
from finetune.backbones import features, prepared, registry
from finetune.heads import cross_validation, ridge
from finetune.heads.kernels import combined, stage_kernels
from finetune.records.analysis import StageScore
from finetune.records.events import Silent
from finetune.records.options import BackboneOptions
from finetune.sources import scan

SIZES = (5, 10, 20, 40)
MARGINS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
TEST_A_CLASS, TEST_MOST = 60, 400


class Known:
    """Features of enough images of one set, and what the stage table has of them."""

    def __init__(self, root: Path) -> None:
        listed, rng = scan.scan(root).pool, np.random.default_rng(0)
        labels = np.array([s.label for s in listed])
        most = max(SIZES) + TEST_A_CLASS
        chosen = np.concatenate(
            [rng.permutation(np.flatnonzero(labels == c))[:most] for c in np.unique(labels)]
        )
        paths = [root / listed[i].path for i in chosen]
        body = prepared.prepare(
            BackboneOptions(name=registry.DEFAULT, device="cpu"),
            seed=0,
            paths=paths,
            listener=Silent(),
        )
        facts = body.facts
        side = facts.backbone.preprocess.side_px
        self.table = features.extract(paths, body.engine, side, Silent())
        self.labels = labels[chosen][self.table.kept]
        self.sets = probes.stage_sets(facts.backbone.stages, facts.probed_top)

    def draw(self, size: int, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Rows to learn from and to test on; none where half of the images would not be left."""
        rng = np.random.default_rng(seed)
        learn, test = [], []
        for label in np.unique(self.labels):
            rows = rng.permutation(np.flatnonzero(self.labels == label))
            few = min(size, len(rows) // 2)
            learn.append(rows[:few])
            test.append(rows[few : few + TEST_A_CLASS])
        enough = sum(map(len, learn)) > 0.75 * size * len(learn)
        tested = rng.permutation(np.concatenate(test))[:TEST_MOST]
        return (np.concatenate(learn), tested) if enough else None

    def gains(self, learn: np.ndarray, test: np.ndarray) -> list[float]:
        """Points over the top features for each margin."""
        labels, layout = self.labels[learn], self.table.layout
        used = {tap: layout[tap] for taps in self.sets.values() for tap in taps}
        kernels = stage_kernels(self.table.rows[learn], used)
        found = [
            cross_validation.leave_out(name, taps, combined(kernels, taps), labels, 0)
            for name, taps in self.sets.items()
        ]
        top, best = found[0], min(found, key=lambda c: c.score.log_loss)
        less = top.losses - best.losses
        sure = less.mean() / max(less.std(ddof=1) / len(less) ** 0.5, 1e-12)
        gain = 100 * (
            self.accuracy(best.score, learn, test) - self.accuracy(top.score, learn, test)
        )
        return [gain if sure > margin else 0.0 for margin in MARGINS]

    def accuracy(self, score: StageScore, learn: np.ndarray, test: np.ndarray) -> float:
        """On other images, of a head as the stage table has it."""
        blocks = analyze.blocks_of(self.table, score.taps, learn)
        classes = int(self.labels.max()) + 1
        head = ridge.fit(blocks, self.labels[learn], classes, score.penalty, 1.0)
        scores = ridge.score(head, self.table.columns(score.taps, test))
        return float((scores.argmax(axis=1) == self.labels[test]).mean())


def main() -> None:
    """Print gains by set and size, then their means and worst."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=4)
    asked = parser.parse_args()
    print("| set | a class | draws |", *(f"{m:g} |" for m in MARGINS))
    every: dict[tuple[str, int], list[list[float]]] = {}
    for name, column in SETS.items():
        known = Known(asked.data / name)
        for size in SIZES:
            drawn = [known.draw(size, seed) for seed in range(asked.draws)]
            gains = [known.gains(*d) for d in drawn if d is not None]
            if gains:
                every.setdefault((column, size), []).extend(gains)
                means = " | ".join(f"{v:+.1f}" for v in np.mean(gains, axis=0))
                print(f"| {name} | {size} | {len(gains)} | {means} |", flush=True)
    for (column, size), gains in sorted(every.items()):
        for what, of in (("mean", np.mean), ("worst", np.min)):
            shown = " | ".join(f"{v:+.1f}" for v in of(gains, axis=0))
            print(f"| {column}, {what} | {size} | {len(gains)} | {shown} |")


if __name__ == "__main__":
    main()
