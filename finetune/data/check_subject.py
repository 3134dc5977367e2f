"""What a check looks at, and what comes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from finetune.pictures.decoding import Glance
from finetune.records.choices import Severity
from finetune.records.dataset import Dataset, Sample, Splits

# Where images of a split must not come from: what is measured there would be too good.
BEFORE = {"val": ("train",), "test": ("train", "val")}
SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the checks look at.

    `glances` and `faults` (why a file cannot be read) have the paths of all images looked at,
    `plain` those that show one colour, `strays` those files that are images by content but not by
    name. `hidden` are those plain ones that are so only because transparency is laid on white.
    `families` are groups of near duplicates, each of at least two different files. `pattern` is
    that of `--group`. `seen_test` is False where a ready-made test was not looked at, `compared`
    where near duplicates were not looked for.
    """

    dataset: Dataset
    splits: Splits
    glances: Mapping[str, Glance]
    faults: Mapping[str, str]
    plain: Set[str]
    strays: Mapping[str, str]
    clusters: tuple[tuple[Sample, ...], ...]
    pattern: re.Pattern[str] | None
    seen_test: bool
    compared: bool
    hidden: Set[str] = frozenset()

    @property
    def ready(self) -> bool:
        """Did the splits come with the folder?"""
        return self.dataset.test is not None or self.dataset.val is not None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Every labelled image that could be read."""
        return tuple(
            s for s in labelled(self.dataset, test=self.seen_test) if s.path in self.glances
        )

    @property
    def part_of(self) -> dict[str, str]:
        """The split that each image is in, by path."""
        named = {"train": self.splits.train, "val": self.splits.val, "test": self.splits.test}
        return {s.path: name for name, samples in named.items() for s in samples}


@dataclass(frozen=True)
class Outcome:
    """What one check found: `found` False is passed; `applies` False says why in `text`.

    `severity` is given where it is another than that of the kind.
    """

    text: str
    found: bool = False
    applies: bool = True
    severity: Severity | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


def labelled(dataset: Dataset, *, test: bool) -> tuple[Sample, ...]:
    """Every image that has a label; those of a ready-made test where they may be looked at."""
    return dataset.pool + (dataset.val or ()) + ((dataset.test or ()) if test else ())


def passed(text: str, **numbers: float) -> Outcome:
    """Nothing was found."""
    return Outcome(text, numbers=numbers)


def void(text: str) -> Outcome:
    """The check does not apply, and why."""
    return Outcome(text, applies=False)


def remarked(text: str, remarks: Mapping[str, str], unit: str = "images") -> Outcome:
    """Found in files, each with a remark."""
    return Outcome(
        text,
        found=True,
        numbers={unit: len(remarks)},
        paths=tuple(remarks),
        details=tuple(remarks.values()),
    )


def some(names: Sequence[str]) -> str:
    """The first of many names."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
