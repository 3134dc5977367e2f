"""What the contenders of `speed.py` share: their arguments, a clock over epochs, the answer."""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

# Epochs after which it is known how long the others will take. The first is not counted where
# there are more: it also starts the workers and warms up memory.
FIRST = 3


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that every contender understands."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path, help="Holds train/ and test/, one folder per class.")
    parser.add_argument("--weights", type=Path, help="The backbone's tensors, as weights.py wrote.")
    parser.add_argument("--minutes", type=float, default=math.inf, help="See speed.py.")
    parser.add_argument("--device", default="cpu", help="Where to compute: cpu, cuda.")
    return parser


@dataclass
class Clock:
    """Times the epochs of one phase of training, and says when enough of them were run."""

    of: int
    minutes: float
    seconds: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def lap(self) -> bool:
        """Mark the end of an epoch; returns whether there is to be another."""
        now = time.perf_counter()
        self.seconds.append(now - self.began)
        self.began = now
        fits = sum(self.seconds) + self.remaining <= 60 * self.minutes
        return len(self.seconds) < self.of and (fits or len(self.seconds) < FIRST)

    @property
    def each(self) -> float:
        """Mean seconds of an epoch."""
        counted = self.seconds[1:] or self.seconds
        return sum(counted) / len(counted)

    @property
    def remaining(self) -> float:
        """Seconds that the epochs not run would have taken, in proportion."""
        return self.each * (self.of - len(self.seconds))


def answer(clocks: list[Clock], best: float | None, last: float | None, **facts: object) -> None:
    """Print the result as one line of JSON, the last one on stdout.

    Args:
        clocks: One for each phase; the last phase's epochs are the ones reported.
        best: Test accuracy of the model that the recipe returns.
        last: That of the last epoch, where the recipe picks the best epoch on the test images.
        facts: What else belongs in the row.
    """
    found = {
        "accuracy": best,
        "last_accuracy": last,
        "epochs_run": sum(len(c.seconds) for c in clocks),
        "epochs_of": sum(c.of for c in clocks),
        "epoch_s": clocks[-1].each,
        "remaining_s": sum(c.remaining for c in clocks),
    }
    print(json.dumps(found | facts), flush=True)
