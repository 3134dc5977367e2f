"""What may be wrong with a data set: one table of coded checks, each a small pure function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from finetune.data import (
    check_classes,
    check_copies,
    check_pictures,
    check_shortcuts,
    check_subject,
)
from finetune.data.check_copies import _SAME_WAY, READY_ONLY
from finetune.data.check_subject import Outcome, Subject
from finetune.records.choices import Status
from finetune.records.dataset import Check, Finding, FindingKind
from finetune.sources.findings import (
    COPIES,
    CROSSED,
    LAYOUTS,
    LEAKED,
    LISTED,
    OF_LABELS,
    TARGET,
    UNREADABLE,
)


def run(subject: Subject) -> tuple[Check, ...]:
    """Every check of the table, passed and not applicable ones too."""
    return tuple(_check(kind, look, subject) for kind, look in CHECKS)


def run_late(subject: Subject) -> tuple[Check, ...]:
    """Those that a ready-made test can fail and that its own reading does not make."""
    late = ((NEAR_LEAKED, check_copies.near_leaked), (GROUP_LEAKED, check_copies.group_leaked))
    return tuple(_check(kind, look, subject) for kind, look in late)


def findings(checks: Sequence[Check]) -> tuple[Finding, ...]:
    """The checks that did not pass, as a run records them."""
    return tuple(
        Finding(c.code, c.status, c.text, c.hint, c.paths)
        for c in checks
        if c.status != "passed" and c.status != "not-applicable"  # noqa: PLR1714 - mypy reads it
    )


def _check(kind: FindingKind, run: Callable[[Subject], Outcome], subject: Subject) -> Check:
    """Run one row of the table."""
    target = subject.dataset.target
    if target is not None and kind.code in OF_CLASSES:
        outcome = check_subject.void(f"it is about classes, and {target.kind} is learned")
    else:
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


def _listed(kind: FindingKind) -> Callable[[Subject], Outcome]:
    """A check that `data.scan` has done already; what another check tells of a file is left out."""

    def run(subject: Subject) -> Outcome:
        if kind.code in READY_ONLY and subject.dataset.layout == "plain":
            return check_subject.void("no ready-made splits")
        for finding in subject.dataset.findings:
            if finding.code != kind.code:
                continue
            paths, title = finding.paths, finding.title
            if not subject.strays.keys().isdisjoint(paths):
                paths = tuple(p for p in paths if p not in subject.strays)
                title = f"{len(paths)} {kind.title}"
            if paths or not finding.paths:
                return Outcome(title, True, numbers={"files": len(paths)}, paths=paths)
        if kind in (*OF_LABELS, TARGET) and subject.dataset.target is None:
            return check_subject.void("classes are learned")
        return check_subject.passed("none", files=0)

    return run


# Checks of classes: of labels and numbers, `classes` are what images are divided by, and no more.
OF_CLASSES = frozenset(
    ("FT121", "FT130", "FT131", "FT132", "FT133", "FT136", "FT137", "FT138", "FT155")
)
NEAR_LEAKED = FindingKind(
    "FT115",
    "warning",
    "near duplicates across ready-made splits",
    "Remove them from test/ or val/: what is measured there is too good.",
)
GROUP_LEAKED = FindingKind(
    "FT119",
    "warning",
    "groups across ready-made splits",
    "Move all images of a group into one split.",
)
CHECKS: tuple[tuple[FindingKind, Callable[[Subject], Outcome]], ...] = (
    *((kind, _listed(kind)) for kind in LISTED.values()),
    (COPIES, check_copies.copied(COPIES.code)),
    (CROSSED, check_copies.copied(CROSSED.code)),
    (LEAKED, check_copies.leaked),
    (
        FindingKind(
            "FT113",
            "note",
            "near duplicates",
            "Remove them if they were not meant to count twice. Splits made here keep them "
            "together; --near-duplicates ignore does not.",
        ),
        check_copies.near,
    ),
    (
        FindingKind(
            "FT114",
            "warning",
            "near duplicates under two labels",
            "Check the labels: one is wrong, or the classes differ in a very small detail.",
        ),
        check_copies.near_crossed,
    ),
    (NEAR_LEAKED, check_copies.near_leaked),
    (
        FindingKind(
            "FT116",
            "warning",
            "names that differ in case only",
            "Rename them: on other systems one overwrites the other.",
        ),
        check_copies.twins,
    ),
    (GROUP_LEAKED, check_copies.group_leaked),
    (UNREADABLE, check_pictures.unreadable),
    (
        FindingKind(
            "FT121",
            "error",
            "classes without a readable image",
            "Add images, or remove the class folder: training stops here.",
        ),
        check_pictures._no_readable,
    ),
    (
        FindingKind(
            "FT122", "note", "images of another format than their suffix", "Nothing to do."
        ),
        check_pictures.wrong_suffix,
    ),
    (
        FindingKind(
            "FT123",
            "warning",
            "images behind a suffix that is not an image's",
            "Give them their own suffix if they should count.",
        ),
        check_pictures.stray,
    ),
    (
        FindingKind(
            "FT124",
            "note",
            "images with several frames",
            "Save the frames as files of their own if they should count.",
        ),
        check_pictures.frames,
    ),
    *((kind, _listed(kind)) for kind in (*LAYOUTS, TARGET, *OF_LABELS)),
    (
        FindingKind(
            "FT155",
            "warning",
            "classes that are probably one",
            "Put their images into one folder, or call them by names that differ in more.",
        ),
        check_classes.class_twins,
    ),
    (
        FindingKind(
            "FT125",
            "note",
            "images of one color",
            "Remove them if they are accidents. More than a tenth, or most of a class, is a "
            "warning, more than half an error: then `auto` tunes nothing.",
        ),
        check_pictures.plain,
    ),
    (
        FindingKind(
            "FT126",
            "warning",
            "images hidden by their transparency",
            "Save them without transparency (a channel that is not alpha makes them invisible), or "
            "on a background on which they show.",
        ),
        check_pictures._hidden,
    ),
    (
        FindingKind(
            "FT130",
            "note",
            "classes that the backbone was trained on",
            "It was trained on such images, perhaps on these: the accuracy is optimistic.",
        ),
        check_classes.imagenet_classes,
    ),
    (
        FindingKind(
            "FT131",
            "warning",
            "classes of a single image",
            "Add images: a single one cannot be both trained and tested on.",
        ),
        check_classes.single,
    ),
    (
        FindingKind(
            "FT132",
            "warning",
            "classes missing from a split",
            "Add images of them: three different ones are needed for a place in each split.",
        ),
        check_classes.missing,
    ),
    (
        FindingKind(
            "FT133",
            "note",
            "imbalance",
            "Judge by balanced accuracy and the recall of each class.",
        ),
        check_classes.imbalance,
    ),
    (
        FindingKind(
            "FT134", "warning", "tiny images", "Replace them by larger ones, or remove them."
        ),
        check_pictures.tiny,
    ),
    (
        FindingKind(
            "FT135",
            "note",
            "very long or tall images",
            "Crop what matters: the network gets a square, and the ends are cut off.",
        ),
        check_pictures.elongated,
    ),
    (
        FindingKind("FT136", "warning", "a class given away by its file format", _SAME_WAY),
        check_shortcuts.by_format,
    ),
    (
        FindingKind("FT137", "warning", "a class given away by its size in pixels", _SAME_WAY),
        check_shortcuts.by_size,
    ),
    (
        FindingKind("FT138", "warning", "a class given away by its color mode", _SAME_WAY),
        check_shortcuts.by_mode,
    ),
    (
        FindingKind(
            "FT139",
            "note",
            "letters, digits or directions",
            "Nothing to do; --flip 0.5 where a mirror image keeps its class.",
        ),
        check_classes.symbol_names,
    ),
)
