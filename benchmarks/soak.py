"""Mixed commands in random order, some of them killed, for as long as asked: what is left behind?

    python benchmarks/soak.py [--minutes 30] [--seed 0]

Watched: exit codes and tracebacks, the peak memory of each command early and late, processes that
outlive theirs, temporary files, runs that cannot be read, and trainings that cannot be resumed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from finetune.runs import listing, places, run_folder

LEAVES = Path(__file__).parents[1] / "sample_data" / "leaves"
KILLS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
KILLED = 0.3  # share of the commands that are killed
LIMIT_S = 300.0  # a command that takes longer hangs


@dataclass
class Soak:
    """A home for runs, cache and temporary files, and what was seen in it."""

    home: Path
    rng: random.Random
    faults: list[str] = field(default_factory=list)
    peaks: dict[str, list[int]] = field(default_factory=dict)
    pending: list[list[str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    commands: int = 0
    kills: int = 0

    def one(self) -> None:
        """Run a command drawn by chance, and perhaps kill it."""
        arguments = self.drawn()
        kill = self.rng.choice(KILLS) if self.rng.random() < KILLED else None
        delay = self.rng.uniform(0.3, self.seconds.get(kind(arguments), 10.0))
        code, err = self.run(arguments, kill, delay)
        if arguments[0] == "train" and code != 0:
            self.pending.append([a for a in arguments if a != "--resume"])
        allowed = {0} if kill is None else {0, 130, -kill}
        if code not in allowed or "Traceback" in err:
            self.faults.append(f"exit {code} of {' '.join(arguments)}: {err.strip()[-500:]}")

    def drawn(self) -> list[str]:
        """A command; what was killed before is resumed now and then."""
        name = self.rng.choice(
            ("train", "train", "predict", "evaluate", "runs", "recommend", "cache")
        )
        done = [r.run for r in listing.rows(self.home / "runs") if r.error is None]
        if name == "train" and self.pending and self.rng.random() < 0.5:
            place = self.rng.randrange(len(self.pending))
            return [*self.pending.pop(place), "--resume"]
        if name in ("predict", "evaluate") and done:
            data = LEAVES if name == "evaluate" else self.rng.choice(sorted(LEAVES.glob("*/*.jpg")))
            return [name, str(data), "--run", self.rng.choice(done), "--json"]
        if name == "recommend":
            return [name, str(LEAVES), "--max-per-class", "8"]
        if name in ("runs", "cache"):
            return [name]
        return ["train", str(LEAVES), *self.options(), "--out", f"runs/{self.commands}"]

    def options(self) -> list[str]:
        """Of a training of some seconds."""
        strategy = self.rng.choice(("linear-probe", "stage-probe", "scratch", "deep"))
        found = ["--strategy", strategy, "--seed", str(self.rng.randrange(5))]
        found += ["--max-per-class", str(self.rng.choice((6, 8, 10)))]
        if self.rng.random() < 0.7:
            found += ["--backbone", "test_resnet", "--weights", "random"]
        if strategy in ("scratch", "deep"):
            found += ["--epochs", str(self.rng.choice((2, 6))), "--image-size", "64"]
        return found

    def run(self, arguments: list[str], kill: int | None, delay: float) -> tuple[int, str]:
        """One process in a session of its own; its exit code and what it said on stderr."""
        env = os.environ | {
            "FINETUNE_CACHE": str(self.home / "cache"),
            "TMPDIR": str(self.home / "tmp"),
        }
        self.commands += 1
        began = time.monotonic()
        with (self.home / "err").open("w+") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "finetune", *arguments],
                stdout=subprocess.DEVNULL,
                stderr=err,
                env=env,
                cwd=self.home,
                start_new_session=True,
            )
            after, what = (LIMIT_S, signal.SIGKILL) if kill is None else (delay, kill)
            # not by Popen, which would wait for a process that has just ended
            end = threading.Timer(after, sent, (process.pid, what))
            end.start()
            _, status, used = os.wait4(process.pid, 0)
            end.cancel()
            process.returncode = code = os.waitstatus_to_exitcode(status)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 0)
                self.faults.append(f"a process outlived {' '.join(arguments)}")
            err.seek(0)
            text = err.read()
        self.kills += code != 0
        if code == 0:
            self.seconds[kind(arguments)] = time.monotonic() - began
            self.peaks.setdefault(kind(arguments), []).append(used.ru_maxrss // 1024)
        return code, text

    def finish(self) -> None:
        """Resume what is pending, then look at what is left."""
        for arguments in self.pending:
            code, err = self.run([*arguments, "--resume"], None, 0.0)
            place = self.home / arguments[arguments.index("--out") + 1]
            if code != 0 and "exists already" not in err:
                self.faults.append(f"exit {code} of {' '.join(arguments)} --resume: {err[-500:]}")
            elif not (place / run_folder.MODEL).exists():
                self.faults.append(f"no run at {place}")
        for row in listing.rows(self.home / "runs"):
            if row.error is not None:
                self.faults.append(f"{row.run}: {row.error}")
            else:
                run_folder.load(Path(row.run))
        odd = [
            p for p in (self.home / "runs").iterdir() if p.name[0] == "." or places.SUFFIX in p.name
        ]
        odd += [p for p in (self.home / "tmp").iterdir() if "torchinductor" not in p.name]
        self.faults += [f"left behind: {p}" for p in odd]

    def report(self) -> None:
        """What was seen."""
        for name, values in sorted(self.peaks.items()):
            third = max(1, len(values) // 3)
            early, late = (statistics.median(v) for v in (values[:third], values[-third:]))
            print(f"{name:24} {len(values):4} done, peak MB early {early:5.0f}, late {late:5.0f}")
        print("\n".join(self.faults))
        print(
            f"{self.commands} commands, {self.kills} ended by a signal, {len(self.faults)} faults"
        )


def sent(pid: int, what: int) -> None:
    """Send a signal, if the process is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)


def kind(arguments: list[str]) -> str:
    """What a command is compared with: the like of it, and of the same network."""
    if arguments[0] != "train":
        return arguments[0]
    return f"train {arguments[3]}" + (" small" if "test_resnet" in arguments else "")


def main() -> None:
    """Run commands until the time is up; exit code 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), random.Random(options.seed))
        for name in ("tmp", "runs"):
            (soak.home / name).mkdir()
        end = time.monotonic() + 60 * options.minutes
        while time.monotonic() < end:
            soak.one()
            print(f"\r{soak.commands} commands, {len(soak.faults)} faults", end="", flush=True)
        print()
        soak.finish()
        soak.report()
    raise SystemExit(bool(soak.faults))


if __name__ == "__main__":
    main()
