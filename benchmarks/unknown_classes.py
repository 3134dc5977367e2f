"""How well classes are told that a probe has not learnt, of the very data set that it learnt from.

    python benchmarks/unknown_classes.py --data FOLDER_OF_DATA_SETS --features FOLDER
    python benchmarks/unknown_classes.py --report

A quarter of the classes of a data set, one at least, is left out; 20 images of each other class are
learnt from by a linear probe, more of these are known pictures, those left out unknown ones. Told
is the AUROC of the distance to the nearest training image, what `--unknown 0.05` and `0.01` find,
and which known pictures they refuse. Sets of two classes have none to spare. Features are those of
`unknown.py`, kept in the same folder. Rows go to `benchmarks/unknown_classes.csv` as they are
measured; what is there is not measured again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import row_file
import unknown as far_sets

from finetune.heads import unknown

ROWS = Path(__file__).with_name("unknown_classes.csv")
SIZE, SEEDS, FEWEST_CLASSES = 20, (0, 1, 2), 3


@dataclass(frozen=True, kw_only=True)
class Row:
    """One data set and seed; None where held-out images could not vouch for the share."""

    data: str
    seed: int
    classes: int
    left_out: int
    auroc: float
    refused_1: float | None
    found_1: float | None
    refused_5: float | None
    found_5: float | None


def measure(name: str, rows: np.ndarray, labels: np.ndarray, seed: int) -> Row:
    """One row."""
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.unique(labels))
    out = max(1, len(classes) // 4)
    learn, test = [], []
    for c in classes[out:]:
        mine = rng.permutation(np.flatnonzero(labels == c))
        few = min(SIZE, int(len(mine) * 0.75))
        learn.append(mine[:few])
        test.append(mine[few:])
    learnt = rows[np.concatenate(learn)]
    new = np.flatnonzero(np.isin(labels, classes[:out]))
    detector = unknown.fit(learnt)
    mine = detector.distances(rows[rng.permutation(np.concatenate(test))[: far_sets.TEST]])
    others = detector.distances(rows[rng.permutation(new)[: far_sets.TEST]])
    auroc, _ = far_sets.told(mine, [others])
    marks = far_sets.marked(unknown.rows(unknown.left_out(learnt)), mine, others)
    names = [f.name for f in fields(Row)][-4:]
    return Row(
        data=name,
        seed=seed,
        classes=len(classes),
        left_out=out,
        auroc=auroc,
        **dict(zip(names, marks, strict=True)),
    )


def report() -> None:
    """Means by data set, and over all."""
    rows = row_file.read(Row, ROWS)
    names = [f.name for f in fields(Row)][4:]
    print("| data | classes, left out | " + " | ".join(names) + " |")
    print("| --- " * (len(names) + 2) + "|")
    for data in [*dict.fromkeys(r.data for r in rows), ""]:
        some = [r for r in rows if data in ("", r.data)]
        cells = []
        for name in names:
            values = [v for r in some if (v := getattr(r, name)) is not None]
            cells.append(f"{np.mean(values):.3f} ({len(values)})" if values else "–")
        about = f"{some[0].classes}, {some[0].left_out}" if data else ""
        print(f"| {data or 'all'} | {about} | " + " | ".join(cells) + " |")


def main() -> None:
    """Measure what is not there yet, or report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    if asked.report:
        report()
        return
    asked.features.mkdir(parents=True, exist_ok=True)
    done = {(r.data, r.seed) for r in row_file.read(Row, ROWS)}
    for root in sorted(p for p in asked.data.iterdir() if p.is_dir()):
        wanted = [seed for seed in SEEDS if (root.name, seed) not in done]
        if not wanted:
            continue
        rows, labels = far_sets.known(root, asked.features)
        if len(np.unique(labels)) < FEWEST_CLASSES:
            continue
        for seed in wanted:
            row_file.append(measure(root.name, rows, labels, seed), ROWS)


if __name__ == "__main__":
    main()
