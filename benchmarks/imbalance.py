"""What class weights do for tuning where some classes are rare (docs/log.md, 2026-11-25).

    python benchmarks/imbalance.py --data FOLDER_OF_DATA_SETS [--sets NAME …] [--ratios 100:10 …]

Of each set the first classes are taken, every second one of them thinned: 100:10 is 100 images of a
common class and 10 of a rare one, a fifth of them to choose the temperature by. All epochs are
trained and the last is kept: where validation chooses the epoch it may take the probe's own head,
and then nothing of weights is seen.
Of the others the test has as many of each class as there are of the smallest, 100 at most. Rows go
to `imbalance.csv`; what is there is not measured again. The table is printed from it.

Accuracy, expected calibration error and log loss are those of images as frequent as in training
(each test image counts by its class's share there), the rest those of classes that count the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import row_file
import torch
from truth import SETS

from finetune.backbones import load
from finetune.decision import table
from finetune.heads import calibration, ridge
from finetune.pictures import decoding
from finetune.records.decision import Plan
from finetune.records.events import Silent
from finetune.sources.files import named_as_image
from finetune.training import holdout, loop, recipe

ROWS = Path(__file__).with_name("imbalance.csv")
TEST_MOST, VAL_SHARE, BINS = 100, 0.2, 15
Ratio = tuple[int, int]
Cell = tuple[str, Ratio, int]


@dataclass(frozen=True)
class Row:
    """One training; `kind` is how classes were weighed."""

    data: str
    ratio: str
    seed: int
    strategy: str
    kind: str
    tested: int
    accuracy: float
    balanced: float
    common: float
    rare: float
    calibration: float
    log_loss: float
    balanced_log_loss: float
    classes: int
    side_px: int
    epochs: int


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["mnist_5k", "flowers5"], choices=list(SETS))
    parser.add_argument("--ratios", nargs="+", default=["100:10", "400:10"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--strategies", nargs="+", default=["partial", "deep"])
    parser.add_argument("--classes", type=int, default=6)
    parser.add_argument("--side-px", type=int, default=96)
    parser.add_argument("--weights", nargs="+", default=["none", "sqrt"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for seed in asked.seeds:
        for ratio in asked.ratios:
            for name in asked.sets:
                common, rare = (int(n) for n in ratio.split(":"))
                cell = (name, (common, rare), seed)
                for row in fill(asked, cell):
                    row_file.append(row, ROWS)
                    print(row, flush=True)
    show(row_file.read(Row, ROWS))


def fill(asked: argparse.Namespace, cell: Cell) -> Iterator[Row]:
    """The rows of a cell that are not there yet."""
    name, ratio, seed = cell
    text = f"{ratio[0]}:{ratio[1]}"
    key = (name, text, seed, asked.side_px)
    done = {
        (r.strategy, r.kind)
        for r in row_file.read(Row, ROWS)
        if (r.data, r.ratio, r.seed, r.side_px) == key
    }
    wanted = [(s, k) for s in asked.strategies for k in asked.weights if (s, k) not in done]
    if not wanted:
        return
    thin = Thinned.of(asked.data / name, ratio, seed, asked.classes)
    made: holdout.Material | None = None
    for way, kind in wanted:
        plan = planned(thin, way, SETS[name], asked.side_px, kind)
        made = made or thin.material(plan, seed)
        yield thin.row(made, plan, (name, text, seed, way, kind))


@dataclass(frozen=True)
class Thinned:
    """A set with rare classes: files to fit on, which of them are held out, and test files."""

    fit: list[Path]
    labels: np.ndarray
    held: np.ndarray
    test: list[Path]
    test_labels: np.ndarray

    @classmethod
    def of(cls, folder: Path, ratio: Ratio, seed: int, classes: int) -> Thinned:
        """Thin every second class; of a rare class, too, one image at least is held out."""
        rng = np.random.default_rng(seed)
        parts = []
        for number, place in enumerate(sorted(p for p in folder.iterdir() if p.is_dir())[:classes]):
            files = sorted(p for p in place.iterdir() if named_as_image(p))
            files = [files[i] for i in rng.permutation(len(files))]
            count = ratio[number % 2]
            parts.append((files[:count], files[count:]))
        left = min(TEST_MOST, *(len(rest) for _, rest in parts))
        if left == 0:
            raise SystemExit(f"{folder}: no test images are left at {ratio[0]} of a class")
        held = [np.arange(len(some)) < VAL_SHARE * len(some) for some, _ in parts]
        return cls(
            [p for some, _ in parts for p in some],
            np.concatenate([np.full(len(some), i) for i, (some, _) in enumerate(parts)]),
            np.concatenate(held),
            [p for _, rest in parts for p in rest[:left]],
            np.repeat(np.arange(len(parts)), left),
        )

    @property
    def counts(self) -> np.ndarray:
        """Images of each class to fit on."""
        return np.bincount(self.labels)

    def material(self, plan: Plan, seed: int) -> holdout.Material:
        """Decoded, with the default backbone."""
        body, _ = load.build("tf_efficientnet_lite0")
        return holdout.prepare(
            self.fit,
            plan,
            body,
            torch.device("cpu"),
            labels=self.labels,
            groups=[str(p) for p in self.fit],
            classes=len(self.counts),
            seed=seed,
            listener=Silent(),
        )

    def row(self, made: holdout.Material, plan: Plan, key: tuple[str, str, int, str, str]) -> Row:
        """Tune as planned and test."""
        rows, held = np.flatnonzero(~self.held), np.flatnonzero(self.held)
        assert made.top is not None
        part = replace(
            made,
            large=made.large[rows],
            plain=made.plain[rows],
            top=made.top[rows],
            labels=made.labels[rows],
            groups=[made.groups[i] for i in rows],
        )
        tuned = holdout.on_everything(part, plan)
        scores = _scores(tuned, made, made.plain[held])
        temperature = calibration.fit_temperature(scores, self.labels[held])
        found = _scores(tuned, made, decoding.load(self.test, [plan.side_px], 1)[0])
        figures = self._figures(calibration.probabilities(found, temperature))
        sizes = (len(self.counts), plan.side_px, len(tuned.history))
        return Row(*key, len(self.test), *figures, *sizes)

    def _figures(self, found: np.ndarray) -> tuple[float, ...]:
        labels, classes = self.test_labels, len(self.counts)
        correct = found.argmax(axis=1) == labels
        recall = np.array([correct[labels == c].mean() for c in range(classes)])
        loss = -np.log(np.maximum(found[np.arange(len(labels)), labels], 1e-12))
        share = self.counts / self.counts.sum()
        weight = share[labels] / share[labels].sum()
        return (
            float((weight * correct).sum()),
            float(recall.mean()),
            float(recall[0::2].mean()),
            float(recall[1::2].mean()),
            _calibration(found.max(axis=1), correct, weight),
            float((weight * loss).sum()),
            float(loss.mean()),
        )


def _scores(tuned: loop.Tuned, made: holdout.Material, pixels: np.ndarray) -> np.ndarray:
    return ridge.score(tuned.head, holdout.top_features(tuned.backbone, made.device, pixels))


def planned(thin: Thinned, way: str, similarity: str, side_px: int, kind: str) -> Plan:
    """The plan's own rules, at a size that is the same for all."""
    facts = recipe.Facts(
        images=len(thin.labels),
        similarity=similarity,  # type: ignore[arg-type]
        rarest=int(thin.counts.min()),
        commonest=int(thin.counts.max()),
    )
    options = {"side_px": side_px, "class_weights": kind != "none"}
    return recipe.resolve(table.named(way), facts, options)


def _calibration(top: np.ndarray, correct: np.ndarray, weight: np.ndarray) -> float:
    """Expected calibration error of weighted images, in bins of equal width."""
    bins = np.minimum((top * BINS).astype(int), BINS - 1)
    gaps = [abs((weight * (top - correct))[bins == b].sum()) for b in range(BINS)]
    return float(sum(gaps))


def show(rows: list[Row]) -> None:
    """Print the table, in percent but for the log losses."""
    percents = ("accuracy", "balanced", "common", "rare", "calibration")
    losses = ("log_loss", "balanced_log_loss")
    plain = ("data", "classes", "ratio", "side_px", "strategy", "kind", "seed", "tested")
    names = (*plain, *percents, *losses)
    print("| " + " | ".join(n.replace("_", " ") for n in names) + " |")
    print("| --- " * len(names) + "|")
    for row in sorted(rows, key=lambda r: (r.data, r.ratio, r.strategy, r.seed, r.kind)):
        cells = [str(getattr(row, n)) for n in plain]
        cells += [f"{100 * getattr(row, n):.1f}" for n in percents]
        cells += [f"{getattr(row, n):.3f}" for n in losses]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
