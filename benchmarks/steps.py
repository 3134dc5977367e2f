"""What a training step costs, and how much of it is fetching memory (docs/log.md, 2026-11-25).

    python benchmarks/steps.py [--sides 128 160 224] [--steps 8]
    python benchmarks/steps.py --precisions [--backbones NAME …] [--sides 128] [--steps 4]

Each row is a process of its own: steps of `deep` on noise, as the forecast times them, with memory
kept as the program does and given back to the system as without it. Printed are the least seconds
of a step, CPU seconds of the system in all steps, page faults a step, and the peak of memory.
The second form holds fp32 against bf16, random weights: CPU seconds of a step, the least of all,
which on a busy machine say more than those of the clock.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from dataclasses import replace

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
    parser.add_argument("--precisions", action="store_true", help="fp32 against bf16")
    parser.add_argument("--backbones", nargs="+", default=[registry.DEFAULT, "resnet18"])
    asked = parser.parse_args()
    if asked.precisions:
        print("| backbone | px | fp32, ms a step | bf16, ms a step |")
        print("| --- | --- | --- | --- |", flush=True)
        for name in asked.backbones:
            for side in asked.sides:
                print(precisions(name, side, asked.steps), flush=True)
        return
    if asked.here:
        print(row(asked.sides[0], asked.steps, asked.here))
        return
    print("| px | memory | ms a step | system ms a step | page faults a step | peak MB |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for side in asked.sides:
        for how in ("given back", "kept"):
            options = ["--sides", str(side), "--steps", str(asked.steps), "--here", how]
            subprocess.run([sys.executable, __file__, *options], check=True)


def precisions(name: str, side: int, steps: int) -> str:
    """CPU time of a step in both precisions, in turn."""
    process.keep_memory()
    backbone, about = load.build(name, registry.RANDOM)
    facts = recipe.Facts(images=200, similarity="different", stages=about.stages, side_px=224)
    plan = recipe.resolve("deep", facts, {"side_px": side, "batch_size": 16})
    clock = time.perf_counter
    time.perf_counter = time.process_time  # what `seconds_per_step` reads
    try:
        ms = [
            1000 * setup.seconds_per_step(p, backbone, 10, torch.device("cpu"), steps)
            for p in (replace(plan, precision=kind) for kind in ("fp32", "bf16"))
        ]
    finally:
        time.perf_counter = clock
    return f"| {name} | {side} | {ms[0]:.0f} | {ms[1]:.0f} |"


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
