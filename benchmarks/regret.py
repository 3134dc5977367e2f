"""How often the decision is right: every strategy on many small data sets, and what each rule gets.

    python benchmarks/regret.py --data FOLDER_OF_DATA_SETS [--part 0/2] [--seeds 0 1]
        [--device cuda] [--rows FILE --evidence FILE --scores FOLDER]
    python benchmarks/regret.py --report [--plot docs/similarity-size.svg]
    python benchmarks/regret.py --backbone tf_efficientnet_lite2 --data FOLDER --sets … --sizes 20
    python benchmarks/regret.py --backbone tf_efficientnet_lite2 --report

The first form measures what is missing from regret.csv (or `--rows`), one row at a time, and may be
stopped and started again; `--part 0/2` and `--part 1/2` share the work between two processes (one
thread each: set OMP_NUM_THREADS=1), on a GPU as well. `--scores` keeps the logits of every cell, on
which blends can be tried without new training. The second form prints the tables from the rows
alone. With `--backbone` the rows are that network's own (regret_NAME.csv); what a policy has fitted
is still of the default network's rows, so that the report says what transfers.

Regret is the accuracy of the best strategy less that of the chosen one, in points; which is best is
decided on other seeds than the one that is scored. Whatever a policy has fitted, it has fitted on
the other data sets.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import truth
from truth import SETS, SIZES, STRATEGIES, Cell, Evidence, Row

from finetune.backbones import registry
from finetune.decision import prior, table
from finetune.decision.table import named
from finetune.decision.timing import PROOF
from finetune.records.choices import Similarity, Strategy
from finetune.records.decision import TrialResult
from finetune.training import recipe

TUNED: tuple[Strategy, ...] = ("partial", "deep")
# What is tried before a strategy; a blend is of the deep trial's model and the probe.
TRIALS: dict[Strategy, tuple[str, ...]] = {
    "partial": truth.PARTIAL_TRIALS,
    "deep": truth.TRIALS,
    "blend": truth.TRIALS,
}
# From so many images on, a fifth of them (the default validation share) is enough to judge.
SPLIT_FROM = 5 * recipe.TELLING_IMAGES


@dataclass(frozen=True)
class Known:
    """Rows and evidence of every cell that is complete.

    `others` are those of the backbone that beliefs are fitted on; None of the same one.
    """

    rows: dict[Cell, dict[str, Row]]
    evidence: dict[Cell, Evidence]
    others: Known | None = None

    def fitting(self, name: str) -> Known:
        """What the beliefs for one data set are fitted on."""
        return (self.others or self).without(name)

    def without(self, name: str) -> Known:
        """All but one data set, to fit on."""
        keep = [c for c in self.rows if c[0] != name]
        return Known({c: self.rows[c] for c in keep}, {c: self.evidence[c] for c in keep})

    def accuracy(self, cell: Cell, kind: str) -> float:
        """On the test images, in points."""
        return 100 * self.rows[cell][kind].accuracy

    def below_probe(self, cell: Cell, kind: str) -> float:
        """Points by which a strategy is worse than the best probe on the test images."""
        return self.accuracy(cell, "stage-probe") - self.accuracy(cell, kind)

    def seconds(self, cell: Cell, kind: str, proof: float | None = None) -> float:
        """Of training, with its proof: on few images, tuning on halves costs 3/4 as much again."""
        row = self.rows[cell]["deep" if kind == truth.BLEND else kind]
        again = PROOF * row.seconds if row.learnt_from < SPLIT_FROM else 0.0
        return row.seconds + (again if proof is None else proof) * (kind in TRIALS)

    def everything(self, cell: Cell) -> float:
        """Seconds of training all four."""
        return sum(self.seconds(cell, kind) for kind in STRATEGIES[1:])

    def best(self, cell: Cell) -> str:
        """The strategy that was best on the other seeds of this set and size, else on this one."""
        name, size, seed = cell
        others = [c for c in self.rows if c[:2] == (name, size) and c[2] != seed] or [cell]
        return max(STRATEGIES, key=lambda k: sum(self.accuracy(c, k) for c in others))


def load(
    rows_of: Path = truth.ROWS, evidence_of: Path = truth.EVIDENCE, others: Known | None = None
) -> Known:
    """Complete cells only."""
    rows: dict[Cell, dict[str, Row]] = {}
    for row in truth.read(Row, rows_of):
        rows.setdefault(row.key[:3], {})[row.kind] = row
    found = {e.key: e for e in truth.read(Evidence, evidence_of)}
    whole = {
        c: r
        for c, r in sorted(rows.items())
        if c in found and {*STRATEGIES, truth.BLEND, truth.BLEND_TRIAL, "trial-1"} <= {*r}
    }
    return Known(whole, {c: found[c] for c in whole}, others)


def fitted(known: Known) -> dict[Similarity, dict[Strategy, prior.Belief]]:
    """What `prior.BELIEFS` should be, from these cells."""
    columns: tuple[Similarity, ...] = ("similar", "different")
    return {c: {k: belief(known, c, k, t) for k, t in TRIALS.items()} for c in columns}


def belief(known: Known, column: str, kind: Strategy, trials: tuple[str, ...]) -> prior.Belief:
    """Means and deviations of shares of the probe's stake, by the logarithm of the images."""
    cells = [c for c in known.rows if known.evidence[c].column == column]
    scale = np.array([prior.headroom(known.evidence[c].error) for c in cells])
    rows = [known.rows[c] for c in cells]
    lead = np.array([r[kind].accuracy - r["stage-probe"].accuracy for r in rows]) / scale
    decades = np.log10([known.evidence[c].images / 100 for c in cells])
    slope, middle = np.polyfit(decades, lead, 1)
    around = float((lead - middle - slope * decades).std(ddof=2))
    tried = [i for i, r in enumerate(rows) if trials[0] in r]
    images = [known.evidence[c].images for c in cells]
    # of both columns: what many classes do has not to do with what is on the pictures
    classes = max(e.classes for e in known.evidence.values())
    measured = (min(images), max(images), classes)
    if not tried:
        return prior.Belief(float(middle), float(slope), around, 0.0, around, *measured)
    pairs = [
        prior.pooled([result(rows[i][k], kind) for k in trials if k in rows[i]]) for i in tried
    ]
    gain, noise = np.array(pairs).T / scale[tried]
    trial_bias, off = random_effects(lead[tried] - gain, noise)
    return prior.Belief(float(middle), float(slope), around, trial_bias, off, *measured)


