"""Which folders are splits and which are classes: taken where it is clear, else refused."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune import data, names
from finetune.data import children_of, filled, holds
from finetune.errors import DataError
from finetune.names import IMAGE_WORDS, MASK_WORDS, OWN_NAMES, SIDE_WORDS, Role, is_word, role_of

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


def recognize(root: Path, *, named: bool = False) -> Layout:
    """What there is to train on, validate and test.

    Args:
        root: The folder that was given.
        named: Labels are in the names of files, not of folders.

    Raises:
        DataError: the names of folders look like splits, but not clearly.
    """
    top = _unwrapped(root)
    roles = _by_role(top)
    if named:
        return _named(root, roles)
    if "train" in roles:
        train = _chosen(top, "train", roles["train"])
        if _has_classes(train):
            return _ready(root, top, roles)
    return _by_class_first(root, top) or _plain(root, top, roles)


def measured(root: Path, classes: Collection[str], *, named: bool = False) -> Layout:
    """What there is to measure on: the test of ready-made splits, else all; under `train`.

    A class of `classes` may be called as a split is.

    Raises:
        DataError: there are ready-made splits, but no test: which of them is meant is not clear.
    """
    top = _unwrapped(root, classes)
    by_class = None if named else _by_class_first(root, top, classes)
    if by_class is not None:
        _require_test(root, {role: of[0].folder for role, of in by_class.branches.items()})
        text = f"{by_class.text}; measured is test"
        return Layout({"train": by_class.branches["test"]}, False, (), text, by_class.spoken)
    roles = _by_role(top, classes)
    if not roles:
        return Layout({"train": (Branch(root if named else top),)}, False, _above(root, top))
    _require_test(root, {role: paths[0] for role, paths in roles.items()})
    test = _chosen(top, "test", roles["test"])
    inner = test if named else _unwrapped(test, classes, "test")
    text = "" if inner == root / test.name else f"measured is {_under(root, inner)}"
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
    if not any(is_word(c.name, IMAGE_WORDS) for c in children):
        return ()
    return tuple(c for c in children if is_word(c.name, MASK_WORDS))


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
    name = {"train": "training", "val": "validation", "test": "test"}[role]
    raise DataError(
        f"{top} has more than one {name} folder: {', '.join(p.name for p in own)}",
        hint=f"Keep one of them; {role}/ is the usual name.",
    )


def _has_classes(split: Path) -> bool:
    """Whether a split has class folders, and not only one of pictures and perhaps one of masks."""
    inner = _unwrapped(split, (), role_of(split.name))
    children = children_of(inner)
    full = [c for c in children if filled(c)]
    if not full:
        return bool(children) and not holds(inner)
    bare = IMAGE_WORDS | MASK_WORDS
    same = role_of(split.name)
    return not all(is_word(c.name, bare) or role_of(c.name) == same for c in full)


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
            "call it otherwise.",
        )
    inner = {role: _unwrapped(path, (), role) for role, path in chosen.items()}
    unlabelled = [r for r in inner if r != "train" and not _has_classes(chosen[r])]
    unlabelled = [role for role in unlabelled if filled(chosen[role])]
    branches: dict[Role, tuple[Branch, ...]] = {
        role: (Branch(path),) for role, path in inner.items() if role not in unlabelled
    }
    said = [
        f"{_under(root, path)} is {role}"
        for role, path in inner.items()
        if role not in unlabelled and not _documented(root, path)
    ]
    said += [
        f"{_under(root, chosen[role])} has pictures but no class folders: it is not used, and "
        f"{role} is made from {_under(root, inner['train'])}"
        for role in unlabelled
    ]
    spoken = tuple(inner[r] for r in inner if not _documented(root, inner[r]) or r in unlabelled)
    return Layout(branches, True, _above(root, top), "; ".join(said), spoken, beside)


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
            hint="Sort every class alike: cat/train and cat/test, or better train/cat and "
            "test/cat.",
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
        _refuse_splits(root, top, like)
    _require_no_masks(top, full)
    _require_no_mixture(top, full)
    text = f"the class folders lie in {_under(root, top)}" if top != root else ""
    return Layout(
        {"train": (Branch(top),)},
        ready=False,
        tops=_above(root, top),
        text=text,
        spoken=(top,) if text else (),
        like_splits=like,
    )


def _refuse_splits(root: Path, top: Path, like: Sequence[Path]) -> None:
    """Pictures right in folders that are called as splits, or splits without a train."""
    called = " and ".join(f"{p.name}/" for p in like)
    if any(_has_classes(p) for p in like):
        raise DataError(
            f"{top} has {called}, but no train/: names of splits are no classes",
            hint=f"To train on {like[0].name}/ alone give it: {shlex.quote(str(like[0]))}",
        )
    raise DataError(
        f"{top} has pictures right in {called}: names of splits are no classes, and there are no "
        f"class folders below them{_looks_like(root, top, like)}",
        hint=label_hint([p for p in like if role_of(p.name) == "train"] or like)
        or f"Put the pictures of each class into a folder named after it: {top}/train/cat/1.jpg, "
        f"{top}/train/dog/2.jpg.",
    )


def _named(root: Path, roles: dict[Role, list[Path]]) -> Layout:
    """Splits by folder, labels by the names of the files in them."""
    full = {r: [p for p in paths if filled(p)] for r, paths in roles.items()}
    there = {role: paths for role, paths in full.items() if paths}
    top = next((p.parent for paths in there.values() for p in paths), root)
    used = [p for paths in there.values() for p in paths]
    beside = tuple(p for p in children_of(top) if p not in used)
    others = [p for p in beside if _may_be_class(p)]
    if "train" not in there or (len(there) == 1 and others):
        return Layout({"train": (Branch(root),)}, False, ())
    chosen = {role: _chosen(top, role, paths) for role, paths in there.items()}
    said = [f"{_under(root, p)} is {r}" for r, p in chosen.items() if not _documented(root, p)]
    branches: dict[Role, tuple[Branch, ...]] = {r: (Branch(p),) for r, p in chosen.items()}
    return Layout(
        branches, True, _above(root, top), "; ".join(said), tuple(chosen.values()), beside
    )


def _require_no_masks(top: Path, full: Sequence[Path]) -> None:
    masks = [p for p in full if is_word(p.name, MASK_WORDS)]
    images = [p for p in full if is_word(p.name, IMAGE_WORDS)]
    if masks and images and len(masks) + len(images) == len(full):
        raise DataError(
            f"{top} has pictures in {images[0].name}/ and {masks[0].name}/: that looks like "
            "segmentation, with a mask for each picture, and not like classes",
            hint=f"Put the pictures of {images[0].name}/ into one folder per class, without the "
            "masks.",
        )


def _require_no_mixture(top: Path, full: Sequence[Path]) -> None:
    """`train_cat` and `test_cat` are two splits of one class."""
    kinds: dict[tuple[str, ...], set[Role]] = defaultdict(set)
    for path in full:
        roles, rest = names.roles_in(path.name)
        if rest and len(roles) == 1:
            kinds[tuple(rest)] |= roles
    mixed = [rest for rest, roles in kinds.items() if len(roles) >= 2]
    if mixed:
        label = "_".join(mixed[0])
        raise DataError(
            f"{top} has folders that name a split and a class at once, such as those of '{label}': "
            "splits of one class are no two classes",
            hint=f"Move them: train/{label}/ and test/{label}/.",
        )


def _may_be_class(folder: Path) -> bool:
    """Whether a folder beside splits may be a class: it has pictures and no name that says else."""
    return role_of(folder.name) is None and not is_word(folder.name, SIDE_WORDS) and filled(folder)


def _looks_like(root: Path, top: Path, like: Sequence[Path]) -> str:
    """What else lies there tells what the folder was made for."""
    files = {p.name for folder in (root, top, *like) for p in _listed(folder) if p.is_file()}
    folders = {p.name.lower() for p in (*_listed(root), *_listed(top), *_listed(top.parent))}
    if "_classes.csv" in files:
        return "; _classes.csv tells a multi-label export of Roboflow"
    if "_annotations.coco.json" in files or "annotations" in folders:
        return "; the annotations tell a set for detection, such as COCO"
    if "data.yaml" in files or "labels" in folders or any((p / "labels").is_dir() for p in like):
        return "; labels/ or data.yaml tell a set for detection, such as YOLO"
    tables = sorted(name for name in files if name.lower().endswith((".csv", ".tsv", ".xlsx")))
    return f"; the labels are perhaps in {tables[0]}" if tables else ""


def label_hint(folders: Sequence[Path]) -> str:
    """What to try where the names of files look like labels; empty where they do not."""
    files = sorted(p.name for folder in folders for p in data.descend(folder) if _is_picture(p))
    found = names.suggested(files)
    if found is None:
        return ""
    return (
        f"The names of the files look like labels ({files[0]}, {files[-1]}): add "
        f"--label-from {shlex.quote(found)}"
    )


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in data.IMAGE_SUFFIXES


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _classes_of(folder: Path) -> str:
    found = [c.name for c in children_of(folder)]
    return ", ".join(found[:3]) + (", …" if len(found) > 3 else "")


def _under(root: Path, path: Path) -> str:
    return "/".join(path.relative_to(root).parts or (path.name,)) + "/"


def _above(root: Path, top: Path) -> tuple[Path, ...]:
    """The folders from the root to the one that holds the classes, which is not among them."""
    return tuple(reversed([p for p in top.parents if p == root or root in p.parents]))
