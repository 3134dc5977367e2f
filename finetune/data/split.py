"""Labelled images → disjoint train, validation and test: each class gives its share, rounded.

Which images those are is decided by the rank of a hash of their bytes and the seed, so that copies
stay on one side, and added files move few others.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from finetune.records import option_table
from finetune.records.dataset import Dataset, Sample, Splits

# A share that is a half but for the noise of binary fractions (0.29 of 50) is rounded up as well.
_NOISE = 1e-9


def split(
    dataset: Dataset,
    *,
    seed: int,
    val_fraction: float,
    test_fraction: float,
    max_per_class: int | None = None,
    learnt: Set[str] = frozenset(),
) -> Splits:
    """Divide a data set into train, validation and test.

    Each class gives its share of images, rounded by itself, so that images added to one class move
    none of another. Which ones is decided by the rank of a number made of the seed and the hash of
    the unit (the image's bytes, or its group's name). Units are not divided: with units of several
    images, or of several classes, the share is met as near as they allow. Every class of at least
    three units has one in each split, unless it shares its units with classes that have fewer.
    Ready-made splits are kept; what is in a ready-made validation split, or copied there, is no
    image to test on.

    Args:
        dataset: What `scan` returned.
        seed: Another seed is another split.
        val_fraction: Share of the images that are not test, in [0, 0.9].
        test_fraction: Share of all images, in [0, 0.9].
        max_per_class: Cap on the images per class that are not test; validation comes out of them.
        learnt: Digests of images that a network has learnt from before: they and what goes with
            them stay in train, and the shares are of the others.

    Raises:
        UsageError: a fraction or the cap out of range.
    """
    option_table.check(
        {
            "val_fraction": val_fraction,
            "test_fraction": test_fraction,
            "max_per_class": max_per_class,
        }
    )
    rest, test = dataset.pool, dataset.test
    taught = {s.unit for s in dataset.pool if s.digest in learnt}
    if test is None:
        known = {s.unit for s in dataset.val or ()} | taught
        rest, test = _cut(rest, test_fraction, f"test:{seed}", leave=2, stay=known)
    if max_per_class is not None:
        rest = _cap(rest, max_per_class, f"cap:{seed}")
    val = dataset.val
    if val is None:
        rest, val = _cut(rest, val_fraction, f"val:{seed}", leave=1, stay=taught)
    return Splits(train=rest, val=val, test=test, learnt=tuple(sorted(learnt)))


def _number(unit: str, salt: str) -> float:
    """A uniform number in [0, 1) from a content hash or the name of a group, and a salt."""
    value = hashlib.sha256(f"{salt}:{unit}".encode()).digest()[:8]
    return int.from_bytes(value, "big") / 2**64


def _by_class(samples: Sequence[Sample]) -> dict[int, list[Sample]]:
    groups: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.label].append(sample)
    return groups


def _cut(
    samples: tuple[Sample, ...],
    fraction: float,
    salt: str,
    *,
    leave: int,
    stay: Set[str] = frozenset(),
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split off a share of each class; returns (kept, cut off).

    A class keeps `leave` units and gives at least one, where it has more than `leave`. The units of
    `stay` are kept and not counted.
    """
    if fraction == 0:
        return samples, ()
    cut = _Cut.of((s for s in samples if s.unit not in stay), fraction, salt, leave)
    cut.choose()
    kept = tuple(s for s in samples if s.unit not in cut.chosen)
    return kept, tuple(s for s in samples if s.unit in cut.chosen)


@dataclass
class _Cut:
    """What each class still has to give, and the units chosen so far.

    `sizes` has the images of each unit by class, in the order of the units' numbers; `due` how many
    images a class still has to give, less than none where it gave too many; `room` how many units
    it may still give.
    """

    sizes: Mapping[str, Counter[int]]
    due: dict[int, int]
    room: dict[int, int]
    chosen: set[str]

    @classmethod
    def of(cls, samples: Iterable[Sample], fraction: float, salt: str, leave: int) -> _Cut:
        """Nothing chosen yet."""
        sizes: dict[str, Counter[int]] = defaultdict(Counter)
        images: Counter[int] = Counter()
        for sample in samples:
            sizes[sample.unit][sample.label] += 1
            images[sample.label] += 1
        ranked = sorted(sizes, key=lambda unit: (_number(unit, salt), unit))
        units = Counter(label for unit in ranked for label in sizes[unit])
        # halves go up; a class of few images gives one where it can
        due = {c: max(1, math.floor(fraction * n + 0.5 + _NOISE)) for c, n in images.items()}
        room = {c: max(0, n - leave) for c, n in units.items()}
        return cls({unit: sizes[unit] for unit in ranked}, due, room, set())

    def choose(self) -> None:
        """Every class something, fewest units first; then what fits; then what comes nearer."""
        by_class: dict[int, list[str]] = defaultdict(list)
        for unit, sizes in self.sizes.items():
            for label in sizes:
                by_class[label].append(unit)
        classes = sorted(by_class, key=lambda c: (len(by_class[c]), c))
        for label in classes:
            if self.chosen.isdisjoint(by_class[label]):
                self._take_first(by_class[label])
        for unit in self.sizes:
            if self._may(unit) and self._fits(unit):
                self._take(unit)
        for label in classes:
            if self.due[label] > 0:
                self._take_nearest(by_class[label])

    def _take_first(self, units: Sequence[str]) -> None:
        """The first that fits; where all are too large, the smallest."""
        free = [unit for unit in units if self._may(unit)]
        fitting = next((unit for unit in free if self._fits(unit)), None)
        if fitting is None and free:
            fitting = min(free, key=lambda unit: self.sizes[unit].total())
        if fitting is not None:
            self._take(fitting)

    def _take_nearest(self, units: Sequence[str]) -> None:
        """One more than is due, where that is nearer to the share than what is missing now."""
        gains = {unit: self._gain(unit) for unit in units if self._may(unit)}
        best = max(gains, key=gains.__getitem__, default=None)
        if best is not None and gains[best] > 0:
            self._take(best)

    def _gain(self, unit: str) -> int:
        """By how many images the classes come nearer to what they have to give."""
        return sum(abs(self.due[c]) - abs(self.due[c] - n) for c, n in self.sizes[unit].items())

    def _may(self, unit: str) -> bool:
        """Would every class that has this unit keep enough without it?"""
        return unit not in self.chosen and all(self.room[c] > 0 for c in self.sizes[unit])

    def _fits(self, unit: str) -> bool:
        return all(self.due[c] >= n for c, n in self.sizes[unit].items())

    def _take(self, unit: str) -> None:
        self.chosen.add(unit)
        for label, count in self.sizes[unit].items():
            self.due[label] -= count
            self.room[label] -= 1


def _cap(samples: tuple[Sample, ...], limit: int, salt: str) -> tuple[Sample, ...]:
    """Keep the `limit` images per class whose numbers are smallest."""
    kept: set[str] = set()
    for group in _by_class(samples).values():
        ranked = sorted(group, key=lambda s: (_number(s.digest, salt), s.path))
        kept.update(s.path for s in ranked[:limit])
    return tuple(s for s in samples if s.path in kept)
