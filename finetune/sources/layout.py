"""Which folders are splits and which are classes: taken where it is clear, else refused."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.records.errors import DataError
from finetune.sources import files, names, unclear_layouts
from finetune.sources.files import children_of, filled, holds, pictures_in
from finetune.sources.names import (
    IMAGE_WORDS,
    MASK_WORDS,
    OWN_NAMES,
    SIDE_WORDS,
    Role,
    is_word,
    role_of,
)

NAMES: dict[Role, str] = {"train": "training", "val": "validation", "test": "test"}
_DEPTH = 4  # folders that hold one folder and nothing else


@dataclass(frozen=True)
class Branch:
    """A folder of class folders; with `label`, a folder whose images are all of one class."""

    folder: Path
    label: str | None = None


@dataclass(frozen=True)
class Layout:
    """Where the labelled images of each split lie; all in `train` where none is ready-made.

    `text` says what was made of the folders where that is not what their names say in the README,
    `spoken` which these are; `beside` are folders that are not used, `tops` those whose own files
    belong to no class, `like_splits` classes that are called as splits are.
    """

    branches: dict[Role, tuple[Branch, ...]]
    ready: bool
    tops: tuple[Path, ...]
    text: str = ""
    spoken: tuple[Path, ...] = ()
    beside: tuple[Path, ...] = ()
    like_splits: tuple[Path, ...] = ()


def recognize(root: Path, pattern: re.Pattern[str] | None = None) -> Layout:
    """What there is to train on, validate and test.

    Args:
        root: The folder that was given.
        pattern: Finds labels in the names of files; None where folders have them.

    Raises:
        DataError: the names of folders look like splits, but not clearly.
    """
    top = _unwrapped(root)
    roles = _by_role(top)
    if pattern is not None:
        return _named(root, roles, pattern)
    if "train" in roles:
        train = _chosen(top, "train", roles["train"])
        if _has_classes(train) and not _is_class(train, roles):
            return _ready(root, top, roles)
    return _by_class_first(root, top) or _plain(root, top, roles)


def measured(root: Path, classes: Collection[str], *, named: bool = False) -> Layout:
    """What there is to measure on: the test of ready-made splits, else all; under `train`.

    A class of `classes` may be called as a split is.

    Raises:
        DataError: there are ready-made splits, but no test: which of them is meant is not clear.
    """
    # the folder given may be a split itself, and hold one of its own name
    top = _unwrapped(root, classes, role_of(root.name))
    by_class = None if named else _by_class_first(root, top, classes)
    if by_class is not None:
        _require_test(root, {role: of[0].folder for role, of in by_class.branches.items()})
        text = f"{by_class.text}; measured on test"
        return Layout({"train": by_class.branches["test"]}, False, (), text, by_class.spoken)
    roles = _by_role(top, classes)
    if not roles:
        text = "" if named else _where(root, top)
        there = (Branch(root if named else top),)
        return Layout({"train": there}, False, _above(root, top), text, (top,) if text else ())
    _require_test(root, {role: paths[0] for role, paths in roles.items()})
    test = _chosen(top, "test", roles["test"])
    inner = test if named else _unwrapped(test, classes, "test")
    text = "" if _documented(root, inner) else f"measured on {_under(root, inner)}"
    return Layout({"train": (Branch(inner),)}, False, (), text, (inner,) if text else ())


def _require_test(root: Path, there: dict[Role, Path]) -> None:
    if "test" in there:
        return
    split = there.get("val") or there["train"]
    raise DataError(
        f"{root} has {' and '.join(f'{p.name}/' for p in there.values())}, but no test/",
        hint=f"Give the folder to measure on: finetune evaluate {shlex.quote(str(split))}",
    )


def masks_below(folder: Path) -> tuple[Path, ...]:
    """The folders of masks in a class folder: they lie beside its images and show none of them."""
    children = [c for c in children_of(folder) if filled(c)]
    masks = tuple(c for c in children if is_word(c.name, MASK_WORDS))
    if any(is_word(c.name, IMAGE_WORDS) for c in children):
        return masks
    stems = {p.stem.lower() for p in pictures_in(folder)} if masks else set()
    return tuple(m for m in masks if _mostly_of(m, stems))


def _mostly_of(masks: Path, stems: Collection[str]) -> bool:
    """Whether the pictures in a folder are called as others are, which they are masks of then."""
    own = [names.unmasked(p.stem.lower()) for p in pictures_in(masks)]
    return bool(own) and 2 * sum(stem in stems for stem in own) > len(own)


def _unwrapped(folder: Path, known: Collection[str] = (), role: Role | None = None) -> Path:
    """The folder of classes or splits below folders that hold nothing else; else the folder itself.

    Beside the one folder of pictures there may be others with none, or with masks.

    Args:
        folder: Where to begin.
        known: Classes, which are no wrapping.
        role: The split that the folder is, whose name may come again: `seg_train/seg_train`.
    """
    here = folder
    for _ in range(_DEPTH):
        if holds(here):
            return folder
        full = [c for c in children_of(here) if filled(c)]
        inner = _only_pictures(full)
        if inner is None or inner.name in known:
            return here
        if role_of(inner.name) not in (None, role) or not children_of(inner):
            return here if role_of(inner.name) else folder
        here = inner
    return folder


def _only_pictures(full: Sequence[Path]) -> Path | None:
    """The only one of some folders that does not hold masks; None where there are more."""
    if len(full) == 1:
        return full[0]
    images = [p for p in full if is_word(p.name, IMAGE_WORDS)]
    masks = [p for p in full if is_word(p.name, MASK_WORDS)]
    return images[0] if len(images) == 1 and len(masks) == len(full) - 1 else None


def _by_role(top: Path, known: Collection[str] = ()) -> dict[Role, list[Path]]:
    roles: dict[Role, list[Path]] = defaultdict(list)
    for path in children_of(top):
        role = role_of(path.name)
        if role is not None and path.name not in known:
            roles[role].append(path)
    for paths in roles.values():
        _require_different(top, paths)
    return dict(roles)


def _require_different(top: Path, paths: Sequence[Path]) -> None:
    """Train/ beside train/ would lose one of them without a word."""
    known: dict[str, Path] = {}
    for path in paths:
        other = known.setdefault(path.name.lower(), path)
        if other != path:
            raise DataError(
                f"{top} has both {other.name}/ and {path.name}/",
                hint="Put their images into one of them.",
            )


def _chosen(top: Path, role: Role, paths: Sequence[Path]) -> Path:
    """The folder that is a split: one of the split's own names goes before the others."""
    own = [p for p in paths if p.name.lower() in OWN_NAMES] or list(paths)
    if len(own) == 1:
        return own[0]
    raise DataError(
        f"{top} has more than one {NAMES[role]} folder: {', '.join(p.name for p in own)}",
        hint=f"Keep one of them; {role}/ is the usual name.",
    )


