"""How well unknown pictures are told, and do sets and thresholds keep what they say?

    python benchmarks/unknown.py --data FOLDER_OF_DATA_SETS --features FOLDER [--sets flowers5]
    python benchmarks/unknown.py --report

From each data set some images a class are learnt from by a linear probe; others of it are known
pictures, those of the other data sets unknown ones. Told are AUROC and the share of known pictures
refused where 95 % of unknown ones are found, means over the other data sets, by the cosine to the
nearest training image (what the program does), by Mahalanobis distance (shrunken covariance, Ledoit
and Wolf), relative Mahalanobis distance, and the probability of the answer. Nothing is fitted on
unknown pictures. Then, on the known ones: what `--unknown 0.01` and `0.05` refuse (and find),
`--coverage 0.9` covers, `--target-error 0.05` answers. Rows go to `benchmarks/unknown.csv` as they
are measured; what is there is not measured again. Features are kept in FOLDER.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import row_file

from finetune.backbones import features, prepared, registry
from finetune.heads import calibration, cross_validation, kernels, ridge, selective, unknown
from finetune.records.events import Silent
from finetune.records.options import BackboneOptions
from finetune.sources import scan

ROWS = Path(__file__).with_name("unknown.csv")
SIZES, SEEDS = (5, 20, 40), (0, 1, 2)
KEPT_A_CLASS, KEPT, TEST, OTHERS = 60, 600, 200, 50
SHRUNK = 0.01  # of the mean variance, added to each direction: the best of five on these sets


@dataclass(frozen=True, kw_only=True)
class Row:
    """One data set, images a class and seed; None where images could not vouch for it."""

    data: str
    size: int
    seed: int
    images: int
    nearest_auroc: float
    nearest_refused: float
    mahalanobis_auroc: float
    mahalanobis_refused: float
    relative_auroc: float
    relative_refused: float
    probability_auroc: float
    probability_refused: float
    refused_1: float | None
    found_1: float | None
    refused_5: float | None
    found_5: float | None
    covered: float | None
    set_size: float | None
    answered: float | None
    error: float | None


def known(root: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features float32[N,D] that a linear probe reads, and labels int64[N]."""
    file = folder / f"{root.name}.npz"
    if not file.exists():
        listed, rng = scan.scan(root).pool, np.random.default_rng(0)
        labels = np.array([s.label for s in listed])
        rows = np.concatenate(
            [rng.permutation(np.flatnonzero(labels == c))[:KEPT_A_CLASS] for c in np.unique(labels)]
        )
        rows = np.sort(rng.permutation(rows)[:KEPT])
        paths = [root / listed[i].path for i in rows]
        options = BackboneOptions(name=registry.DEFAULT, device="cpu")
        body = prepared.prepare(options, seed=0, paths=paths, listener=Silent())
        side = body.facts.backbone.preprocess.side_px
        table = features.extract(paths, body.engine, side, Silent())
        top = table.columns((body.facts.probed_top,))[:]
        np.savez(file, rows=top, labels=labels[rows][table.kept])
    found = np.load(file)
    return found["rows"], found["labels"]


