"""Checks of single pictures: unreadable, misnamed, blank, tiny or long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

from PIL import Image

from finetune.data import check_classes, check_subject
from finetune.data.check_shortcuts import _SAME_FORMAT
from finetune.data.check_subject import SHOWN, Outcome, Subject
from finetune.pictures.decoding import Glance
from finetune.records.choices import Severity
from finetune.sources.findings import UNREADABLE

# Pictures of 32 px are enough for people to name a scene (Torralba 2009, "How many pixels make an
# image?"); MNIST has 28. Below 16 there is hardly anything to see.
TINY_PX = 16
# Half of such a picture does not fit the square the network sees (`decoding.decode`).
LONG = 4.0
# Shares of blank pictures. A few are accidents; a tenth is a whole class of ten; where they are
# most, what is learnt is learnt from the few others.
MANY_BLANK, MOST_BLANK = 0.1, 0.5


def unreadable(subject: Subject) -> Outcome:
    """Files that cannot be read as images."""
    faults = subject.faults
    if not faults:
        return check_subject.passed(f"all {len(subject.glances)} can be read", images=0)
    kinds = Counter(faults.values()).most_common(SHOWN)
    reasons = ", ".join(f"{why} ({count})" for why, count in kinds)
    more = ", …" if len(set(faults.values())) > SHOWN else ""
    return check_subject.remarked(f"{len(faults)} {UNREADABLE.title}: {reasons}{more}", faults)


def _no_readable(subject: Subject) -> Outcome:
    readable = {s.label for s in subject.dataset.pool if s.path in subject.glances}
    classes = subject.dataset.classes
    lost = [name for i, name in enumerate(classes) if i not in readable]
    return check_classes._classes_where(lost, classes, "have no readable image to learn from")


def images_where(subject: Subject, chosen: Callable[[str, Glance], str], what: str) -> Outcome:
    """A check of single images: `chosen` gives a remark, empty where there is nothing to say."""
    remarks = {path: remark for path, g in subject.glances.items() if (remark := chosen(path, g))}
    if not remarks:
        return check_subject.passed(f"none of {len(subject.glances)} images", images=0)
    return check_subject.remarked(
        f"{len(remarks)} of {len(subject.glances)} images {what}", remarks
    )


def wrong_suffix(subject: Subject) -> Outcome:
    """Files whose name says another format than their bytes."""
    known = Image.registered_extensions()

    def remark(path: str, seen: Glance) -> str:
        claimed, real = known.get(PurePosixPath(path).suffix.lower(), ""), seen.format
        same = _SAME_FORMAT.get(claimed, claimed) == _SAME_FORMAT.get(real, real)
        return "" if same else f"is {real}"

    return images_where(subject, remark, "are of another format than their suffix says")


def stray(subject: Subject) -> Outcome:
    """Files that are images although their name does not say so."""
    found = subject.strays
    if not found:
        return check_subject.passed("none", files=0)
    return check_subject.remarked(
        f"{len(found)} file(s) left out are images that their suffix does not name",
        {path: f"is {name}" for path, name in found.items()},
        unit="files",
    )


def frames(subject: Subject) -> Outcome:
    """Files of several frames, of which the first counts."""

    def remark(_: str, seen: Glance) -> str:
        return f"{seen.format}, several frames" if seen.several_frames else ""

    return images_where(subject, remark, "have several frames: the first counts")


def plain(subject: Subject) -> Outcome:
    """Blank pictures; how bad that is grows with their share, and where most of a class is blank.

    One colour is what 32 pixels a side show: it may be wrong of single pictures, so that even most
    of them being blank refuses nothing, but time for tuning is not spent on them.
    """
    if not subject.compared:
        return check_subject.void("images were not decoded (--near-duplicates ignore)")

    def remark(path: str, _: Glance) -> str:
        return "one color" if path in subject.plain else ""

    found = images_where(subject, remark, "show one color and nothing else")
    if not found.found:
        return found
    lost = _blank_classes(subject) if subject.dataset.target is None else []
    names = [subject.dataset.classes[label] for label in lost]
    severity: Severity = "note"
    if len(subject.plain) > MANY_BLANK * len(subject.glances) or lost:
        severity = "warning"
    if mostly_blank(len(subject.plain), len(subject.glances)):
        severity = "error"
    text = found.text + (f"; they are most of {check_subject.some(names)}" if names else "")
    share = len(subject.plain) / len(subject.glances)
    numbers = {**found.numbers, "share": share}
    return replace(found, text=text, severity=severity, numbers=numbers)


def mostly_blank(blank: int, images: int) -> bool:
    """Are most pictures of one colour? Then there is nothing to tune on."""
    return blank > MOST_BLANK * images


def _blank_classes(subject: Subject) -> list[int]:
    """Classes of which most images, and two at least, are blank."""
    counts = Counter(s.label for s in subject.samples)
    blank = Counter(s.label for s in subject.samples if s.path in subject.plain)
    return sorted(k for k, n in blank.items() if n > 1 and n > MOST_BLANK * counts[k])


def _hidden(subject: Subject) -> Outcome:
    if not subject.compared:
        return check_subject.void("images were not decoded (--near-duplicates ignore)")

    def remark(path: str, seen: Glance) -> str:
        return f"{seen.mode}, blank on white" if path in subject.hidden else ""

    return images_where(
        subject, remark, "are blank because they are transparent: white is what they are laid on"
    )


def tiny(subject: Subject) -> Outcome:
    """Pictures of too few pixels."""

    def remark(_: str, seen: Glance) -> str:
        small = min(seen.width_px, seen.height_px) < TINY_PX
        return f"{seen.width_px} x {seen.height_px} px" if small else ""

    return images_where(subject, remark, f"have a side below {TINY_PX} px")


def elongated(subject: Subject) -> Outcome:
    """Pictures that are much longer than wide, or wider than long."""

    def remark(_: str, seen: Glance) -> str:
        short, long = sorted((seen.width_px, seen.height_px))
        return f"{seen.width_px} x {seen.height_px} px" if long >= LONG * short else ""

    return images_where(subject, remark, f"are at least {LONG:g} times as long as wide")