def _has_classes(split: Path, known: Collection[str] = ()) -> bool:
    """Whether a split has class folders, and not only such as images/, masks/ or unlabeled/."""
    inner = _unwrapped(split, known, role_of(split.name))
    children = children_of(inner)
    full = [c for c in children if filled(c)]
    if not full:
        return bool(children) and not holds(inner)
    same = role_of(split.name)
    return not all(
        (is_word(c.name, SIDE_WORDS) or role_of(c.name) == same) and c.name not in known
        for c in full
    )


def _is_class(train: Path, roles: dict[Role, list[Path]]) -> bool:
    """Whether a train/ with folders in it is a class: others lie beside it that are made alike."""
    others = [p for p in children_of(train.parent) if _may_be_class(p)]
    if set(roles) != {"train"} or not others:
        return False
    own = {c.name for c in children_of(train)}
    alike = [not holds(p) and not own.isdisjoint(c.name for c in children_of(p)) for p in others]
    return holds(train) or (len(others) >= 2 and all(alike))


def _ready(root: Path, top: Path, roles: dict[Role, list[Path]]) -> Layout:
    """Ready-made splits with class folders."""
    chosen = {role: _chosen(top, role, paths) for role, paths in roles.items()}
    beside = tuple(p for p in children_of(top) if p not in chosen.values())
    others = [p for p in beside if _may_be_class(p)]
    if set(roles) == {"train"} and len(others) >= 2:
        raise DataError(
            f"{chosen['train']} may be a split, with the classes {_classes_of(chosen['train'])}, "
            f"or a class like {others[0].name}/ and {others[1].name}/ beside it",
            hint=f"Give {shlex.quote(str(chosen['train']))} if it is a split; if it is a class, "
            "rename it.",
        )
    train = _unwrapped(chosen["train"], (), "train")
    classes = {c.name for c in children_of(train)}
    order: tuple[Role, ...] = ("train", "val", "test")
    inner = {r: _unwrapped(chosen[r], classes, r) for r in order if r in chosen}
    inner["train"] = train
    unlabelled = [r for r in inner if r != "train" and not _has_classes(chosen[r], classes)]
    unlabelled = [role for role in unlabelled if filled(chosen[role])]
    branches: dict[Role, tuple[Branch, ...]] = {
        role: (Branch(path),) for role, path in inner.items() if role not in unlabelled
    }
    said = [
        f"{_under(root, path)} is the {NAMES[role]} split"
        for role, path in inner.items()
        if role not in unlabelled and not _documented(root, path)
    ]
    said += [
        f"{_under(root, chosen[role])} has pictures but no class folders: it is not used, and the "
        f"{NAMES[role]} split is made from {_under(root, train)}"
        for role in unlabelled
    ]
    spoken = tuple(inner[r] for r in inner if not _documented(root, inner[r]) or r in unlabelled)
    text = "; ".join([*said, *_not_used(root, top)])
    return Layout(branches, True, (*_above(root, top), top), text, spoken, beside)