def per_decade(known: Known) -> float:
    """What `prior.PER_DECADE` should be: how much the slopes of single data sets differ.

    Their deep tuning's lead by the logarithm of the images, where these reach over half a decade;
    headroom and error of the probe as for `belief`.
    """
    slopes = []
    for name in sorted({c[0] for c in known.rows}):
        cells = [c for c in known.rows if c[0] == name and known.evidence[c].error > 0]
        decades = np.log10([known.evidence[c].images for c in cells])
        if len(cells) > 2 and np.ptp(decades) > 0.5:
            shares = [
                (known.rows[c]["deep"].accuracy - known.rows[c]["stage-probe"].accuracy)
                / prior.headroom(known.evidence[c].error)
                for c in cells
            ]
            slopes.append(np.polyfit(decades, shares, 1)[0])
    return float(np.std(slopes, ddof=1))


def random_effects(values: np.ndarray, noise: np.ndarray) -> tuple[float, float]:
    """Mean and true spread of values that are known with so much noise each.

    By DerSimonian and Laird 1986. Without weights the noisiest values, of trials judged by ten
    images, settle both, and the spread of trials on near sets came out as none.
    """
    weights = 1 / noise**2
    mean = np.average(values, weights=weights)
    excess = (weights * (values - mean) ** 2).sum() - (len(values) - 1)
    variance = max(excess, 0.0) / (weights.sum() - (weights**2).sum() / weights.sum())
    mean = np.average(values, weights=1 / (noise**2 + variance))
    return float(mean), float(variance**0.5)


def result(row: Row, tuning: Strategy) -> TrialResult:
    """A row of a trial as the program has it."""
    return TrialResult(
        strategy=tuning,
        learnt_from=row.learnt_from,
        judged_on=row.judged_on,
        side_px=row.side_px,
        epochs=row.epochs,
        gain=row.gain or 0.0,
        noise=row.gain_noise or 0.0,
        seconds=row.seconds,
    )


# A policy looks at one cell of the known and answers with a strategy and its seconds of training.
Policy = Callable[[Known, Cell], tuple[str, float]]


def always(kind: str) -> Policy:
    """One strategy, whatever the data."""
    return lambda known, cell: (kind, known.seconds(cell, kind))


