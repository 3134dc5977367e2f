"""How many planted wrong labels `check --labels` finds, with cleanlab on the same probabilities.

    python benchmarks/label_issues.py --data FOLDER_OF_DATA_SETS [--sets NAME …] [--seeds 0 1 2]

In a set of images a share of the labels is changed: to any other class alike (`uniform`), or to
one that a probe takes the true class for (`confusing`, as people err). Of 0 % all that is listed
is a false alarm, or an error that was there. Features are taken once and lie in the cache; what
stands in `label_issues.csv` is not measured again. The probe is chosen on the wrong labels, as
`check` does. cleanlab's ways get the probabilities of our probe; it is a rival here and no
dependency.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import row_file
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from label_sets import CAPS, MAIN, Labelled
from sklearn.metrics import average_precision_score

from finetune.analysis import label_issues
from finetune.heads import calibration

ROWS = Path(__file__).with_name("label_issues.csv")
SHARES = (0.0, 0.05, 0.1)
KINDS = ("uniform", "confusing")
# Those that are no list of their own only rank.
LISTS = ("prune_by_noise_rate", "confident_learning", "both", "low_normalized_margin")
LISTS += ("low_self_confidence",)
RANKS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


@dataclass(frozen=True)
class Row:
    """One way on one set of labels; `average_precision` of its ranking, `listed` its list."""

    data: str
    share: float
    kind: str
    seed: int
    way: str
    images: int
    wrong: int
    agreement: float
    listed: int
    precision: float
    recall: float
    average_precision: float


def main() -> None:
    """Measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(MAIN), choices=list(CAPS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    done = {(r.data, r.share, r.kind, r.seed) for r in row_file.read(Row, ROWS)}
    for name in asked.sets:
        wanted = [
            key
            for share in SHARES
            for kind in KINDS[: 1 if share == 0 else None]
            for seed in (asked.seeds if share else asked.seeds[:1])
            if (key := (name, share, kind, seed)) not in done
        ]
        if not wanted:
            continue
        whole = Labelled.read(asked.data / name, CAPS[name])
        clean = calibrated(whole, whole.labels)
        taken = np.array([clean[whole.labels == c].mean(axis=0) for c in range(clean.shape[1])])
        for _, share, kind, seed in wanted:
            given = planted(whole.labels, taken, share, kind, seed)
            for row in measured(whole, given):
                values = {"data": name, "share": share, "kind": kind, "seed": seed}
                row_file.append(Row(**values, **row), ROWS)
            print(name, share, kind, seed, flush=True)
    show(row_file.read(Row, ROWS))


def planted(
    labels: np.ndarray, taken: np.ndarray, share: float, kind: str, seed: int
) -> np.ndarray:
    """The labels with a share of them changed."""
    rng, out, classes = np.random.default_rng(seed), labels.copy(), len(taken)
    for i in rng.choice(len(labels), round(share * len(labels)), replace=False):
        chance = np.ones(classes) if kind == "uniform" else taken[labels[i]].copy()
        chance[labels[i]] = 0
        out[i] = rng.choice(classes, p=chance / chance.sum())
    return out


def calibrated(whole: Labelled, given: np.ndarray) -> np.ndarray:
    """Probabilities float64[N, C] of the best probe, each image left out with its group."""
    logits = whole.left_out(given, whole.probe(given))
    return calibration.probabilities(logits, calibration.fit_temperature(logits, given))


def measured(whole: Labelled, given: np.ndarray) -> Iterator[dict[str, object]]:
    """Every way on these labels."""
    wrong = given != whole.labels
    logits = whole.left_out(given, whole.probe(given))
    likely = calibration.probabilities(logits, calibration.fit_temperature(logits, given))
    agreement = float((likely.argmax(axis=1) == given).mean())
    judged = label_issues.judge(logits, given)
    ours = np.zeros(len(given), bool)
    ours[judged.suspects] = True
    found = {"finetune": (ours, judged.quality)}
    for way in LISTS:
        listed = find_label_issues(given, likely, filter_by=way, n_jobs=1)
        found[f"cleanlab {way}"] = (np.asarray(listed, bool), None)
    for way in RANKS:
        scores = get_label_quality_scores(given, likely, method=way)
        found[f"cleanlab rank {way}"] = (None, scores)
    for way, (listed, quality) in found.items():
        hits = 0 if listed is None else int((listed & wrong).sum())
        count = 0 if listed is None else int(listed.sum())
        average = 0.0
        if quality is not None and wrong.any():
            average = float(average_precision_score(wrong, -quality))
        yield {
            "way": way,
            "images": len(given),
            "wrong": int(wrong.sum()),
            "agreement": agreement,
            "listed": count,
            "precision": hits / max(1, count),
            "recall": hits / max(1, int(wrong.sum())),
            "average_precision": average,
        }


def show(rows: list[Row]) -> None:
    """Means over kinds and seeds: by set for ours and cleanlab's default, by way over all sets."""
    names = list(dict.fromkeys(r.data for r in rows))
    print(
        "| data | wrong | ours: listed, precision, recall, AP | cleanlab's default | AP by margin |"
    )
    print("| --- " * 5 + "|")
    for name in names:
        for share in SHARES:
            some = [r for r in rows if (r.data, r.share) == (name, share)]
            one = cell(some, "finetune")
            two = cell(some, "cleanlab prune_by_noise_rate")
            three = mean(some, "cleanlab rank normalized_margin", "average_precision")
            print(
                f"| {name} | {share:.0%} | {one} {mean(some, 'finetune', 'average_precision'):.2f} "
                f"| {two} | {three:.2f} |"
            )
    print("\n| way | 5 %: precision, recall, F1, AP | 10 % |\n| --- | --- | --- |")
    for way in dict.fromkeys(r.way for r in rows):
        texts = []
        for share in SHARES[1:]:
            some = [r for r in rows if r.share == share]
            p, q = mean(some, way, "precision"), mean(some, way, "recall")
            average = mean(some, way, "average_precision")
            texts.append(f"{p:.1%} {q:.1%} {2 * p * q / max(p + q, 1e-9):.2f} {average:.3f}")
        print(f"| {way} | {' | '.join(texts)} |")
    margins(rows, names)


def margins(rows: list[Row], names: list[str]) -> None:
    """Set by set the gain of our list over cleanlab's with the best mean on the other sets (F1)."""
    print("\nF1 at 5 % and 10 %, ours less the one of cleanlab's that is best on the other sets:")
    by = defaultdict[tuple[str, str], list[float]](list)
    for r in rows:
        if r.share:
            by[r.data, r.way].append(2 * r.precision * r.recall / max(r.precision + r.recall, 1e-9))
    for name in names:
        others = {
            way: np.mean([np.mean(by[n, f"cleanlab {way}"]) for n in names if n != name] or [0])
            for way in LISTS
        }
        best = max(others, key=lambda w: others[w])
        gain = np.mean(by[name, "finetune"]) - np.mean(by[name, f"cleanlab {best}"])
        print(f"  {name}: {gain:+.3f} (over {best})")


def mean(rows: list[Row], way: str, field: str) -> float:
    """Of one figure; 0 where there is none."""
    return float(np.mean([getattr(r, field) for r in rows if r.way == way] or [0.0]))


def cell(rows: list[Row], way: str) -> str:
    """Listed, precision and recall."""
    figures = [mean(rows, way, field) for field in ("listed", "precision", "recall")]
    return f"{figures[0]:.0f} {figures[1]:.0%} {figures[2]:.0%}"


if __name__ == "__main__":
    main()