def _documented(root: Path, path: Path) -> bool:
    """Whether a folder is called as the README says."""
    known = {*OWN_NAMES, "training", "testing"}
    return path.parent == root and path.name.lower() in known


def _by_class_first(root: Path, top: Path, known: Collection[str] = ()) -> Layout | None:
    """Splits below each class: `cat/train`, `cat/test`; None where classes have no such folders.

    Raises:
        DataError: some classes have them and others not, or none has a train.
    """
    full = [c for c in children_of(top) if filled(c)]
    if len(full) < (1 if known else 2) or any(role_of(c.name) for c in full if c.name not in known):
        return None
    below = {c: [s for s in children_of(c) if filled(s)] for c in full}
    if not any(len({role_of(s.name) for s in subs} - {None}) >= 2 for subs in below.values()):
        return None
    odd = [c for c in full if holds(c) or not all(role_of(s.name) for s in below[c])]
    if odd:
        even = next(c for c in full if sum(role_of(s.name) is not None for s in below[c]) >= 2)
        raise DataError(
            f"{top} has splits below the class {even.name}/ "
            f"({', '.join(s.name for s in below[even])}), but not all images of {odd[0].name}/ "
            "lie in such folders",
            hint="Sort every class in the same way: cat/train and cat/test, or better train/cat "
            "and test/cat.",
        )
    branches: dict[Role, tuple[Branch, ...]] = {}
    for label in full:
        roles = _by_role(label)
        for role, paths in roles.items():
            branch = Branch(_chosen(label, role, paths), label.name)
            branches[role] = (*branches.get(role, ()), branch)
    if "train" not in branches and not known:
        raise DataError(
            f"{top} has {' and '.join(f'{role}/' for role in sorted(branches))} below its classes, "
            "but no train/",
            hint="Call the folder with the images to learn from train/.",
        )
    called = dict.fromkeys(s.name for subs in below.values() for s in subs)
    text = f"the splits lie below the classes: {full[0].name}/ has {' and '.join(called)}"
    tops = (*_above(root, top), *full)
    return Layout(branches, True, tops, text, tuple(below[full[0]]))