def by_table(size: Callable[[Evidence], str], column: Callable[[Evidence], str]) -> Policy:
    """The cell of the classic table that the two axes name."""

    def policy(known: Known, cell: Cell) -> tuple[str, float]:
        seen = known.evidence[cell]
        kind = table.rule_for(size(seen), column(seen)).strategy  # type: ignore[arg-type]
        return kind, known.seconds(cell, kind)

    return policy


def measured(
    known: Known, cell: Cell, *, short: bool = True, single: bool = False
) -> tuple[str, float]:
    """What `--policy measured` does, with beliefs fitted on the other data sets."""
    seen, rows = known.evidence[cell], known.rows[cell]
    beliefs = fitted(known.fitting(cell[0]))[seen.column]  # type: ignore[index]
    setting = prior.Setting(images=seen.images, classes=seen.classes, probe_error=seen.error)
    tuning, belief = prior.candidate(beliefs, setting, blends=not single)
    tried: list[TrialResult] = []
    seconds = 0.0
    lead = prior.weigh(belief, setting, tried)
    worth = prior.worth_trying(lead, seen.error)
    if short and worth:
        for kind in TRIALS[tuning]:
            if kind in rows and not (tried and prior.settled(lead)):
                tried.append(result(rows[kind], tuning))
                seconds += tried[-1].seconds
                lead = prior.weigh(belief, setting, tried)
    if worth and prior.wins(lead):
        kind = tuning if single or tuning != "deep" else blended(known, cell)
        return kind, seconds + known.seconds(cell, tuning, 0.0 if tried else None)
    return "stage-probe", seconds + known.seconds(cell, "stage-probe")


def blended(known: Known, cell: Cell) -> str:
    """What is returned after deep tuning, as `decision/blend.py` has it."""
    rows = known.rows[cell]
    weight, tried = rows[truth.BLEND].lr, rows[truth.BLEND_TRIAL]
    if weight in (0.0, 1.0):
        return "deep" if weight else "stage-probe"
    return truth.BLEND if (tried.gain or 0.0) >= -(tried.gain_noise or 0.0) else "stage-probe"


POLICIES: dict[str, Policy] = {
    "measured (the default)": measured,
    "measured, no trials": partial(measured, short=False),
    "measured, one network (`--single`)": partial(measured, single=True),
    "classic table, measured axes (`--policy table`)": by_table(
        lambda e: e.size, lambda e: e.column
    ),
    "classic table, hand-given labels": by_table(lambda e: e.size, lambda e: SETS[e.data]),
    "size only (small: linear probe, large: deep)": by_table(
        lambda e: e.size, lambda e: "similar" if e.size == "small" else "different"
    ),
    "similarity only (similar: linear probe, different: deep)": by_table(
        lambda e: "small" if e.column == "similar" else "large", lambda e: e.column
    ),
    "cross-validated probe = always stage-probe": always("stage-probe"),
    "always linear-probe": always("linear-probe"),
    "always partial": always("partial"),
    "always deep": always("deep"),
    "always blend (of deep)": always("blend"),
}


def regrets(known: Known, policy: Policy) -> tuple[dict[Cell, float], float]:
    """Points lost against the best strategy by cell, and the share of the cost of trying all."""
    lost, spent, total = {}, 0.0, 0.0
    for cell in known.rows:
        kind, seconds = policy(known, cell)
        lost[cell] = known.accuracy(cell, known.best(cell)) - known.accuracy(cell, kind)
        spent, total = spent + seconds, total + known.everything(cell)
    return lost, spent / total


def interval(lost: dict[Cell, float], statistic: Callable[[list[float]], float]) -> str:
    """95 % bootstrap interval over data sets."""
    rng = np.random.default_rng(0)
    by_set: dict[str, list[float]] = {}
    for cell, value in lost.items():
        by_set.setdefault(cell[0], []).append(value)
    names = sorted(by_set)
    drawn = [
        statistic([v for i in rng.integers(len(names), size=len(names)) for v in by_set[names[i]]])
        for _ in range(2000)
    ]
    return f"{np.quantile(drawn, 0.025):.1f} to {np.quantile(drawn, 0.975):.1f}"


