"""Kill trainings at moments chosen by chance; see that runs are whole or absent, and go on.

    python benchmarks/crashes.py [--points 36] [--seed 0] [--only scratch]

Each point is a process of its own that is killed (SIGKILL) after a delay drawn with a fixed seed.
Then its run folder must be absent or whole, `--resume` must end at the bytes of the model that an
unbroken training makes, and nothing may be left beside the run. One line per point, with the step
it was killed in.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from finetune.records.errors import RunError
from finetune.runs import places, run_folder

LEAVES = Path(__file__).parents[1] / "sample_data" / "leaves"
SMALL = ("--backbone", "test_resnet", "--weights", "random")


@dataclass(frozen=True)
class Kind:
    """A training; `cold` ones start with an empty cache, so that filling it may be hit as well."""

    name: str
    options: tuple[str, ...]
    cold: bool


# One fit with validation whose best epoch is the run; two fits under the floor; and real weights,
# whose features and converted network are cached.
KINDS = (
    Kind("scratch", ("--strategy", "scratch", "--epochs", "14", "--patience", "14", *SMALL), False),
    Kind("deep", ("--strategy", "deep", "--epochs", "40", "--image-size", "64", *SMALL), False),
    Kind("cold", ("--strategy", "deep", "--epochs", "4", "--image-size", "64"), True),
)


@dataclass(frozen=True)
class Ended:
    """How a process ended: None where it was killed; what it said last; and how long it took."""

    code: int | None
    text: str
    seconds: float


def train(kind: Kind, place: Path, *more: str, kill_after: float | None = None) -> Ended:
    """Train into `place/out/run`, with a cache and temporary files of its own."""
    command = [sys.executable, "-m", "finetune", "train", str(LEAVES), "--max-per-class", "8"]
    command += [*kind.options, "--out", str(place / "out" / "run"), *more]
    env = os.environ | {"FINETUNE_CACHE": str(place / "cache"), "TMPDIR": str(place / "tmp")}
    for name in ("out", "tmp", "cache"):
        (place / name).mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with (place / "err").open("w+") as err:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err, env=env)
        try:
            code: int | None = process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
        seconds = time.monotonic() - began
        err.seek(0)
        return Ended(code, err.read(), seconds)


def state(place: Path) -> str:
    """`absent`, `whole` or what is wrong with the run folder."""
    run = place / "out" / "run"
    if not run.exists():
        return "absent"
    try:
        run_folder.load_network(run, run_folder.load(run).facts)
        run_folder.load_splits(run)
        return "whole" if run_folder.load_result(run).stopped is None else "STOPPED"
    except RunError as error:
        return f"CORRUPTED: {error.message}"


def left(place: Path) -> list[str]:
    """What lies beside the run, and where temporary files go, but for torch's own cache."""
    beside = [p.name for p in (place / "out").iterdir() if p.name != "run"]
    names = [p.name for p in (place / "tmp").iterdir()]
    return beside + [f"tmp/{n}" for n in names if not n.startswith("torchinductor_")]


def kept(place: Path) -> int:
    """How many fits have been kept."""
    return len(list((place / "out" / f"run{places.SUFFIX}").glob(f"[!.]*{places.FIT}")))


def point(kind: Kind, place: Path, delay: float, model: bytes) -> tuple[str, bool]:
    """Kill one training and resume it; a line of the table, and whether all was well."""
    first = train(kind, place, kill_after=delay)
    found, fits = state(place), kept(place)
    told = [line for line in first.text.splitlines() if line.strip()]
    step = told[-1].strip()[:44] if told else "importing"
    line = f"{kind.name:8} {delay:5.1f} s  {step:44}  {found:7} {fits} kept"
    fine = found in ("absent", "whole")
    if found == "absent" or left(place):  # a finished run may have its progress beside it still
        second = train(kind, place, "--resume")
        fine &= second.code == 0 and state(place) == "whole"
        line += f"  resumed in {second.seconds:4.1f} s"
        if second.code:
            line += f" exit {second.code}: {second.text.strip()[-300:]}"
    same = (place / "out" / "run" / run_folder.MODEL).exists() and (
        (place / "out" / "run" / run_folder.MODEL).read_bytes() == model
    )
    beside = left(place)
    line += "  same bytes" if same else "  OTHER BYTES"
    line += f"  LEFT {' '.join(beside)}" if beside else ""
    return line, fine and same and not beside


def main() -> None:
    """Kill, look, resume, compare; exit code 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=36)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[k.name for k in KINDS])
    options = parser.parse_args()
    kinds = [k for k in KINDS if options.only in (None, k.name)]
    rng, corrupted = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        whole = {k.name: train(k, home / k.name) for k in kinds}
        for number in range(options.points):
            kind = kinds[number % len(kinds)]
            base, place = home / kind.name, home / f"point{number}"
            if not kind.cold:
                shutil.copytree(base / "cache", place / "cache")
            delay = rng.uniform(0.1, 1.0) * whole[kind.name].seconds
            model = (base / "out" / "run" / run_folder.MODEL).read_bytes()
            line, fine = point(kind, place, delay, model)
            corrupted += not fine
            print(f"{number + 1:3}  {line}", flush=True)
            shutil.rmtree(place)
    print(f"{options.points} kill points, {corrupted} corrupted")
    raise SystemExit(corrupted > 0)


if __name__ == "__main__":
    main()
