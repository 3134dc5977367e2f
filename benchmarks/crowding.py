"""What many classes with few images each do to tuning: behind `prior.CROWDING` (docs/log.md).

    python benchmarks/joined.py --data FOLDER_OF_DATA_SETS --out FOLDER
    python benchmarks/crowding.py --data FOLDER
    python benchmarks/crowding.py --report

Probes and deep tuning on the classes of several data sets side by side, as `regret.py` measures
them on each, but by the similarity that the program measures: no person has labelled these.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import row_file
import truth
from truth import Cell, Evidence, Row

from finetune.decision import prior

ROWS = Path(__file__).with_name("crowding.csv")
EVIDENCE = Path(__file__).with_name("crowding_evidence.csv")
KINDS = ("linear-probe", "stage-probe", "deep")
CELLS: tuple[Cell, ...] = (
    *(("joined54", 5, 0), ("joined50", 5, 0), ("joined54", 10, 0), ("joined50", 10, 0)),
    *(("joined54", 20, 0), ("joined50", 20, 0)),
)


def load() -> dict[Cell, tuple[Evidence, dict[str, Row]]]:
    """Complete cells with their rows by kind."""
    rows: dict[Cell, dict[str, Row]] = {}
    for row in truth.read(Row, ROWS):
        rows.setdefault(row.key[:3], {})[row.kind] = row
    found = {e.key: e for e in truth.read(Evidence, EVIDENCE)}
    return {c: (found[c], r) for c, r in sorted(rows.items()) if c in found and {*KINDS} <= {*r}}


def missing(seen: Evidence, rows: dict[str, Row]) -> tuple[float, float]:
    """Decades of classes beyond the measured ones, and the share of the headroom that is missing.

    It is what the belief's line says for so many images less what deep tuning gained.
    """
    belief = prior.BELIEFS[seen.column]["deep"]  # type: ignore[index]
    line = belief.lead + belief.slope * math.log10(seen.images / 100)
    gained = rows["deep"].accuracy - rows["stage-probe"].accuracy
    share = gained / prior.headroom(seen.error)
    return math.log10(seen.classes / belief.most_classes), line - share


def crowding() -> float:
    """What `prior.CROWDING` should be: by least squares through zero at the measured classes."""
    pairs = [missing(*cell) for cell in load().values()]
    return sum(d * m for d, m in pairs) / sum(d * d for d, _ in pairs)


def report() -> None:
    """Every cell, and the estimate."""
    print("| set | classes | images | column | stage-probe | deep | missing, share | a decade |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for cell, (seen, rows) in load().items():
        decades, less = missing(seen, rows)
        accuracies = " | ".join(f"{100 * rows[k].accuracy:.1f}" for k in KINDS[1:])
        print(
            f"| {cell[0]}, {cell[1]} a class | {seen.classes} | {seen.images} | {seen.column} | "
            f"{accuracies} | {less:+.2f} | {less / decades:+.2f} |"
        )
    print(f"a tenfold number of classes costs {crowding():.2f} of the headroom (CROWDING)")


def main() -> None:
    """Measure what is missing, or report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        report()
        return
    for cell in CELLS:
        kinds = {*KINDS} - {r.kind for r in truth.read(Row, ROWS) if r.key[:3] == cell}
        if kinds:
            part = truth.Bench.of(truth.Place(options.data), cell)
            row_file.append(part.evidence(), EVIDENCE)
            for row in part.rows(kinds):
                row_file.append(row, ROWS)
                print(row, flush=True)


if __name__ == "__main__":
    main()
