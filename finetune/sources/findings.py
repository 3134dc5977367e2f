"""Findings about files and folders: their codes, titles and hints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace

from finetune.records.dataset import Finding, FindingKind, Sample
from finetune.records.errors import safe_name
from finetune.sources.targets import Learned

# What the walk over the folders tells, in `scan`; keys are those of its notes.
LISTED: dict[str, FindingKind] = {
    "bare": FindingKind(
        "FT101",
        "warning",
        "ready-made split(s) without images: nothing is measured there",
        "Add images, or remove the folder to have the split made.",
    ),
    "beside": FindingKind(
        "FT102",
        "warning",
        "folder(s) beside train/ are not used",
        "Move them into train/ if they are classes.",
    ),
    "hidden": FindingKind("FT103", "note", "hidden or system file(s) left out", "Nothing to do."),
    "other": FindingKind("FT104", "note", "file(s) that are not images left out", "Nothing to do."),
    "loose": FindingKind(
        "FT105",
        "warning",
        "image(s) outside any class folder left out",
        "Move them into a class folder if they should count.",
    ),
    "nested": FindingKind(
        "FT106",
        "note",
        "image(s) in folders below a class folder; they belong to the first-level class",
        "Move deeper folders up if they are classes of their own.",
    ),
    "empty": FindingKind(
        "FT107",
        "warning",
        "class folder(s) without images left out",
        "Add images or remove the folder.",
    ),
    "encoding": FindingKind(
        "FT108", "warning", "file(s) whose name is not valid UTF-8 left out", "Rename them."
    ),
    "special": FindingKind(
        "FT109",
        "warning",
        "broken link(s), pipes or devices left out",
        "Remove them, or fix the links.",
    ),
    "foreign": FindingKind(
        "FT117",
        "warning",
        "picture(s) of a kind that is not read here left out",
        "Convert them to JPEG or PNG.",
    ),
    "masks": FindingKind(
        "FT153",
        "note",
        "mask(s) left out: they lie beside the pictures and are no examples of a class",
        "Nothing to do.",
    ),
    "unnamed": FindingKind(
        "FT154",
        "warning",
        "file(s) in whose names --label-from finds no label left out",
        "Rename them, or widen the expression.",
    ),
    "unlabeled": FindingKind(
        "FT157",
        "warning",
        "picture(s) listed without a label left out",
        "Give each of them a label, or take them out of the list.",
    ),
    "missing": FindingKind(
        "FT158",
        "warning",
        "picture(s) listed but not there left out",
        "Correct their paths, or take them out of the list.",
    ),
    "repeated": FindingKind(
        "FT159",
        "note",
        "picture(s) listed again with the same label, and counted once",
        "Nothing to do.",
    ),
    "crossed": FindingKind(
        "FT160",
        "warning",
        "picture(s) listed under two labels left out",
        "Keep one label for each of them.",
    ),
    "closed": FindingKind(
        "FT118",
        "warning",
        "file(s) or folder(s) that may not be read left out",
        "Change the permissions so that you may read them.",
    ),
}
# What was made of the folders; the text is put together in `scan`.
LAYOUT = FindingKind(
    "FT150",
    "note",
    "a layout other than one folder per class",
    "Nothing to do; if it is meant otherwise, give the folder that holds one folder per class.",
)
SPLIT_CLASS = FindingKind(
    "FT151",
    "note",
    "a class with the name of a split",
    "Nothing to do if it is a class; if not, take it out.",
)
SPLIT_CLASSES = FindingKind(
    "FT152",
    "warning",
    "classes that are perhaps splits",
    "If they are splits, move them out, or give them class folders: train/cat, test/cat.",
)
DEEPER = FindingKind(
    "FT156",
    "warning",
    "classes perhaps one level down",
    "If the deeper folders are the classes, give a folder that holds them side by side.",
)
LAYOUTS = (LAYOUT, SPLIT_CLASS, SPLIT_CLASSES, DEEPER)
RARE = FindingKind(
    "FT161",
    "warning",
    "label(s) of a single image left out",
    "Add images that have them: one cannot be both learned from and measured on.",
)
ALWAYS = FindingKind(
    "FT162",
    "warning",
    "label(s) that every image has left out",
    "Add images that lack them: as it is there is nothing to tell apart.",
)
BARE = FindingKind(
    "FT163",
    "note",
    "image(s) have no label: taken as having none of them",
    "Take out of the list what nobody has labelled yet.",
)
OF_LABELS = (RARE, ALWAYS, BARE)
TARGET = FindingKind(
    "FT164",
    "note",
    "several labels, or a number, are learned of each image",
    "Nothing to do; --target classes takes each different cell for a class.",
)
COPIES = FindingKind(
    "FT110",
    "note",
    "exact copies",
    "Remove them if they were not meant to count twice. Splits made here keep copies together.",
)
CROSSED = FindingKind(
    "FT111", "warning", "image(s) lie under two labels", "Keep one label for each of them."
)
LEAKED = FindingKind(
    "FT112",
    "warning",
    "test image(s) are exact copies of images trained on",
    "Remove them from test/ or val/: the accuracy measured there is too good by as much.",
)
# the same in `evaluate`, whose images need not lie in a test/
SEEN = replace(
    LEAKED,
    title="image(s) are exact copies of images trained on",
    hint="Leave them out with --unseen: the accuracy is too good by as much.",
)
SCALED = FindingKind(
    "FT127",
    "note",
    "a scale for pictures of more than 8 bits",
    "Nothing to do: the run keeps it, and every picture is scaled by it from now on.",
)
UNREADABLE = FindingKind(
    "FT120",
    "warning",
    "image(s) cannot be read and were left out",
    "Repair or remove them; --on-bad-image error stops instead.",
)


def of(learned: Learned) -> tuple[Finding, ...]:
    """What was noticed of labels or numbers, and that these are learned."""
    target, said = learned.target, []
    many = len(target.names)
    what = f"{many} labels, of which an image has any" if target.kind == "labels" else "a number"
    what = f"{many} numbers" if target.kind == "number" and many > 1 else what
    said.append(TARGET.finding(safe_name(f"target: {what} ({target.reason})"), ()))
    for kind, names, paths in (
        (RARE, [*learned.rare], [p for found in learned.rare.values() for p in found]),
        (ALWAYS, [*learned.always], []),
    ):
        if names:
            some = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
            said.append(kind.finding(safe_name(f"{len(names)} {kind.title}: {some}"), paths))
    if learned.bare:
        said.append(BARE.finding(f"{len(learned.bare)} {BARE.title}", learned.bare))
    return tuple(said)


def copies(samples: Sequence[Sample]) -> tuple[Finding, ...]:
    """Findings about exact copies: alike, and labelled differently (which teaches noise)."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.digest].append(sample)
    twins = [g for g in groups.values() if len(g) > 1]
    crossed = [g for g in twins if len({s.values or s.label for s in g}) > 1]
    found = []
    if twins:
        text = f"{sum(len(g) - 1 for g in twins)} {COPIES.title}"
        found.append(COPIES.finding(text, [s.path for g in twins for s in g]))
    if crossed:
        other = any(s.values for g in crossed for s in g)
        text = f"{len(crossed)} {'image(s) are labelled differently' if other else CROSSED.title}"
        found.append(CROSSED.finding(text, [s.path for g in crossed for s in g]))
    return tuple(found)


