"""The main job on real image folders: accuracy and seconds of whole processes.

How the strategies compare on many sets and sizes is in regret.py; this is what a user waits for.

    python benchmarks/main_job.py --data FOLDER_OF_DATA_SETS [--out rows.csv] [--only flowers5]

FOLDER_OF_DATA_SETS holds the sets named in SETS, one folder per class in each. Rows already in the
CSV are not run again.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

STRATEGIES = ("linear-probe", "stage-probe", "auto")


@dataclass(frozen=True)
class Set:
    """A data set, images a class that are not test, and the share that is."""

    name: str
    per_class: int
    test_fraction: float


# At least 100 test images a class where there are as many.
SETS = (
    Set("flowers5", 40, 0.3),
    Set("sign_digits10", 20, 0.5),
    Set("mathsym18", 20, 0.5),
    Set("wbc4", 20, 0.4),
)


@dataclass(frozen=True)
class Row:
    """One run; accuracies are fractions of 1, seconds those of the whole process."""

    data: str
    per_class: int
    asked: str
    returned: str
    test_n: int
    test_accuracy: float
    low: float
    high: float
    seconds: float


def run(data: Path, chosen: Set, asked: str) -> Row:
    """Train in a process of its own and read its JSON."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "finetune", "train", str(data / chosen.name), "--json"]
        command += ["--strategy", asked, "--max-per-class", str(chosen.per_class), "--seed", "0"]
        command += ["--test-fraction", str(chosen.test_fraction), "--out", f"{scratch}/run"]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    answer = json.loads(done.stdout)
    test = answer["test"]
    return Row(
        data=chosen.name,
        per_class=chosen.per_class,
        asked=asked,
        returned=answer["strategy"],
        test_n=test["n"],
        test_accuracy=round(test["accuracy"], 4),
        low=round(test["interval"][0], 4),
        high=round(test["interval"][1], 4),
        seconds=round(seconds, 1),
    )


def main() -> None:
    """Run what is missing, keep each row as it comes, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--only")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    if options.out.exists():
        with options.out.open(newline="") as file:
            rows = list(csv.DictReader(file))
    done = {(r["data"], r["asked"]) for r in rows}
    for chosen in SETS:
        for asked in STRATEGIES:
            if (chosen.name, asked) in done or options.only not in (None, chosen.name):
                continue
            rows.append(asdict(run(options.data, chosen, asked)))
            with options.out.open("w", newline="") as file:
                writer = csv.DictWriter(file, [f.name for f in fields(Row)])
                writer.writeheader()
                writer.writerows(rows)
            print(rows[-1], file=sys.stderr, flush=True)
    print("| data | a class | asked | returned | test n | accuracy | 95 % interval | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for r in rows:
        print(
            f"| {r['data']} | {r['per_class']} | {r['asked']} | {r['returned']} | {r['test_n']} | "
            f"{float(str(r['test_accuracy'])):.1%} | {float(str(r['low'])):.1%} to "
            f"{float(str(r['high'])):.1%} | {float(str(r['seconds'])):.0f} |"
        )


if __name__ == "__main__":
    main()
