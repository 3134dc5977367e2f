"""What `--prior uniform` does where classes are uneven in training and even where it is tested.

    python benchmarks/class_shares.py --data FOLDER_OF_DATA_SETS [--sets NAME …] [--seeds 0 1 2]
        [--tuned deep --epochs 10 --side-px 96]

Of each class of a set so many images are learnt from (`COUNTS`), sixty others test, of each class
the same; the seed says which class has how many. Rows go to `class_shares.csv`; what is there is
not measured again. The table is printed from it: balanced accuracy and log loss on the test, of the
model as it is and moved to equal shares by the code that a run uses.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import row_file
import torch
from truth import SETS

from finetune.backbones import load
from finetune.decision import table
from finetune.heads import calibration, cross_validation, kernels, logit_adjustment, ridge
from finetune.metrics import paired
from finetune.pictures import decoding
from finetune.records.events import Silent
from finetune.sources.files import named_as_image
from finetune.training import holdout, recipe

ROWS = Path(__file__).with_name("class_shares.csv")
COUNTS = {
    "flowers5": (300, 100, 30, 10, 5),
    "clothing10": (150, 150, 60, 60, 30, 30, 10, 10, 5, 5),
    "clipart8": (100, 100, 40, 40, 15, 15, 5, 5),
}
TEST = 60  # of each class


@dataclass(frozen=True)
class Row:
    """One model at one prior; `kind` is `train`, or `uniform` as a run does it."""

    data: str
    seed: int
    strategy: str
    class_weights: str
    kind: str
    images: int
    tested: int
    balanced: float
    log_loss: float
    common: float
    rare: float
    epochs: int
    side_px: int


@dataclass(frozen=True)
class Uneven:
    """Files to learn from and to test on, with labels."""

    learn: list[Path]
    labels: np.ndarray
    test: list[Path]
    test_labels: np.ndarray

    @classmethod
    def of(cls, folder: Path, counts: tuple[int, ...], seed: int) -> Uneven:
        """The first seed has the counts in the order of the classes, another in its own."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(counts)) if seed else np.arange(len(counts))
        parts = []
        places = sorted(p for p in folder.iterdir() if p.is_dir())[: len(counts)]
        for place, number in zip(places, order, strict=True):
            files = sorted(p for p in place.iterdir() if named_as_image(p))
            files = [files[i] for i in rng.permutation(len(files))]
            n = min(counts[number], len(files) - TEST)
            parts.append((files[:n], files[n : n + TEST]))
        return cls(
            [p for some, _ in parts for p in some],
            np.concatenate([np.full(len(some), i) for i, (some, _) in enumerate(parts)]),
            [p for _, rest in parts for p in rest],
            np.concatenate([np.full(len(rest), i) for i, (_, rest) in enumerate(parts)]),
        )

    def figures(self, likely: np.ndarray) -> dict[str, float]:
        """Balanced accuracy, log loss, and the recalls of the commonest and the rarest class."""
        right = likely.argmax(axis=1) == self.test_labels
        counts = np.bincount(self.labels)
        by = paired.Yardstick("balanced-accuracy")
        return {
            "balanced": paired.value(likely, self.test_labels, by),
            "log_loss": calibration.log_loss(np.log(np.maximum(likely, 1e-15)), self.test_labels),
            "common": float(right[self.test_labels == counts.argmax()].mean()),
            "rare": float(right[self.test_labels == counts.argmin()].mean()),
        }


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(COUNTS), choices=list(COUNTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tuned", nargs="*", default=[], choices=["partial", "deep"])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--side-px", type=int, default=96)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.sets:
        for seed in asked.seeds:
            for row in fill(asked, name, seed):
                row_file.append(row, ROWS)
                print(row, flush=True)
    show(row_file.read(Row, ROWS))


def fill(asked: argparse.Namespace, name: str, seed: int) -> Iterator[Row]:
    """The rows of a set and seed that are not there yet."""
    wanted = [("linear-probe", "no")]
    wanted += [(way, weights) for way in asked.tuned for weights in ("no", "sqrt")]
    done = {
        (r.strategy, r.class_weights)
        for r in row_file.read(Row, ROWS)
        if (r.data, r.seed) == (name, seed)
    }
    wanted = [key for key in wanted if key not in done]
    if not wanted:
        return
    thin = Uneven.of(asked.data / name, COUNTS[name], seed)
    for way, weights in wanted:
        found = (
            probed(thin) if way == "linear-probe" else tuned(thin, asked, name, seed, way, weights)
        )
        for kind, likely in found.items():
            yield Row(
                data=name,
                seed=seed,
                strategy=way,
                class_weights=weights,
                kind=kind,
                images=len(thin.labels),
                tested=len(thin.test_labels),
                **thin.figures(likely),
                epochs=0 if way == "linear-probe" else asked.epochs,
                side_px=224 if way == "linear-probe" else asked.side_px,
            )


