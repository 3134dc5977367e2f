"""Checks for copies, near duplicates and groups on both sides of a split."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from finetune.data import check_subject
from finetune.data.check_subject import BEFORE, Outcome, Subject
from finetune.records.dataset import Sample
from finetune.sources.findings import LISTED, copies
from finetune.sources.names import found_in

READY_ONLY = (LISTED["bare"].code, LISTED["beside"].code)


def copied(code: str) -> Callable[[Subject], Outcome]:
    """A check for exact copies of that code."""

    def run(subject: Subject) -> Outcome:
        for finding in copies(subject.samples):
            if finding.code == code:
                count = len(finding.paths)
                return Outcome(finding.title, True, numbers={"files": count}, paths=finding.paths)
        return check_subject.passed(f"none among {len(subject.samples)} images", files=0)

    return run


def leaked(subject: Subject) -> Outcome:
    """Copies of training images in a ready-made split."""
    if not subject.ready:
        return check_subject.void("splits are made here, copies stay on one side")
    part = subject.part_of
    sides = {
        name: {s.digest for s in subject.samples if part.get(s.path) in before}
        for name, before in BEFORE.items()
    }
    found = [s for s in subject.samples if s.digest in sides.get(part.get(s.path, ""), ())]
    return _across(subject, found, "exact copies of images trained on")


def _across(
    subject: Subject, found: Sequence[Sample], what: str, details: tuple[str, ...] = ()
) -> Outcome:
    """What to say of images of `val` and `test` that are known from an earlier split."""
    part = subject.part_of
    counts = Counter(part[s.path] for s in found)
    numbers = {name: float(counts[name]) for name in ("test", "val")}
    if not found:
        return check_subject.passed("none" + _unseen(subject), **numbers)
    text = " and ".join(f"{counts[n]} {n} image(s)" for n in ("test", "val") if counts[n])
    return Outcome(
        f"{text} are {what}",
        found=True,
        numbers=numbers,
        paths=tuple(s.path for s in found),
        details=details,
    )


def _unseen(subject: Subject) -> str:
    """What to add where a ready-made test was left alone."""
    return "" if subject.seen_test else " (test/ is checked after training)"


def near(subject: Subject) -> Outcome:
    """Near duplicates, which stay on one side of a split."""
    return _near_where(subject, lambda _: True, "near duplicates")


def near_crossed(subject: Subject) -> Outcome:
    """Near duplicates under two labels."""
    target = subject.dataset.target
    if target is not None and target.kind == "number":
        return check_subject.void("pictures that look nearly the same may have other numbers")
    return _near_where(
        subject,
        lambda cluster: len({s.values or s.label for s in cluster}) > 1,
        "near duplicates under two labels"
        if target is None
        else "near duplicates with other labels",
    )


def _near_where(subject: Subject, chosen: Callable[[Sequence[Sample]], bool], what: str) -> Outcome:
    if not subject.compared:
        return check_subject.void(
            "near duplicates were not searched for (--near-duplicates ignore)"
        )
    clusters = [f for f in subject.clusters if chosen(f)]
    count = sum(map(len, clusters))
    if not clusters:
        return check_subject.passed(
            f"none among {len(subject.samples)} images", clusters=0, images=0
        )
    return Outcome(
        f"{count} images are {what}, in {len(clusters)} group(s)",
        found=True,
        numbers={"families": len(clusters), "images": count},
        paths=tuple(s.path for f in clusters for s in f),
        details=tuple("" if s is f[0] else f"like {f[0].path}" for f in clusters for s in f),
    )


def near_leaked(subject: Subject) -> Outcome:
    """Near duplicates of training images in a ready-made split."""
    if not subject.ready:
        return check_subject.void("splits are made here, near duplicates stay on one side")
    if not subject.compared:
        return check_subject.void(
            "near duplicates were not searched for (--near-duplicates ignore)"
        )
    part = subject.part_of
    found: list[tuple[Sample, Sample]] = []
    for cluster in subject.clusters:
        for name, before in BEFORE.items():
            learnt = [s for s in cluster if part.get(s.path) in before]
            known = {s.digest for s in learnt}
            new = [s for s in cluster if part.get(s.path) == name and s.digest not in known]
            found += [(s, learnt[0]) for s in new if learnt]
    details = tuple(f"like {other.path}" for _, other in found)
    return _across(subject, [s for s, _ in found], "near duplicates of images trained on", details)


def group_leaked(subject: Subject) -> Outcome:
    """Groups on both sides of a ready-made split."""
    if subject.pattern is None:
        return check_subject.void("no --group given")
    if not subject.ready:
        return check_subject.void("splits are made here, groups stay on one side")
    part = subject.part_of
    sides: dict[str, set[str]] = defaultdict(set)
    members: dict[str, list[str]] = defaultdict(list)
    for sample in subject.samples:
        label = found_in(subject.pattern, sample.path)
        if label is not None and sample.path in part:
            sides[label].add(part[sample.path])
            members[label].append(sample.path)
    crossing = sorted(label for label, names in sides.items() if len(names) > 1)
    if not crossing:
        return check_subject.passed(f"none of {len(sides)} groups" + _unseen(subject), groups=0)
    return Outcome(
        f"{len(crossing)} of {len(sides)} groups are in more than one split: "
        f"{check_subject.some(crossing)}",
        found=True,
        numbers={"groups": len(crossing)},
        paths=tuple(path for label in crossing for path in members[label]),
        details=tuple(label for label in crossing for _ in members[label]),
    )


def twins(subject: Subject) -> Outcome:
    """File names that are one where case does not count."""
    known: dict[str, set[str]] = defaultdict(set)
    for sample in subject.samples:
        path = PurePosixPath(sample.path)
        for place in (path, *path.parents):
            # composed and decomposed accents are one name on some systems, too
            folded = unicodedata.normalize("NFC", str(place)).casefold()
            known[folded].add(str(place))
    twins = sorted(name for names in known.values() if len(names) > 1 for name in names)
    if not twins:
        return check_subject.passed("none", names=0)
    return Outcome(
        f"{len(twins)} names are one name where case does not count: {check_subject.some(twins)}",
        found=True,
        numbers={"names": len(twins)},
        paths=tuple(twins),
    )


_SAME_WAY = (
    "Save all classes in the same way: a model learns what is easiest, and a test from the same "
    "folder does not show it."
)
