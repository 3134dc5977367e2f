"""End a rank of a training of two at moments chosen by chance; see that it is whole, and goes on.

    python benchmarks/rank_kills.py [--points 20] [--seed 0]

Each point is `torchrun` with two ranks, of which one, chosen by chance, gets SIGKILL or SIGTERM
after a delay drawn with a fixed seed, counted from when both are there. Then all must
end, the run folder must be absent or whole, and `--resume`, with one or two ranks, must end with a
finished run. One line per point.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from crashes import LEAVES, SMALL, state

OPTIONS = ("--strategy", "deep", "--epochs", "12", "--image-size", "64", "--max-per-class", "8")
PATIENCE_S = 300
MOST_TEXT = 8000  # characters of what a training said that are shown where it failed


@dataclass(frozen=True)
class Ended:
    """How all processes ended, and after how many seconds."""

    code: int | None
    text: str
    seconds: float


def start(place: Path, ranks: int, *more: str) -> subprocess.Popen[str]:
    """Train with so many ranks into `place/out/run`.

    Standalone: with `--rdzv-backend c10d` alone all of a machine meet at port 29400, and two
    trainings at once became one.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(ranks), "-m", "finetune", "train"]
    command += [str(LEAVES), *OPTIONS, *SMALL, "--out", str(place / "out" / "run"), *more]
    env = os.environ | {"FINETUNE_CACHE": str(place.parent / "cache"), "OMP_NUM_THREADS": "1"}
    (place / "out").mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [*command, "--device", "cpu"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


def rank_process(agent: int, rank: int) -> int | None:
    """The process of one rank below an agent; None where it is not there."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == agent and f"RANK={rank}".encode() in (
                (folder / "environ").read_bytes().split(b"\0")
            ):
                return int(folder.name)
    return None


def both_there(agent: subprocess.Popen[str]) -> float:
    """Wait until both ranks have been started, or the agent has ended; the seconds waited."""
    began = time.monotonic()
    while agent.poll() is None and None in (rank_process(agent.pid, 0), rank_process(agent.pid, 1)):
        time.sleep(0.1)
    return time.monotonic() - began


def ended(process: subprocess.Popen[str], began: float) -> Ended:
    """Wait for all; None as the code where they do not end."""
    try:
        _, text = process.communicate(timeout=PATIENCE_S)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        _, text = process.communicate()
        code = None
    return Ended(code, text, time.monotonic() - began)


def point(place: Path, rng: random.Random, whole_s: float) -> tuple[str, bool]:
    """End one rank and go on; a line of the table, and whether all was well."""
    rank, how = rng.randrange(2), rng.choice((signal.SIGKILL, signal.SIGTERM))
    delay, again = rng.uniform(0.2, 1.0) * whole_s, rng.choice((1, 2))
    process = start(place, 2)
    both_there(process)
    began = time.monotonic()
    time.sleep(delay)
    found = rank_process(process.pid, rank)
    line = "none was there " if found is None else ""
    if found is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(found, how)
    first = ended(process, began)
    left = state(place)
    line += f"rank {rank} {how.name:7} after {delay:5.1f} s, all ended after {first.seconds:5.1f} s"
    line += f" (exit {first.code})  {left:8}"
    fine = first.code is not None and left in ("absent", "whole", "STOPPED")
    if left != "whole":
        began = time.monotonic()
        second = ended(start(place, again, "--resume"), began)
        fine &= second.code == 0 and state(place) == "whole"
        line += f"  resumed by {again} in {second.seconds:5.1f} s"
        if not fine:  # the last 2,000 characters are torchrun's own summary
            line += f": exit {second.code}, {state(place)}\n{second.text.strip()[-MOST_TEXT:]}\n"
            line += f"    before it, the first had said:\n{first.text.strip()[-MOST_TEXT:]}\n"
    return line, fine


def main() -> None:
    """End, look, go on; exit code 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng, wrong = random.Random(asked.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        process = start(home / "whole", 2)
        both_there(process)
        whole = ended(process, time.monotonic())
        print(f"undisturbed: {whole.seconds:.1f} s, exit {whole.code}, {state(home / 'whole')}")
        for number in range(asked.points):
            line, fine = point(home / f"point{number}", rng, whole.seconds)
            wrong += not fine
            print(f"{number + 1:3}  {line}{'' if fine else '  WRONG'}", flush=True)
    print(f"{asked.points} ranks ended, {wrong} times wrong")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
