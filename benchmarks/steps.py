"""What a training step costs, and how much of it is fetching memory (docs/log.md, 2026-11-25).

    python benchmarks/steps.py [--sides 128 160 224] [--steps 8]

Each row is a process of its own: steps of `deep` on noise, as the forecast times them, with memory
kept as the program does and given back to the system as without it. Printed are the least seconds
of a step, CPU seconds of the system in all steps, page faults a step, and the peak of memory.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import torch

from finetune.backbones import load, registry
from finetune.cli import process
from finetune.training import recipe, setup


def main() -> None:
    """Measure in this process, or print a row for each of several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 160, 224])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--here", choices=["kept", "given back"], help="in this process")
    asked = parser.parse_args()
    if asked.here:
        print(row(asked.sides[0], asked.steps, asked.here))
        return
    print("| px | memory | ms a step | system ms a step | page faults a step | peak MB |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for side in asked.sides:
        for how in ("given back", "kept"):
            options = ["--sides", str(side), "--steps", str(asked.steps), "--here", how]
            subprocess.run([sys.executable, __file__, *options], check=True)


def row(side: int, steps: int, how: str) -> str:
    """Time steps with memory kept or not."""
    if how == "kept":
        process.keep_memory()
    backbone, about = load.build(registry.DEFAULT)
    facts = recipe.Facts(images=200, similarity="different", stages=about.stages, side_px=224)
    plan = recipe.resolve("deep", facts, {"side_px": side, "batch_size": 16})
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds = setup.seconds_per_step(plan, backbone, 10, torch.device("cpu"), steps)
    after = resource.getrusage(resource.RUSAGE_SELF)
    system = 1000 * (after.ru_stime - before.ru_stime) / (steps + 1)
    faults = (after.ru_minflt - before.ru_minflt) / (steps + 1)
    peak = after.ru_maxrss / 1024
    return f"| {side} | {how} | {1000 * seconds:.0f} | {system:.0f} | {faults:.0f} | {peak:.0f} |"


if __name__ == "__main__":
    main()
