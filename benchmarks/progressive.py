"""What `--progressive` costs and saves (docs/log.md, 2026-11-25).

    python benchmarks/progressive.py --data FOLDER_OF_DATA_SETS [--sets NAME …] [--seeds 0]

`deep` on 20 images a class (fewer where a set has fewer), on all of them for all epochs, with no
step at three quarters of the side and with some share of them. A row is one set and seed: accuracy
on test images for each share, in percent, and CPU seconds of the training.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from truth import MOST, SETS, Bench, Row

PER_CLASS = 20


def main() -> None:
    """Print the table, row after row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.3, 0.6])
    asked = parser.parse_args()
    names = [f"{share:g}" for share in asked.shares]
    print("| set | seed | px | test | " + " | ".join([*names, *(f"{n}, s" for n in names)]) + " |")
    print("| --- " * (4 + 2 * len(names)) + "|", flush=True)
    for seed in asked.seeds:
        for name in asked.sets:
            bench = Bench.of(asked.data, (name, min(PER_CLASS, MOST.get(name, PER_CLASS)), seed))
            rows = [tuned(bench, share) for share in asked.shares]
            cells = [name, str(seed), str(rows[0].side_px), str(rows[0].judged_on)]
            cells += [f"{100 * row.accuracy:.1f}" for row in rows]
            cells += [f"{row.seconds:.0f}" for row in rows]
            print("| " + " | ".join(cells) + " |", flush=True)


def tuned(bench: Bench, share: float) -> Row:
    """Deep tuning with so large a share of its steps on smaller pictures."""
    request = bench.seen.request
    options = {**request.options, "progressive": share}
    seen = replace(bench.seen, request=replace(request, options=options))
    return replace(bench, seen=seen).tuned("deep")


if __name__ == "__main__":
    main()
