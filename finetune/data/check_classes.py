"""Checks of classes: their names, their sizes, and their share in each split."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

from finetune.data import check_subject, symbols
from finetune.data.check_subject import SHOWN, Outcome, Subject
from finetune.records.dataset import Sample, Splits
from finetune.sources import names as data_names

# The rule that weighs rare classes in training starts here as well (`recipe.resolve`).
IMBALANCE = 3.0


def class_twins(subject: Subject) -> Outcome:
    """Classes that a person would take for one; letters are told from each other by such things."""
    known: dict[str, list[str]] = defaultdict(list)
    for name in subject.dataset.classes:
        if len(name.strip()) > 1:
            known[data_names.folded(name)].append(name)
    twins = [alike for alike in known.values() if len(alike) > 1]
    if not twins:
        return check_subject.passed(f"none of {len(subject.dataset.classes)} classes", classes=0)
    text = "; ".join(" and ".join(_told_apart(alike)) for alike in twins[:SHOWN])
    more = f" and {len(twins) - SHOWN} more" if len(twins) > SHOWN else ""
    return Outcome(
        f"names of classes differ in capitals, accents or blanks only: {text}{more}",
        found=True,
        numbers={"classes": sum(map(len, twins))},
    )


def _told_apart(alike: Sequence[str]) -> list[str]:
    """Names in quotes; where an accent is composed in one and not in another, that is said."""
    same = len({unicodedata.normalize("NFC", name) for name in alike}) < len(alike)
    return [
        f"'{name}'"
        + (" (accents composed)" if same and unicodedata.is_normalized("NFC", name) else "")
        + (" (accents apart)" if same and not unicodedata.is_normalized("NFC", name) else "")
        for name in alike
    ]


def single(subject: Subject) -> Outcome:
    """Classes of a single image."""
    different: dict[int, set[str]] = defaultdict(set)
    for sample in subject.samples:
        different[sample.label].add(sample.digest)
    classes = subject.dataset.classes
    alone = [name for i, name in enumerate(classes) if len(different[i]) == 1]
    return _classes_where(alone, classes, "have a single image (copies not counted)")


def missing(subject: Subject) -> Outcome:
    """Classes that lack an image in a split."""
    part, classes = subject.part_of, subject.dataset.classes
    present = {(part[s.path], s.label) for s in _all_split(subject.splits)}
    names = sorted({name for name, _ in present})
    if len(names) < 2:
        return check_subject.void("there is one split only")
    gaps = {name: [c for i, c in enumerate(classes) if (name, i) not in present] for name in names}
    text = "; ".join(
        f"{name} lacks {check_subject.some(lost)}" for name, lost in gaps.items() if lost
    )
    count = len({c for lost in gaps.values() for c in lost})
    if not count:
        return check_subject.passed(
            f"{', '.join(names)} have all {len(classes)} classes", classes=0
        )
    return Outcome(text, found=True, numbers={"classes": count})


def _all_split(splits: Splits) -> tuple[Sample, ...]:
    return splits.train + splits.val + splits.test


def _classes_where(found: Sequence[str], classes: Sequence[str], what: str) -> Outcome:
    if not found:
        return check_subject.passed(f"none of {len(classes)} classes", classes=0)
    text = f"{len(found)} of {len(classes)} classes {what}: {check_subject.some(found)}"
    return Outcome(text, found=True, numbers={"classes": len(found)})


def imbalance(subject: Subject) -> Outcome:
    """How many times the smallest class the largest is."""
    counts = Counter(s.label for s in subject.samples)
    if len(counts) < 2:
        return check_subject.void("fewer than two classes can be read")
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    names = subject.dataset.classes
    text = f"'{names[most]}' has {many} images, '{names[least]}' {few}: {many / few:.1f} times"
    return Outcome(text, many / few >= IMBALANCE, numbers={"ratio": many / few})


def symbol_names(subject: Subject) -> Outcome:
    """Whether class names look like letters, digits or directions."""
    target = subject.dataset.target
    if target is not None and target.kind == "number":
        return check_subject.void("it is about names, and numbers are learned")
    classes = subject.dataset.classes if target is None else target.names
    found, why = symbols.look_like_symbols(classes)
    return Outcome(why + (": mirror images are off" if found else ""), found)


def imagenet_classes(_: Subject) -> Outcome:
    """Whether classes are ImageNet's: known only once the backbone has seen them."""
    return check_subject.void("takes a backbone: recommend and train tell")
