"""One share of the work of `finetune features`, and what it has made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from finetune.records.errors import UsageError

AUTO = "auto"
MOST = 100_000
# Slurm says how many tasks an array has, Kubernetes only which one this is: the job's manifest puts
# `completions` beside it.
SLURM = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN")
KUBERNETES = ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Number `index` of `count` shares, counted from 1."""

    index: int = 1
    count: int = 1

    def share(self, images: int) -> slice:
        """Which of so many images in a row are its own, as even as can be; all are somebody's."""
        return slice(*(images * n // self.count for n in (self.index - 1, self.index)))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True, kw_only=True)
class ShardImages:
    """Images of a shard: its `own` of the data set's `total` that are not test.

    `known` of them had features already, `computed` have them now; `unreadable` are the others,
    each with the reason.
    """

    total: int
    own: int
    known: int
    computed: int
    unreadable: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FeaturesMade:
    """What one process has computed, and where it lies.

    `width` numbers for each image, in the files `parts` in `folder`, `bytes` together.
    """

    data: str
    backbone: str
    runtime: str
    shard: Shard
    images: ShardImages
    width: int
    folder: str
    parts: tuple[str, ...]
    bytes: int
    seconds: float


def read(text: str | None, environment: Mapping[str, str]) -> Shard:
    """`3/16`, or `auto` for what a scheduler says; None for all.

    Args:
        text: What a person has typed.
        environment: The process's variables.

    Raises:
        UsageError: it is no such thing, or no scheduler's variables are there.
    """
    if text is None:
        return Shard()
    if text == AUTO:
        return _scheduled(environment)
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None:
        raise UsageError(f"--shard is '{text}'", hint="Give 3/16, or auto.")
    return _shard(int(found[1]), int(found[2]), f"--shard is {text}")


def _scheduled(environment: Mapping[str, str]) -> Shard:
    if SLURM[0] in environment:
        task, count, first = (_number(environment, name) for name in SLURM)
        step = _number(environment, "SLURM_ARRAY_TASK_STEP", 1) or 1
        last = _number(environment, "SLURM_ARRAY_TASK_MAX", first + step * (count - 1))
        if last != first + step * (count - 1) or (task - first) % step:
            raise UsageError(
                f"--shard auto: the array's {count} tasks go from {first} to {last}, with gaps",
                hint="Give sbatch an array without gaps, such as --array=1-16.",
            )
        told = f"SLURM_ARRAY_TASK_ID is {task} of {count} from {first} on"
        return _shard((task - first) // step + 1, count, told)
    if KUBERNETES[0] in environment:
        index, count = (_number(environment, name) for name in KUBERNETES)
        told = f"JOB_COMPLETION_INDEX is {index} and JOB_COMPLETIONS {count}"
        return _shard(index + 1, count, told)
    raise UsageError(
        f"--shard auto: neither {SLURM[0]} nor {KUBERNETES[0]} is set",
        hint="Give the shard itself, such as --shard 3/16.",
    )


def _number(environment: Mapping[str, str], name: str, otherwise: int | None = None) -> int:
    text = environment.get(name, "" if otherwise is None else str(otherwise))
    if not re.fullmatch(r"[0-9]{1,9}", text):
        state = f"is '{text}'" if name in environment else "is not set"
        raise UsageError(
            f"--shard auto: {name} {state}",
            hint=f"Set it, such as {name}=16, or give the shard itself: --shard 3/16.",
        )
    return int(text)


def _shard(index: int, count: int, told: str) -> Shard:
    if not 1 <= index <= count <= MOST:
        raise UsageError(told, hint=f"Give a number from 1 to the count, and at most {MOST}.")
    return Shard(index=index, count=count)