def mahalanobis(
    learnt: np.ndarray, labels: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest class, and that less the distance to all, float64[N] each."""
    x, z = (a.astype(np.float64) - learnt.mean(axis=0) for a in (learnt, rows))
    _, _, basis = np.linalg.svd(x, full_matrices=False)
    x, inside = x @ basis.T, z @ basis.T
    rest = np.maximum(np.square(z).sum(axis=1) - np.square(inside).sum(axis=1), 0)
    means = np.stack([x[labels == c].mean(axis=0) for c in np.unique(labels)])
    within = x - means[np.unique(labels, return_inverse=True)[1]]
    found = []
    for deviations, middles in ((within, means), (x, np.zeros((1, x.shape[1])))):
        covariance = deviations.T @ deviations / len(x)
        added = SHRUNK * np.trace(covariance) / min(100, len(x))
        covariance[np.diag_indices_from(covariance)] += added
        root = np.linalg.cholesky(np.linalg.inv(covariance))
        off = (inside[:, None] - middles) @ root
        found.append(np.square(off).sum(axis=2).min(axis=1) + rest / added)
    return found[0], found[0] - found[1]


def told(known: np.ndarray, others: list[np.ndarray]) -> tuple[float, float]:
    """AUROC, and known ones refused where 95 % of the unknown are found: means over others."""
    ranked = [
        (
            float((known[:, None] < far).mean() + (known[:, None] == far).mean() / 2),
            float((known >= np.quantile(far, 0.05)).mean()),
        )
        for far in others
    ]
    first, second = np.mean(ranked, axis=0)
    return float(first), float(second)


def measure(name: str, sets: dict[str, tuple[np.ndarray, np.ndarray]], size: int, seed: int) -> Row:
    """One row."""
    rows, labels = sets[name]
    rng = np.random.default_rng(seed)
    learn, test = [], []
    for c in np.unique(labels):
        mine = rng.permutation(np.flatnonzero(labels == c))
        few = min(size, int(len(mine) * 0.75))
        learn.append(mine[:few])
        test.append(mine[few:])
    inside, outside = np.concatenate(learn), rng.permutation(np.concatenate(test))[:TEST]
    learnt, truth = rows[inside], labels[inside]
    others = [rng.permutation(r)[:OTHERS] for other, (r, _) in sets.items() if other != name]
    cuts = np.cumsum([len(outside), *map(len, others)])[:-1]
    asked = np.concatenate([rows[outside], *others])
    kernel = kernels.stage_kernels(learnt, {"top": (0, learnt.shape[1])})["top"]
    left = cross_validation.leave_out("top", ("top",), kernel, truth, learnt.shape[1])
    blocks = ridge.Blocks(learnt, ((0, learnt.shape[1]),))
    head = ridge.fit(blocks, truth, int(labels.max()) + 1, left.score.penalty, left.temperature)
    likely = calibration.probabilities(ridge.score(head, asked), head.temperature)
    far = unknown.fit(learnt).distances(asked)
    near, relative = mahalanobis(learnt, truth, asked)
    figures = []
    for scores in (far, near, relative, -likely.max(axis=1)):
        mine, *rest = np.split(scores, cuts)
        figures += told(mine, rest)
    held = selective.HeldOut(
        likely=calibration.probabilities(left.logits, left.temperature), labels=truth
    )
    marks = marked(unknown.rows(unknown.left_out(learnt)), *np.split(far, [len(outside)]))
    kept = judged(held, likely[: len(outside)], labels[outside])
    names = [f.name for f in fields(Row)][4:]
    return Row(
        **dict(zip(names, [*figures, *marks, *kept], strict=True)),
        data=name,
        size=size,
        seed=seed,
        images=len(inside),
    )


def marked(rows: tuple, mine: np.ndarray, others: np.ndarray) -> list[float | None]:
    """Known ones refused and unknown ones found at 1 and 5 %."""
    out: list[float | None] = []
    for share in (0.01, 0.05):
        fits = [r.distance for r in rows if r.refused <= share]
        out += [float((f > min(fits)).mean()) if fits else None for f in (mine, others)]
    return out


def judged(held: selective.HeldOut, likely: np.ndarray, labels: np.ndarray) -> list[float | None]:
    """Coverage and size of sets at 90 %, and what `--target-error 0.05` answers, with its error."""
    out: list[float | None] = [None] * 4
    row = next((r for r in selective.set_rows(held) if r.coverage >= 0.9), None)
    if row is not None:
        within = likely >= row.min_probability
        within[np.arange(len(likely)), likely.argmax(axis=1)] = True
        out[:2] = [
            float(within[np.arange(len(labels)), labels].mean()),
            float(within.sum(axis=1).mean()),
        ]
    least = next((r for r in selective.confidence_rows(held) if r.bound <= 0.05), None)
    if least is not None:
        some = likely.max(axis=1) >= least.min_confidence
        wrong = likely.argmax(axis=1) != labels
        out[2:] = [float(some.mean()), float(wrong[some].mean()) if some.any() else None]
    return out


def report() -> None:
    """The means of the rows by images a class."""
    rows = row_file.read(Row, ROWS)
    names = [f.name for f in fields(Row)][4:]
    print("| images a class | rows | " + " | ".join(names) + " |")
    print("| --- " * (len(names) + 2) + "|")
    for size in SIZES:
        some = [r for r in rows if r.size == size]
        if not some:
            continue
        cells = []
        for name in names:
            values = [v for r in some if (v := getattr(r, name)) is not None]
            cells.append(f"{np.mean(values):.3f} ({len(values)})" if values else "–")
        print(f"| {size} | {len(some)} | " + " | ".join(cells) + " |")
    worst = max(rows, key=lambda r: r.nearest_refused)
    print(
        f"worst by the nearest image: {worst.data}, {worst.size} a class, {worst.nearest_refused}"
    )


def main() -> None:
    """Measure what is not there yet, or report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    if asked.report:
        report()
        return
    asked.features.mkdir(parents=True, exist_ok=True)
    roots = sorted(p for p in asked.data.iterdir() if p.is_dir())
    sets = {root.name: known(root, asked.features) for root in roots}
    done = {(r.data, r.size, r.seed) for r in row_file.read(Row, ROWS)}
    for name in asked.sets or sets:
        fewest = np.bincount(sets[name][1]).min()
        for size in SIZES:
            for seed in SEEDS:
                if (name, size, seed) in done or 0.75 * fewest < 0.7 * size:
                    continue
                row_file.append(measure(name, sets, size, seed), ROWS)


if __name__ == "__main__":
    main()
