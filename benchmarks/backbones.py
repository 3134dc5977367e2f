"""`--backbone auto` against always the same network: accuracy and seconds.

    python benchmarks/backbones.py --data FOLDER_OF_DATA_SETS [--seeds 2]
    python benchmarks/backbones.py

Each row is one `train --strategy stage-probe` on 20 images a class; rows that are there are not
made again, without --data they are only shown. The networks are converted before the clock starts,
the features of no image are known, so that `auto` pays for those of every network it measures.
Seconds of the CPU are of all threads.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import row_file

from finetune.backbones import registry
from finetune.records.backbone_choice import AUTO
from finetune.records.events import Silent
from finetune.records.options import (
    BackboneOptions,
    DataOptions,
    DecisionOptions,
    Options,
    OutputOptions,
    TrainingOptions,
)
from finetune.records.run import RunResult
from finetune.storage.cache_place import FEATURES
from finetune.workflows.train import run_training

ROWS = Path(__file__).with_name("backbones.csv")
SETS = ("flowers5", "clothing10", "clipart8", "sign_digits10", "wbc4", "spoken_digit_spec10")
PER_CLASS = 20
POLICIES = ("tf_efficientnet_lite0", "tf_efficientnet_lite2", AUTO)


@dataclass(frozen=True)
class Row:
    """One training; `wall_s` is longer than `cpu_s` where others use the machine, too."""

    data: str
    seed: int
    policy: str
    backbone: str
    train_n: int
    test_n: int
    accuracy: float
    log_loss: float
    cpu_s: float
    wall_s: float
    choice_s: float
    load: float


def train(root: Path, seed: int, policy: str, per_class: int = PER_CLASS) -> RunResult:
    """The training of one row, its run thrown away."""
    with tempfile.TemporaryDirectory() as home:
        return run_training(
            Options(
                data=DataOptions(root=str(root), max_per_class=per_class),
                backbone=BackboneOptions(name=policy, device="cpu"),
                decision=DecisionOptions(strategy="stage-probe"),
                training=TrainingOptions(seed=seed),
                output=OutputOptions(out=f"{home}/run"),
            ),
            Silent(),
        )


def measure(root: Path, seed: int, policy: str, cache: Path) -> Row:
    """One row, with no feature known."""
    for file in cache.glob(f"{FEATURES}*"):
        file.unlink()
    load, cpu, wall = os.getloadavg()[0], time.process_time(), time.perf_counter()
    result = train(root, seed, policy)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert result.test is not None
    return Row(
        data=root.name,
        seed=seed,
        policy=policy,
        backbone=result.backbone,
        train_n=result.counts["train"] + result.counts["val"],
        test_n=result.test.n,
        accuracy=round(result.test.accuracy, 4),
        log_loss=round(result.test.log_loss, 4),
        cpu_s=round(cpu, 1),
        wall_s=round(wall, 1),
        choice_s=round(result.seconds.get("choice", 0.0), 1),
        load=round(load, 1),
    )


def fill(data: Path, seeds: Sequence[int]) -> None:
    """Make the rows that are not there yet, seed by seed."""
    done = {(r.data, r.seed, r.policy) for r in row_file.read(Row, ROWS)}
    cells = [(name, seed, policy) for seed in seeds for name in SETS for policy in POLICIES]
    missing = [cell for cell in cells if cell not in done]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as cache:
        os.environ["FINETUNE_CACHE"] = cache
        for name in registry.ready():
            train(data / missing[0][0], 0, name, 2)
        for name, seed, policy in missing:
            row = measure(data / name, seed, policy, Path(cache))
            row_file.append(row, ROWS)
            print(row, flush=True)


def report(rows: Sequence[Row]) -> None:
    """A line for each set, then the means over sets."""
    print("| set | lite0 | lite2 | auto | chosen | CPU s: lite0 | lite2 | auto |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    table = []
    for name in dict.fromkeys(r.data for r in rows):
        mine = {p: [r for r in rows if (r.data, r.policy) == (name, p)] for p in POLICIES}
        accuracy = [100 * np.mean([r.accuracy for r in mine[p]]) for p in POLICIES]
        seconds = [np.mean([r.cpu_s for r in mine[p]]) for p in POLICIES]
        table.append([*accuracy, *seconds])
        chosen = ", ".join(r.backbone.removeprefix("tf_efficientnet_") for r in mine[AUTO])
        shown = " | ".join(f"{a:.1f}" for a in accuracy)
        print(f"| {name} | {shown} | {chosen} | {' | '.join(f'{s:.0f}' for s in seconds)} |")
    mean = np.mean(table, axis=0)
    shown = " | ".join(f"{a:.1f}" for a in mean[:3])
    print(f"| mean | {shown} |  | {' | '.join(f'{s:.0f}' for s in mean[3:])} |")


def main() -> None:
    """Fill the table, or print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    if asked.data is not None:
        fill(asked.data, range(asked.seeds))
    report(row_file.read(Row, ROWS))


if __name__ == "__main__":
    main()