def by_distance(known: Known) -> None:
    """Mean accuracy of each strategy, near and far, by images a class."""
    print("\n| distance | a class | cells | linear-probe | stage-probe | partial | deep | blend |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for label in ("similar", "different"):
        for size in SIZES:
            cells = [c for c in known.rows if SETS[c[0]] == label and c[1] == size]
            if cells:
                kinds = (*STRATEGIES, truth.BLEND)
                means = [np.mean([known.accuracy(c, k) for c in cells]) for k in kinds]
                shown = " | ".join(f"{m:.1f}" for m in means)
                print(f"| {label} | {size} | {len(cells)} | {shown} |")


def report(known: Known) -> None:
    """Everything the rows say, as Markdown."""
    sets = {c[0] for c in known.rows}
    alone = sum(all(o == c or o[:2] != c[:2] for o in known.rows) for c in known.rows)
    sizes = ", ".join(str(s) for s in sorted({c[1] for c in known.rows}))
    print(f"{len(known.rows)} cells: {len(sets)} data sets, {sizes} images a class; {alone} cells")
    print("have one seed only, where the oracle is picked on what it scores.")
    print("\n| policy | mean regret | 95 % | p90 | 95 % | within 1 point | cost of trying all |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    results = {name: regrets(known, policy) for name, policy in POLICIES.items()}
    for name, (lost, cost) in results.items():
        values = list(lost.values())
        near = float(np.mean([v <= 1 for v in values]))
        print(
            f"| {name} | {np.mean(values):.2f} | {interval(lost, np.mean)} | "
            f"{np.quantile(values, 0.9):.1f} | {interval(lost, lambda v: np.quantile(v, 0.9))} | "
            f"{near:.0%} | {cost:.0%} |"
        )
    own = sum(known.seconds(c, known.best(c)) for c in known.rows)
    share = own / sum(known.everything(c) for c in known.rows)
    print(f"\nThe best strategy alone, known beforehand, costs {share:.0%} of trying all.")
    by_distance(known)
    print()
    for label, wanted in (("similar", "near"), ("different", "far")):
        gains = [
            known.accuracy(c, "stage-probe") - known.accuracy(c, "linear-probe")
            for c in known.rows
            if SETS[c[0]] == label
        ]
        print(f"stage-probe over linear-probe on {wanted} sets: {np.mean(gains):+.2f} points")
    agree = [e.column == SETS[e.data] for e in known.evidence.values()]
    unsure = [e.similarity == "uncertain" for e in known.evidence.values()]
    print(f"the measured column is the expert's in {np.mean(agree):.0%} of cells", end="; ")
    print(f"{np.mean(unsure):.0%} of cells are called uncertain")
    slowest = max(known.evidence.values(), key=lambda e: e.deciding_seconds)
    print(f"probes took at most {slowest.deciding_seconds:.1f} s ({slowest.images} images)")
    if known.others is None:
        all_beliefs(known)
    else:
        transferred(known)
    lost, _ = results["measured (the default)"]
    below = [known.below_probe(c, measured(known, c)[0]) for c in known.rows]
    print(f"more than a point below the probe in {sum(v > 1 for v in below)} cells, ", end="")
    print(f"at worst {max(below):.1f} points")
    print(f"mean regret {np.mean(list(lost.values())):.2f} points")


def all_beliefs(known: Known) -> None:
    """What the prior's constants are to be."""
    print("beliefs fitted on all sets (prior.BELIEFS has the same, rounded):")
    for column, beliefs in fitted(known).items():
        for kind, found in beliefs.items():
            values = ", ".join(f"{round(v, 2):g}" for v in vars(found).values())
            print(f"  {column}, {kind}: Belief({values})")
    print(f"one data set's slope differs from another's by {per_decade(known):.2f} (PER_DECADE)")


def transferred(known: Known) -> None:
    """What another network's beliefs expect of each cell, beside what was measured."""
    print("\n| cell | similarity | probe | of | expected | measured | z | accuracy | default net |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for cell, rows in known.rows.items():
        seen = known.evidence[cell]
        setting = prior.Setting(images=seen.images, classes=seen.classes, probe_error=seen.error)
        beliefs = fitted(known.fitting(cell[0]))[seen.column]  # type: ignore[index]
        for kind in ("deep", "blend"):
            lead = prior.weigh(beliefs[named(kind)], setting, ())
            got = rows[kind].accuracy - rows["stage-probe"].accuracy
            z = (got - lead.prior) / lead.prior_spread
            same = known.others.rows.get(cell) if known.others else None
            default = (
                [f"{100 * same[k].accuracy:.1f}" for k in ("stage-probe", kind)] if same else "–"
            )
            print(
                f"| {'-'.join(map(str, cell))} | {seen.similarity} | "
                f"{known.accuracy(cell, 'stage-probe'):.1f} | {kind} | "
                f"{100 * lead.prior:+.1f} ± {100 * lead.prior_spread:.1f} | {100 * got:+.1f} | "
                f"{z:+.1f} | {known.accuracy(cell, kind):.1f} | {' → '.join(default)} |"
            )


def plot(known: Known, path: Path) -> None:
    """Similarity against size with every set in its place, as SVG."""
    left, top, wide, high = 70, 40, 640, 380
    low, most = np.log10(8), np.log10(2500)

    def place(cell: Cell) -> tuple[float, float]:
        seen = known.evidence[cell]
        x = left + wide * (np.clip(seen.drift or 0.0, -0.05, 0.85) + 0.05) / 0.9
        return float(x), float(top + high * (1 - (np.log10(seen.images) - low) / (most - low)))

    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11" '
        f'viewBox="0 0 {left + wide + 20} {top + high + 90}">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<rect x="{left}" y="{top}" width="{wide}" height="{high}" fill="none" stroke="#999"/>',
    ]
    for value in (0.40, 0.60):
        x = left + wide * (value + 0.05) / 0.9
        lines.append(f'<path d="M{x} {top}V{top + high}" stroke="#bbb" stroke-dasharray="4"/>')
        lines.append(f'<text x="{x}" y="{top - 6}" text-anchor="middle">{value:.2f}</text>')
    for images in (10, 30, 100, 300, 1000, 2000):
        y = top + high * (1 - (np.log10(images) - low) / (most - low))
        lines.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{images}</text>')
        lines.append(f'<path d="M{left - 4} {y}h4" stroke="#999"/>')
    named: dict[str, tuple[float, float]] = {}
    for cell in sorted(known.rows, key=lambda c: (c[0], -c[1], c[2])):
        x, y = place(cell)
        gain = known.accuracy(cell, "deep") - known.accuracy(cell, "stage-probe")
        colour = "#1a7f37" if gain > 1 else "#b35900" if gain < -1 else "#777"
        shape = f'<circle cx="{x:.0f}" cy="{y:.0f}" r="5"'
        if known.evidence[cell].column == "different":
            shape = f'<rect x="{x - 4.5:.0f}" y="{y - 4.5:.0f}" width="9" height="9"'
        lines.append(f'{shape} fill="{colour}" fill-opacity="0.75"/>')
        if cell[0] not in named:
            below = [y + 4 + 14 * i for i in (0, -1, 1, -2, 2)]
            free = [
                b
                for b in below
                if all(abs(b - q) > 12 or abs(x - p) > 130 for p, q in named.values())
            ]
            named[cell[0]] = (x, free[0])
            lines.append(f'<text x="{x + 8:.0f}" y="{free[0]:.0f}">{cell[0]}</text>')
    middle, foot = left + wide / 2, top + high
    lines += [
        f'<text x="{middle}" y="{foot + 22}" text-anchor="middle">different ← BatchNorm drift '
        "(1 - drift / drift of noise) → similar</text>",
        f'<text x="16" y="{top + high / 2}" transform="rotate(-90 16 {top + high / 2})" '
        'text-anchor="middle">training images</text>',
        f'<text x="{left}" y="{foot + 46}">○ placed in the column similar, □ in different.</text>',
        f'<text x="{left}" y="{foot + 64}"><tspan fill="#1a7f37">Green</tspan>: deep tuning beat '
        'the best probe by more than a point; <tspan fill="#b35900">orange</tspan>: lost by more; '
        "grey: neither.</text>",
        "</svg>",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Measure what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--device", default="cpu", help="where to compute: cpu, cuda")
    parser.add_argument("--backbone", default=registry.DEFAULT)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--evidence", type=Path)
    parser.add_argument("--scores", type=Path, help="a folder for the logits of every cell")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    rows, evidence = truth.of_backbone(options.backbone)
    rows, evidence = options.rows or rows, options.evidence or evidence
    others = None if options.backbone == registry.DEFAULT else load()
    if options.plot:
        plot(load(rows, evidence, others), options.plot)
    if options.report:
        report(load(rows, evidence, others))
    if options.plot or options.report:
        return
    place = truth.Place(
        root=options.data,
        device=options.device,
        backbone=options.backbone,
        rows=rows,
        evidence=evidence,
        scores=options.scores,
    )
    part, parts = (int(v) for v in options.part.split("/"))
    asked = [
        cell
        for cell in truth.cells(options.seeds)
        if cell[1] in options.sizes and cell[0] in options.sets
    ]
    for cell in truth.dealt(asked, parts)[part]:
        for row in truth.fill(place, cell):
            print(row, flush=True)


if __name__ == "__main__":
    main()
