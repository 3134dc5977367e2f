"""What may be wrong with a data set: one table of coded checks, each a small pure function."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from PIL import Image

from finetune import data, names, profile
from finetune.batches import Glance
from finetune.data import Kind
from finetune.records import Check, Dataset, Finding, Sample, Severity, Splits, Status

# The rule that weighs rare classes in training starts here as well (`strategy.resolve`).
IMBALANCE = 3.0
# Pictures of 32 px are enough for people to name a scene (Torralba 2009, "How many pixels make an
# image?"); MNIST has 28. Below 16 there is hardly anything to see.
TINY_PX = 16
# Half of such a picture does not fit the square the network sees (`batches.decode`).
LONG = 4.0
# Shares of blank pictures. A few are accidents; a tenth is a whole class of ten; where they are
# most, what is learnt is learnt from the few others.
MANY_BLANK, MOST_BLANK = 0.1, 0.5
# A class is given away where a guess from the file alone, never having seen that file, is right for
# nine of ten of its images and of the others, on average. With five images each the worst that
# passes (all five share what a fifth of the others have) comes by chance once in 3,000.
GIVEN_AWAY = 0.9
GIVEN_AWAY_IMAGES = 5
# Sizes within 19 % count as one: a quarter of an octave.
SIZE_STEPS = 4

_READY_ONLY = (data.LISTED["bare"].code, data.LISTED["beside"].code)
_SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}
# Where images of a split must not come from: what is measured there would be too good.
_BEFORE = {"val": ("train",), "test": ("train", "val")}
SHOWN = 3


@dataclass(frozen=True)
class Subject:
    """What the checks look at.

    `glances` and `faults` (why a file cannot be read) have the paths of all images looked at,
    `plain` those that show one colour, `strays` those files that are images by content but not by
    name. `hidden` are those plain ones that are so only because transparency is laid on white.
    `families` are groups of near copies, each of at least two different files. `pattern` is
    that of `--group`. `seen_test` is False where a ready-made test was not looked at, `compared`
    where near copies were not looked for.
    """

    dataset: Dataset
    splits: Splits
    glances: Mapping[str, Glance]
    faults: Mapping[str, str]
    plain: Set[str]
    strays: Mapping[str, str]
    families: tuple[tuple[Sample, ...], ...]
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


def run(subject: Subject) -> tuple[Check, ...]:
    """Every check of the table, passed and not applicable ones too."""
    return tuple(_check(kind, look, subject) for kind, look in CHECKS)


def run_late(subject: Subject) -> tuple[Check, ...]:
    """Those that a ready-made test can fail and that its own reading does not make."""
    late = ((NEAR_LEAKED, _near_leaked), (GROUP_LEAKED, _group_leaked))
    return tuple(_check(kind, look, subject) for kind, look in late)


def findings(checks: Sequence[Check]) -> tuple[Finding, ...]:
    """The checks that did not pass, as a run records them."""
    return tuple(
        Finding(c.code, c.status, c.text, c.hint, c.paths)
        for c in checks
        if c.status != "passed" and c.status != "not-applicable"  # noqa: PLR1714 - mypy reads it
    )


def labelled(dataset: Dataset, *, test: bool) -> tuple[Sample, ...]:
    """Every image that has a label; those of a ready-made test where they may be looked at."""
    return dataset.pool + (dataset.val or ()) + ((dataset.test or ()) if test else ())


def _passed(text: str, **numbers: float) -> Outcome:
    return Outcome(text, numbers=numbers)


def _void(text: str) -> Outcome:
    return Outcome(text, applies=False)


def _remarked(text: str, remarks: Mapping[str, str], unit: str = "images") -> Outcome:
    """Found in files, each with a remark."""
    return Outcome(
        text,
        found=True,
        numbers={unit: len(remarks)},
        paths=tuple(remarks),
        details=tuple(remarks.values()),
    )


def _check(kind: Kind, run: Callable[[Subject], Outcome], subject: Subject) -> Check:
    """Run one row of the table."""
    outcome = run(subject)
    if not outcome.found:
        status: Status = "passed" if outcome.applies else "not-applicable"
        return Check(kind.code, kind.title, status, outcome.text, numbers=outcome.numbers)
    return Check(
        *(kind.code, kind.title, outcome.severity or kind.severity, outcome.text, kind.hint),
        numbers=outcome.numbers,
        paths=outcome.paths,
        details=outcome.details,
    )


def _listed(code: str) -> Callable[[Subject], Outcome]:
    """A check that `data.scan` has done already."""

    def run(subject: Subject) -> Outcome:
        if code in _READY_ONLY and subject.dataset.layout == "plain":
            return _void("no ready-made splits")
        for finding in subject.dataset.findings:
            if finding.code == code:
                count = len(finding.paths)
                return Outcome(finding.title, True, numbers={"files": count}, paths=finding.paths)
        return _passed("none", files=0)

    return run


def _copied(code: str) -> Callable[[Subject], Outcome]:
    def run(subject: Subject) -> Outcome:
        for finding in data.copies(subject.samples):
            if finding.code == code:
                count = len(finding.paths)
                return Outcome(finding.title, True, numbers={"files": count}, paths=finding.paths)
        return _passed(f"none among {len(subject.samples)} images", files=0)

    return run


def _leaked(subject: Subject) -> Outcome:
    if not subject.ready:
        return _void("splits are made here, copies stay on one side")
    part = subject.part_of
    sides = {
        name: {s.digest for s in subject.samples if part.get(s.path) in before}
        for name, before in _BEFORE.items()
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
        return _passed("none" + _unseen(subject), **numbers)
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
    return "" if subject.seen_test else " (test/ is looked at after training)"


def _near(subject: Subject) -> Outcome:
    return _near_where(subject, lambda _: True, "near copies")


def _near_crossed(subject: Subject) -> Outcome:
    return _near_where(
        subject, lambda family: len({s.label for s in family}) > 1, "near copies under two labels"
    )


def _near_where(subject: Subject, chosen: Callable[[Sequence[Sample]], bool], what: str) -> Outcome:
    if not subject.compared:
        return _void("near copies were not looked for (--near-copies ignore)")
    families = [f for f in subject.families if chosen(f)]
    count = sum(map(len, families))
    if not families:
        return _passed(f"none among {len(subject.samples)} images", families=0, images=0)
    return Outcome(
        f"{count} images are {what}, in {len(families)} group(s)",
        found=True,
        numbers={"families": len(families), "images": count},
        paths=tuple(s.path for f in families for s in f),
        details=tuple("" if s is f[0] else f"like {f[0].path}" for f in families for s in f),
    )


def _near_leaked(subject: Subject) -> Outcome:
    if not subject.ready:
        return _void("splits are made here, near copies stay on one side")
    if not subject.compared:
        return _void("near copies were not looked for (--near-copies ignore)")
    part = subject.part_of
    found: list[tuple[Sample, Sample]] = []
    for family in subject.families:
        for name, before in _BEFORE.items():
            learnt = [s for s in family if part.get(s.path) in before]
            known = {s.digest for s in learnt}
            new = [s for s in family if part.get(s.path) == name and s.digest not in known]
            found += [(s, learnt[0]) for s in new if learnt]
    details = tuple(f"like {other.path}" for _, other in found)
    return _across(subject, [s for s, _ in found], "near copies of images trained on", details)


def _group_leaked(subject: Subject) -> Outcome:
    if subject.pattern is None:
        return _void("no --group given")
    if not subject.ready:
        return _void("splits are made here, groups stay on one side")
    part = subject.part_of
    sides: dict[str, set[str]] = defaultdict(set)
    members: dict[str, list[str]] = defaultdict(list)
    for sample in subject.samples:
        label = names.found_in(subject.pattern, sample.path)
        if label is not None and sample.path in part:
            sides[label].add(part[sample.path])
            members[label].append(sample.path)
    crossing = sorted(label for label, names in sides.items() if len(names) > 1)
    if not crossing:
        return _passed(f"none of {len(sides)} groups" + _unseen(subject), groups=0)
    return Outcome(
        f"{len(crossing)} of {len(sides)} groups are in more than one split: {_some(crossing)}",
        found=True,
        numbers={"groups": len(crossing)},
        paths=tuple(path for label in crossing for path in members[label]),
        details=tuple(label for label in crossing for _ in members[label]),
    )


def _twins(subject: Subject) -> Outcome:
    known: dict[str, set[str]] = defaultdict(set)
    for sample in subject.samples:
        path = PurePosixPath(sample.path)
        for place in (path, *path.parents):
            # composed and decomposed accents are one name on some systems, too
            folded = unicodedata.normalize("NFC", str(place)).casefold()
            known[folded].add(str(place))
    twins = sorted(name for names in known.values() if len(names) > 1 for name in names)
    if not twins:
        return _passed("none", names=0)
    return Outcome(
        f"{len(twins)} names are one name where case does not count: {_some(twins)}",
        found=True,
        numbers={"names": len(twins)},
        paths=tuple(twins),
    )


def _class_twins(subject: Subject) -> Outcome:
    """Classes that a person would take for one; letters are told from each other by such things."""
    known: dict[str, list[str]] = defaultdict(list)
    for name in subject.dataset.classes:
        if len(name.strip()) > 1:
            known[names.folded(name)].append(name)
    twins = [alike for alike in known.values() if len(alike) > 1]
    if not twins:
        return _passed(f"none of {len(subject.dataset.classes)} classes", classes=0)
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


def _unreadable(subject: Subject) -> Outcome:
    faults = subject.faults
    if not faults:
        return _passed(f"all {len(subject.glances)} can be read", images=0)
    kinds = Counter(faults.values()).most_common(SHOWN)
    reasons = ", ".join(f"{why} ({count})" for why, count in kinds)
    more = ", …" if len(set(faults.values())) > SHOWN else ""
    return _remarked(f"{len(faults)} {data.UNREADABLE.title}: {reasons}{more}", faults)


def _no_readable(subject: Subject) -> Outcome:
    readable = {s.label for s in subject.dataset.pool if s.path in subject.glances}
    classes = subject.dataset.classes
    lost = [name for i, name in enumerate(classes) if i not in readable]
    return _classes_where(lost, classes, "have no readable image to learn from")


def _single(subject: Subject) -> Outcome:
    different: dict[int, set[str]] = defaultdict(set)
    for sample in subject.samples:
        different[sample.label].add(sample.digest)
    classes = subject.dataset.classes
    alone = [name for i, name in enumerate(classes) if len(different[i]) == 1]
    return _classes_where(alone, classes, "have a single image (copies not counted)")


def _missing(subject: Subject) -> Outcome:
    part, classes = subject.part_of, subject.dataset.classes
    present = {(part[s.path], s.label) for s in _all_split(subject.splits)}
    names = sorted({name for name, _ in present})
    if len(names) < 2:
        return _void("there is one split only")
    gaps = {name: [c for i, c in enumerate(classes) if (name, i) not in present] for name in names}
    text = "; ".join(f"{name} lacks {_some(lost)}" for name, lost in gaps.items() if lost)
    count = len({c for lost in gaps.values() for c in lost})
    if not count:
        return _passed(f"{', '.join(names)} have all {len(classes)} classes", classes=0)
    return Outcome(text, found=True, numbers={"classes": count})


def _all_split(splits: Splits) -> tuple[Sample, ...]:
    return splits.train + splits.val + splits.test


def _classes_where(found: Sequence[str], classes: Sequence[str], what: str) -> Outcome:
    if not found:
        return _passed(f"none of {len(classes)} classes", classes=0)
    text = f"{len(found)} of {len(classes)} classes {what}: {_some(found)}"
    return Outcome(text, found=True, numbers={"classes": len(found)})


def _imbalance(subject: Subject) -> Outcome:
    counts = Counter(s.label for s in subject.samples)
    if len(counts) < 2:
        return _void("fewer than two classes can be read")
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    names = subject.dataset.classes
    text = f"'{names[most]}' has {many} images, '{names[least]}' {few}: {many / few:.1f} times"
    return Outcome(text, many / few >= IMBALANCE, numbers={"ratio": many / few})


def _images_where(subject: Subject, chosen: Callable[[str, Glance], str], what: str) -> Outcome:
    """A check of single images: `chosen` gives a remark, empty where there is nothing to say."""
    remarks = {path: remark for path, g in subject.glances.items() if (remark := chosen(path, g))}
    if not remarks:
        return _passed(f"none of {len(subject.glances)} images", images=0)
    return _remarked(f"{len(remarks)} of {len(subject.glances)} images {what}", remarks)


def _wrong_suffix(subject: Subject) -> Outcome:
    known = Image.registered_extensions()

    def remark(path: str, seen: Glance) -> str:
        claimed, real = known.get(PurePosixPath(path).suffix.lower(), ""), seen.format
        same = _SAME_FORMAT.get(claimed, claimed) == _SAME_FORMAT.get(real, real)
        return "" if same else f"is {real}"

    return _images_where(subject, remark, "are of another format than their suffix says")


def _stray(subject: Subject) -> Outcome:
    found = subject.strays
    if not found:
        return _passed("none", files=0)
    return _remarked(
        f"{len(found)} file(s) left out are images that their suffix does not name",
        {path: f"is {name}" for path, name in found.items()},
        unit="files",
    )


def _frames(subject: Subject) -> Outcome:
    def remark(_: str, seen: Glance) -> str:
        return f"{seen.format}, several frames" if seen.several_frames else ""

    return _images_where(subject, remark, "have several frames: the first counts")


def _plain(subject: Subject) -> Outcome:
    """Blank pictures; how bad that is grows with their share, and where most of a class is blank.

    One colour is what 32 pixels a side show: it may be wrong of single pictures, so that even most
    of them being blank refuses nothing, but time for tuning is not spent on them.
    """
    if not subject.compared:
        return _void("images were not decoded (--near-copies ignore)")

    def remark(path: str, _: Glance) -> str:
        return "one colour" if path in subject.plain else ""

    found = _images_where(subject, remark, "show one colour and nothing else")
    if not found.found:
        return found
    lost = _blank_classes(subject)
    names = [subject.dataset.classes[label] for label in lost]
    severity: Severity = "note"
    if len(subject.plain) > MANY_BLANK * len(subject.glances) or lost:
        severity = "warning"
    if mostly_blank(len(subject.plain), len(subject.glances)):
        severity = "error"
    text = found.text + (f"; they are most of {_some(names)}" if names else "")
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
        return _void("images were not decoded (--near-copies ignore)")

    def remark(path: str, seen: Glance) -> str:
        return f"{seen.mode}, blank on white" if path in subject.hidden else ""

    return _images_where(
        subject, remark, "are blank because they are transparent: white is what they are laid on"
    )


def _tiny(subject: Subject) -> Outcome:
    def remark(_: str, seen: Glance) -> str:
        small = min(seen.width_px, seen.height_px) < TINY_PX
        return f"{seen.width_px} x {seen.height_px} px" if small else ""

    return _images_where(subject, remark, f"have a side below {TINY_PX} px")


def _elongated(subject: Subject) -> Outcome:
    def remark(_: str, seen: Glance) -> str:
        short, long = sorted((seen.width_px, seen.height_px))
        return f"{seen.width_px} x {seen.height_px} px" if long >= LONG * short else ""

    return _images_where(subject, remark, f"are at least {LONG:g} times as long as wide")


def _by_format(subject: Subject) -> Outcome:
    return _shortcut(subject, "file format", lambda g: _SAME_FORMAT.get(g.format, g.format))


def _by_size(subject: Subject) -> Outcome:
    def rounded(side_px: int) -> int:
        return round(2 ** (round(SIZE_STEPS * math.log2(side_px)) / SIZE_STEPS))

    def about(seen: Glance) -> str:
        return f"about {rounded(seen.width_px)} x {rounded(seen.height_px)} px"

    return _shortcut(subject, "size in pixels", about)


def _by_mode(subject: Subject) -> Outcome:
    return _shortcut(subject, "colour mode", lambda g: g.mode)


def _shortcut(subject: Subject, what: str, value_of: Callable[[Glance], str]) -> Outcome:
    """Can a class be told by a value of the file that has nothing to do with its content?"""
    samples, classes = subject.samples, subject.dataset.classes
    values = [value_of(subject.glances[s.path]) for s in samples]
    labels = [s.label for s in samples]
    scores = guesses(values, labels)
    if not scores:
        return _void(f"no class with {GIVEN_AWAY_IMAGES} images beside as many others")
    if len(classes) == 2:  # what gives one away gives the other away
        scores = dict([max(scores.items(), key=lambda item: item[1])])
    told = {label: score for label, score in scores.items() if score >= GIVEN_AWAY}
    best = max(scores.values())
    if not told:
        text = f"a guess by {what} is at most {best:.0%} right (half is chance)"
        return _passed(text, best=best)
    parts = []
    for label, score in list(told.items())[:SHOWN]:
        own = Counter(v for v, y in zip(values, labels, strict=True) if y == label)
        others = Counter(v for v, y in zip(values, labels, strict=True) if y != label)
        common, count = own.most_common(1)[0]
        parts.append(
            f"'{classes[label]}' ({common}: {count / own.total():.0%} of it, "
            f"{others[common] / others.total():.0%} of the others; a guess is {score:.0%} right)"
        )
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    text = f"{len(told)} class(es) can be told by the {what} alone: {', '.join(parts)}{more}"
    return Outcome(text, found=True, numbers={"classes": len(told), "best": best})


def guesses(values: Sequence[str], labels: Sequence[int]) -> dict[int, float]:
    """How well each class can be told from the others by one value of each image.

    An image is guessed to be of the class where its value is more common among the class than
    among the others, that image left out; a tie counts half. The score is the mean of the two
    recalls: 0.5 is chance whatever the counts, and values that are all different give no more.

    Returns:
        Label → score, for classes with at least `GIVEN_AWAY_IMAGES` and as many others.
    """
    totals, sizes = Counter(values), Counter(labels)
    inside: dict[int, Counter[str]] = defaultdict(Counter)
    for value, label in zip(values, labels, strict=True):
        inside[label][value] += 1
    # images of values that the class does not have: told rightly if another image has that value
    elsewhere = sum(n if n > 1 else 0.5 for n in totals.values())
    scores = {}
    for label, size in sorted(sizes.items()):
        rest = len(values) - size
        if min(size, rest) < GIVEN_AWAY_IMAGES:
            continue
        own, other = 0.0, elsewhere
        for value, a in inside[label].items():
            b = totals[value] - a
            other -= totals[value] if totals[value] > 1 else 0.5
            own += a * _vote((a - 1) / (size - 1), b / rest)
            other += b * _vote((b - 1) / (rest - 1), a / size)
        scores[label] = (own / size + other / rest) / 2
    return scores


def _vote(mine: float, theirs: float) -> float:
    return 0.5 if mine == theirs else float(mine > theirs)


def _symbols(subject: Subject) -> Outcome:
    found, why = profile.symbols(subject.dataset.classes)
    return Outcome(why + (": mirror images are off" if found else ""), found)


def _known(_: Subject) -> Outcome:
    return _void("takes a backbone: recommend and train tell")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


_SAME_WAY = (
    "Save all classes alike: a model learns what is easiest, and a test from the same folder does "
    "not show it."
)
NEAR_LEAKED = Kind(
    "FT115",
    "warning",
    "near copies across ready-made splits",
    "Remove them from test/ or val/: what is measured there is too good.",
)
GROUP_LEAKED = Kind(
    "FT119",
    "warning",
    "groups across ready-made splits",
    "Move all images of a group into one split.",
)
CHECKS: tuple[tuple[Kind, Callable[[Subject], Outcome]], ...] = (
    *((kind, _listed(kind.code)) for kind in data.LISTED.values()),
    (data.COPIES, _copied(data.COPIES.code)),
    (data.CROSSED, _copied(data.CROSSED.code)),
    (data.LEAKED, _leaked),
    (
        Kind(
            "FT113",
            "note",
            "near copies",
            "Remove them if they were not meant to count twice. Splits made here keep them "
            "together; --near-copies ignore does not.",
        ),
        _near,
    ),
    (
        Kind(
            "FT114",
            "warning",
            "near copies under two labels",
            "Look at them: a label is wrong, or what tells the classes apart is very small.",
        ),
        _near_crossed,
    ),
    (NEAR_LEAKED, _near_leaked),
    (
        Kind(
            "FT116",
            "warning",
            "names that differ in case only",
            "Rename them: on other systems one takes the place of the other.",
        ),
        _twins,
    ),
    (GROUP_LEAKED, _group_leaked),
    (data.UNREADABLE, _unreadable),
    (
        Kind(
            "FT121",
            "error",
            "classes without a readable image",
            "Add images, or remove the class folder: training stops here.",
        ),
        _no_readable,
    ),
    (
        Kind("FT122", "note", "images of another format than their suffix", "Nothing to do."),
        _wrong_suffix,
    ),
    (
        Kind(
            "FT123",
            "warning",
            "images behind a suffix that is not an image's",
            "Give them their own suffix if they should count.",
        ),
        _stray,
    ),
    (
        Kind(
            "FT124",
            "note",
            "images with several frames",
            "Save the frames as files of their own if they should count.",
        ),
        _frames,
    ),
    *((kind, _listed(kind.code)) for kind in data.LAYOUTS),
    (
        Kind(
            "FT155",
            "warning",
            "classes that are probably one",
            "Put their images into one folder, or call them by names that differ in more.",
        ),
        _class_twins,
    ),
    (
        Kind(
            "FT125",
            "note",
            "images of one colour",
            "Remove them if they are accidents. More than a tenth, or most of a class, is a "
            "warning, more than half an error: then `auto` tunes nothing.",
        ),
        _plain,
    ),
    (
        Kind(
            "FT126",
            "warning",
            "images that their transparency hides",
            "Save them without transparency (a channel that is no alpha makes them invisible), or "
            "on a ground on which they show.",
        ),
        _hidden,
    ),
    (
        Kind(
            "FT130",
            "note",
            "classes that the backbone was trained on",
            "It has seen such pictures, perhaps these: the accuracy overstates.",
        ),
        _known,
    ),
    (
        Kind(
            "FT131",
            "warning",
            "classes of a single image",
            "Add images: one cannot be both learnt from and tested on.",
        ),
        _single,
    ),
    (
        Kind(
            "FT132",
            "warning",
            "classes missing from a split",
            "Add images of them: three different ones are needed for a place in each split.",
        ),
        _missing,
    ),
    (
        Kind(
            "FT133",
            "note",
            "imbalance",
            "Judge by balanced accuracy and the recall of each class.",
        ),
        _imbalance,
    ),
    (
        Kind("FT134", "warning", "tiny images", "Replace them by larger ones, or remove them."),
        _tiny,
    ),
    (
        Kind(
            "FT135",
            "note",
            "very long or high images",
            "Crop what matters: the network sees a square, and the ends are cut off.",
        ),
        _elongated,
    ),
    (Kind("FT136", "warning", "a class given away by its file format", _SAME_WAY), _by_format),
    (Kind("FT137", "warning", "a class given away by its size in pixels", _SAME_WAY), _by_size),
    (Kind("FT138", "warning", "a class given away by its colour mode", _SAME_WAY), _by_mode),
    (
        Kind(
            "FT139",
            "note",
            "letters, digits or directions",
            "Nothing to do; --flip 0.5 where a mirror image keeps its class.",
        ),
        _symbols,
    ),
)