def probed(thin: Uneven) -> dict[str, np.ndarray]:
    """Test probabilities of the probe on top features, as it is and moved."""
    body, _ = load.build("tf_efficientnet_lite0")
    cpu = torch.device("cpu")
    x, test = (
        holdout.top_features(body, cpu, decoding.load(files, [224], 1)[0])
        for files in (thin.learn, thin.test)
    )
    span, classes = (0, x.shape[1]), int(thin.labels.max()) + 1
    kernel = kernels.stage_kernels(x, {"top": span})["top"]
    found = {}
    for kind, wanted in (("train", None), ("uniform", logit_adjustment.uniform(classes))):
        left = cross_validation.leave_out(
            "top", ("top",), kernel, thin.labels, x.shape[1], wanted=wanted
        )
        blocks = ridge.Blocks(x, (span,))
        head = ridge.fit(blocks, thin.labels, classes, left.score.penalty, left.temperature)
        head = logit_adjustment.moved(head, None if wanted is None else wanted.shift(thin.labels))
        found[kind] = calibration.probabilities(ridge.score(head, test), head.temperature)
    return found


def tuned(
    thin: Uneven, asked: argparse.Namespace, name: str, seed: int, way: str, weights: str
) -> dict[str, np.ndarray]:
    """The same of a tuned model; a fold in five is held out for its temperature."""
    fold = cross_validation.folds(thin.labels, [str(p) for p in thin.learn])
    learn, held = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    facts = recipe.Facts(
        images=len(learn),
        similarity=SETS[name],  # type: ignore[arg-type]
        rarest=int(np.bincount(thin.labels).min()),
        commonest=int(np.bincount(thin.labels).max()),
    )
    options = {"side_px": asked.side_px, "epochs": asked.epochs, "class_weights": weights == "sqrt"}
    plan = recipe.resolve(table.named(way), facts, options)
    body, _ = load.build("tf_efficientnet_lite0")
    cpu, classes = torch.device("cpu"), int(thin.labels.max()) + 1
    made = holdout.prepare(
        *(thin.learn, plan, body, cpu),
        labels=thin.labels,
        groups=[str(p) for p in thin.learn],
        classes=classes,
        seed=seed,
        listener=Silent(),
    )
    model = holdout._fit(made, plan, learn, None)
    scores = holdout._logits(made, model, held)
    pixels = decoding.load(thin.test, [plan.side_px], 1)[0]
    test = ridge.score(model.head, holdout.top_features(model.backbone, cpu, pixels))
    labels, even = thin.labels[held], logit_adjustment.uniform(classes)
    shift = even.shift(thin.labels[learn], weighed=plan.class_weights)
    plain = calibration.fit_temperature(scores, labels)
    moved = calibration.fit_temperature(scores, labels, shift, even.weights(labels))
    return {
        "train": calibration.probabilities(test, plain),
        "uniform": calibration.probabilities(test, moved, shift),
    }


def show(rows: list[Row]) -> None:
    """Means over seeds, as they are and moved to equal shares."""
    cells: dict[tuple[str, str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        cells[row.data, row.strategy, row.class_weights][row.kind].append(row)
    names = ("balanced", "rare", "common", "log_loss")
    head = ("data", "strategy", "class weights", "seeds", *(n.replace("_", " ") for n in names))
    print("| " + " | ".join(head) + " |")
    print("| --- " * len(head) + "|")
    for key, kinds in cells.items():
        texts = [*key, str(len(kinds["train"]))]
        for name in names:
            one, two = (np.mean([getattr(r, name) for r in kinds[k]]) for k in ("train", "uniform"))
            form = "{:.3f} → {:.3f}" if name == "log_loss" else "{:.1%} → {:.1%}"
            texts.append(form.format(one, two))
        print("| " + " | ".join(texts) + " |")


if __name__ == "__main__":
    main()