def _plain(root: Path, top: Path, roles: dict[Role, list[Path]]) -> Layout:
    """One folder per class, none of them a split.

    Raises:
        DataError: they look like something else.
    """
    full = [c for c in children_of(top) if filled(c)]
    splits = {role: [p for p in paths if p in full] for role, paths in roles.items()}
    splits = {role: paths for role, paths in splits.items() if paths}
    like = tuple(p for paths in splits.values() for p in paths)
    others = [p for p in full if p not in like and _may_be_class(p)]
    if splits and len(others) < min(2, len(splits)):
        bare = [p for p in like if not _has_classes(p)]
        unclear_layouts.refuse_splits(root, top, like, bare)
    unclear_layouts.require_no_masks(top, full)
    unclear_layouts.require_no_mixture(top, full)
    unclear_layouts.require_no_copy(top, full)
    text = _where(root, top)
    return Layout(
        {"train": (Branch(top),)},
        ready=False,
        tops=_above(root, top),
        text=text,
        spoken=(top,) if text else (),
        like_splits=like,
    )


def _where(root: Path, top: Path) -> str:
    """That the classes lie deeper, and what beside them is not used; empty where they do not."""
    if top == root:
        return ""
    return "; ".join([f"the class folders lie in {_under(root, top)}", *_not_used(root, top)])


def _not_used(root: Path, top: Path) -> list[str]:
    """What lies beside the folders that lead from the root to the one of the classes."""
    way = {top, *top.parents}
    left = [p for folder in _above(root, top) for p in children_of(folder) if p not in way]
    return [f"not used: {', '.join(_under(root, p) for p in left)}"] if left else []


def _named(root: Path, roles: dict[Role, list[Path]], pattern: re.Pattern[str]) -> Layout:
    """Splits by folder, labels by the names of the files in them."""
    there = {role: [p for p in paths if filled(p)] for role, paths in roles.items()}
    used = [p for paths in there.values() for p in paths]
    beside = tuple(p for p in children_of(used[0].parent) if p not in used) if used else ()
    others = [p for p in beside if _may_be_class(p)]
    if not there.get("train") or (len(used) == 1 and others):
        return Layout({"train": (Branch(root),)}, False, ())
    branches: dict[Role, tuple[Branch, ...]] = {}
    said, spoken = [], []
    for role, paths in there.items():
        if not paths:
            continue
        path = _chosen(paths[0].parent, role, paths)
        labelled = any(names.found_in(pattern, p.name) for p in files.descend(path))
        if labelled or role == "train":
            branches[role] = (Branch(path),)
        if not labelled and role != "train":  # what a contest asks for
            said.append(
                f"no file in {_under(root, path)} has a label in its name: it is not used, and the "
                f"{NAMES[role]} split is made from the others"
            )
        elif not _documented(root, path):
            said.append(f"{_under(root, path)} is the {NAMES[role]} split")
        if not labelled or not _documented(root, path):
            spoken.append(path)
    tops = (*_above(root, used[0].parent), used[0].parent)
    return Layout(branches, True, tops, "; ".join(said), tuple(spoken), beside)


def _may_be_class(folder: Path) -> bool:
    """Whether a folder beside splits may be a class: it has pictures and no name that says else."""
    return role_of(folder.name) is None and not is_word(folder.name, SIDE_WORDS) and filled(folder)


def _classes_of(folder: Path) -> str:
    found = [c.name for c in children_of(folder)]
    return ", ".join(found[:3]) + (", …" if len(found) > 3 else "")


def _under(root: Path, path: Path) -> str:
    return "/".join(path.relative_to(root).parts or (path.name,)) + "/"


def _above(root: Path, top: Path) -> tuple[Path, ...]:
    """The folders from the root to the one that holds the classes, which is not among them."""
    return tuple(reversed([p for p in top.parents if p == root or root in p.parents]))