def unreadable(samples: Sequence[Sample], messages: Sequence[str]) -> tuple[Finding, ...]:
    """A finding that names images which could not be decoded; none where there are none."""
    if not samples:
        return ()
    text = f"{len(samples)} {UNREADABLE.title}: {messages[0]}"
    return (UNREADABLE.finding(text, [s.path for s in samples]),)


KNOWN_HELD = FindingKind(
    "FT161",
    "warning",
    "image(s) of the ready-made validation or test have taught the run that was started from: what "
    "is measured there is too good",
    "Move them to train, or hold out images that no run has learnt from.",
)
KNOWN_ALL = FindingKind(
    "FT162",
    "warning",
    "images have taught the run that was started from, and the others are too few to judge by: "
    "estimates are too good",
    "Add images that it has not seen, or leave out --weights.",
)


def leaks(
    fitting: Sequence[Sample], test: Sequence[Sample], kind: FindingKind = LEAKED
) -> tuple[Finding, ...]:
    """A finding when exact copies of fitted images stand among those that are measured."""
    return known({s.digest for s in fitting}, test, kind)


def known(
    digests: Collection[str], held: Sequence[Sample], kind: FindingKind = KNOWN_HELD
) -> tuple[Finding, ...]:
    """A finding where some of the images that are measured have these digests."""
    seen = set(digests)
    found = [s.path for s in held if s.digest in seen]
    return (kind.finding(f"{len(found)} {kind.title}", found),) if found else ()
