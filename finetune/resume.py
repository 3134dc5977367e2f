"""A training that may be killed: what it has done so far is kept beside the place of its run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy.typing as npt

from finetune import disk, locks
from finetune.errors import BusyError, RunError, TakenError, UsageError, safe_name
from finetune.records import (
    Begun,
    FitProgress,
    Forecast,
    Listener,
    Request,
    RunFacts,
    RunResult,
    Splits,
    from_json,
    to_json,
)

T = TypeVar("T")

SUFFIX = ".partial"
STATE = "begun.json"
FIT = ".safetensors"
RUN, BEFORE = "run", "before"
# All that a training puts into its folder; SCRATCH is what a killed one leaves.
OUR_FILE = re.compile(rf"begun\.json|[0-9a-f]{{16}}{re.escape(FIT)}")
SCRATCH = re.compile(r"finetune-[a-z0-9_]{8}")
RUN_FILES = frozenset(
    {
        *("run.json", "result.json", "splits.json", "history.jsonl", "report.html"),
        *("model.safetensors", "inference.xml", "inference.bin"),
    }
)
# An epoch is kept when so many times the seconds have passed that keeping one takes, which costs a
# twentieth of the time at most.
PAUSE = 20
# What may differ between two requests for the same training.
FREE = frozenset({"root", "out", "command", "resume"})
BY_RULE = "by rule"


@dataclass
class Slot:
    """The place of one fit's progress: a single file, so that it is whole or absent.

    `final` says that the fit gives the model itself, and not only a proof of its recipe.
    """

    file: Path
    final: bool = False
    _ready: float = field(default=0.0, init=False)

    def read(self) -> tuple[dict[str, npt.NDArray[Any]], FitProgress] | None:
        """The arrays and facts of the last epoch kept; None where there is none.

        Raises:
            RunError: the file is damaged.
        """
        from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - only to tune

        if not self.file.exists():
            return None
        try:
            with safe_open(self.file, framework="np") as content:
                facts = from_json((content.metadata() or {})["facts"], FitProgress)
                names = content.keys()
                return {name: content.get_tensor(name) for name in names}, facts
        except (OSError, SafetensorError, KeyError, msgspec.MsgspecError) as error:
            raise RunError(
                f"cannot read {self.file}: {error}",
                hint=f"Remove {self.file.parent} and train anew.",
            ) from error

    @property
    def due(self) -> bool:
        """Whether so much was done since the last epoch that was kept that it is worth its time."""
        return time.monotonic() >= self._ready

    def keep(self, arrays: dict[str, npt.NDArray[Any]], facts: FitProgress) -> None:
        """Replace what was kept.

        Raises:
            RunError: the disk is full, or the place cannot be written; what was kept stays.
        """
        began = time.monotonic()
        from safetensors.numpy import save  # noqa: PLC0415 - only to tune

        with _told(self.file.parent):
            disk.put(self.file, save(arrays, metadata={"facts": to_json(facts)}))
        now = time.monotonic()
        self._ready = now + PAUSE * (now - began)


class Progress:
    """The folder of a training that is under way, held by this process alone.

    `over` says that nothing in it is of use any more, so that it is removed at the end.
    """

    def __init__(self, folder: Path, begun: Begun) -> None:
        self.folder = folder
        self.begun = begun
        self.over = False

    @property
    def aside(self) -> Path:
        """Where a run is written before it is renamed to its place."""
        return self.folder / RUN

    @property
    def replaced(self) -> Path:
        """Where an interrupted run goes when a better one takes its place."""
        return self.folder / BEFORE

    @property
    def fits(self) -> list[Path]:
        """The files of the fits of which an epoch has been kept."""
        return _fits(self.folder)

    @property
    def worth_keeping(self) -> bool:
        """Whether --resume could go on from here."""
        return not self.over and (bool(self.fits) or self.earlier is not None)

    @property
    def earlier(self) -> RunResult | None:
        """The run that this training has written already: interrupted, or all of it."""
        return _written(self.begun)

    def slot(self, *parts: bytes, final: bool = False) -> Slot:
        """The place of one fit, which is told from the training's others by some bytes."""
        key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
        return Slot(self.folder / f"{key}{FIT}", final)

    def begin(self) -> None:
        """Tell what is to be trained, so that a list of runs can."""
        if not _stored(self.folder / STATE, Begun):
            self._write(self.begun)

    def settle(self, splits: Splits, backbone: str, versions: dict[str, str]) -> None:
        """Tell what is trained on what, now that it is known.

        Raises:
            RunError: what was kept came of other images, weights or versions.
        """
        images = hashlib.sha256(to_json(splits).encode()).hexdigest()
        begun = replace(self.begun, images=images, backbone=backbone, versions=versions)
        if self.fits:
            _require_same(self.folder, self.begun, begun)
        self._write(begun)

    def keep_forecasts(self, forecasts: tuple[Forecast, ...]) -> None:
        """Remember the timing that a decision rests on: another day it would be another."""
        self._write(replace(self.begun, forecasts=forecasts))

    def keep_place(self, run: Path) -> None:
        """Remember where the run goes, so that one which is there is known to be ours."""
        self._write(replace(self.begun, run=absolute(run)))

    def _write(self, begun: Begun) -> None:
        with _told(self.folder):
            disk.put(self.folder / STATE, to_json(begun).encode())
        self.begun = begun


@contextlib.contextmanager
def opened(request: Request, home: Path, listener: Listener) -> Iterator[Progress]:
    """Hold the folder of a training's progress; it is removed unless there is something to keep.

    Args:
        request: What is to be trained; `resume` says whether to go on from what was kept.
        home: Where runs without `--out` go.
        listener: Hears what is gone on from.

    Raises:
        RunError: another process trains there, an unfinished training is there and `resume` was
            not asked for, what is there is of another request or not finetune's, or nothing can
            be written there.
        UsageError: that place, or the run's, lies in the data folder.
    """
    first = place(request, home)
    require_outside(request.root, home if request.out is None else Path(request.out), first)
    made = [p for p in first.parents if not p.exists()]
    with contextlib.ExitStack() as stack:
        folder = _claimed(first, request, stack)
        progress = None
        try:
            progress = Progress(folder, _begun(folder, request, home, listener))
            progress.begin()
            yield progress
        finally:
            gone = progress is not None and not progress.worth_keeping
            if gone:
                _remove(folder, made)
            stack.close()
            if gone and not locks.OPEN_FILES_CAN_GO:
                _remove(folder, made)


def _remove(folder: Path, made: Sequence[Path]) -> None:
    """Delete what was made for a training; what cannot go is told by the next one."""
    with contextlib.suppress(OSError):
        _empty(folder)
    for path in (folder, *made):
        with contextlib.suppress(OSError):  # something else is in it by now
            path.rmdir()


def _claimed(first: Path, request: Request, stack: contextlib.ExitStack) -> Path:
    """Hold a place for a training's progress, so that its run has a place, too.

    The same request may be under way several times where no `--out` tells the runs apart: each has
    a place of its own. With `resume` it is one that holds something to go on from.

    Raises:
        RunError: as `opened` has it.
    """
    if request.out is not None:
        stack.enter_context(_held(first))
        return first
    busy = free = None
    for folder in _numbered(first):
        try:
            here = stack.enter_context(contextlib.ExitStack())
            here.enter_context(_held(folder))
        except BusyError as error:
            busy = busy or error
            continue
        if (begun := unfinished(folder)) is not None and _worth(folder, begun):
            return folder
        if free is None:
            free = folder
        else:
            here.close()
    if busy is not None and request.resume:
        raise busy
    folder, number = free or first, 2
    while free is None:
        try:
            stack.enter_context(_held(folder))
            break
        except BusyError:
            folder, number = _at(first, number), number + 1
    return folder


def _numbered(first: Path) -> list[Path]:
    """The places of trainings of one request that are there, in their order."""
    stem = re.escape(first.name.removesuffix(SUFFIX))
    name = re.compile(rf"{stem}(?:-([0-9]{{1,6}}))?{re.escape(SUFFIX)}")
    try:
        names = [path.name for path in first.parent.iterdir()]
    except OSError:
        return []  # told when one is made
    found = [(int(match[1] or 1), n) for n in names if (match := name.fullmatch(n))]
    return [first.with_name(n) for _, n in sorted(found)]


def _at(first: Path, number: int) -> Path:
    return first.with_name(f"{first.name.removesuffix(SUFFIX)}-{number}{SUFFIX}")


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder that is ours, or is not there yet.

    Raises:
        RunError: somebody else's files are in it, or another training (`BusyError`).
    """
    with _told(folder):
        if unfinished(folder) is None:  # before anything of ours is put beside somebody's files
            _require_ours(folder)
    with contextlib.ExitStack() as stack:
        with _told(folder):
            stack.enter_context(disk.held(folder))
        yield


def place(request: Request, home: Path) -> Path:
    """The folder beside the run's place; without `--out`, one named after the request."""
    if request.out is not None:
        out = Path(request.out)
        return out.with_name(f"{out.name}{SUFFIX}") if out.name else out / SUFFIX
    asked = recorded(request)
    digest = hashlib.sha256(to_json(replace(asked, command="")).encode()).hexdigest()
    return home / f"{Path(asked.root).name[:50]}-{digest[:12]}{SUFFIX}"


def recorded(request: Request) -> Request:
    """The request as it is kept: it can be repeated from another folder, into another place."""
    weights = request.weights
    if weights is not None and os.path.exists(weights):  # noqa: PTH110 - raises for no name
        weights = absolute(weights)
    return replace(
        request,
        root=absolute(request.root),
        out=None,
        resume=False,
        weights=None if weights is None else safe_name(weights),
        command=safe_name(request.command),
    )


def unfinished(folder: Path) -> Begun | None:
    """What the training set out to do whose progress a folder holds; None where it holds none."""
    return _stored(folder / STATE, Begun)


def absolute(path: str | Path) -> str:
    """A path as it is recorded: from the root, without links, stray bytes spelt out.

    Path.resolve has no answer for a link that leads to itself; what it is is told later.
    """
    return safe_name(os.path.realpath(path))


def require_only_a_run(folder: Path) -> None:
    """An interrupted run is deleted when a better one takes its place: what else is there is not.

    Raises:
        TakenError: the folder holds something that is not the run's.
    """
    with _told(folder):
        others = [p.name for p in folder.iterdir() if p.name not in RUN_FILES]
    if others:
        raise TakenError(
            f"{folder} is to be replaced by the whole run, but holds {_some(others)}",
            hint="Move what is not the run's elsewhere.",
        )


def _begun(folder: Path, request: Request, home: Path, listener: Listener) -> Begun:
    """What is gone on with: what was kept, or a fresh start."""
    new, old = Begun(recorded(request)), unfinished(folder)
    if old is None and request.resume:
        done = _finished(home, new) if request.out is None else _taken(request.out, new)
        if done is not None:
            return done
    written = None if old is None else _written(old)
    worth = old is not None and _worth(folder, old)
    if old is not None and worth and request.resume:
        _require_same(folder, old, replace(old, request=new.request))
        return old
    if old is not None and worth and (written is None or written.stopped is not None):
        raise RunError(
            f"{folder} holds an unfinished training",
            hint=f"Add --resume to go on with it, or remove {folder} to train anew.",
        )
    if request.resume:
        listener.note(f"nothing to resume: no epoch was kept in {folder}; training from the start")
    with _told(folder):
        _require_ours(folder)
        _empty(folder, but=disk.LOCK)
    return new


def _worth(folder: Path, begun: Begun) -> bool:
    """Whether --resume could go on from what a folder holds."""
    return bool(_fits(folder)) or _written(begun) is not None


def require_outside(root: str, *places: Path) -> None:
    """Nothing is ever written into the data folder, nor below a link that stands for a class.

    Raises:
        UsageError: one of the places lies there.
    """
    folders = [os.path.realpath(root)]
    with contextlib.suppress(OSError), os.scandir(root) as entries:  # the scan will tell
        folders += [os.path.realpath(e.path) for e in entries if e.is_symlink() and e.is_dir()]
    for path in places:
        real = Path(os.path.realpath(path))
        if any(real.is_relative_to(folder) for folder in folders):
            raise UsageError(
                f"{path} lies in the data folder {root}, where nothing is written",
                hint="Give a place outside of it with --out, or run from another folder.",
            )


def _require_ours(folder: Path) -> None:
    """Nothing but what a training has put there may be deleted: a person may use such a name.

    Raises:
        RunError: the folder is a link, or holds anything else.
        OSError: it cannot be read.
    """
    if folder.is_symlink():
        raise RunError(
            f"{folder} is a link, and progress would be kept there",
            hint="Give another --out, or remove the link.",
        )
    there = folder.iterdir() if folder.exists() else ()
    # what another process has just removed is nobody's
    others = [path.name for path in there if not _ours(path) and os.path.lexists(path)]
    if others:
        raise RunError(
            f"{folder} holds files that are not finetune's, and progress would be kept there: "
            f"{_some(others)}",
            hint="Give another --out, or move them elsewhere.",
        )


def _some(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(sorted(names)[:3]) + (" …" if len(names) > 3 else "")


def _ours(path: Path) -> bool:
    """Whether a training has made this entry of its folder, as its name and kind tell."""
    if path.is_symlink():
        return False
    if path.is_dir():
        if path.name in (RUN, BEFORE):
            return all(disk.final(p.name) in RUN_FILES and p.is_file() for p in path.iterdir())
        return SCRATCH.fullmatch(path.name) is not None
    if path.name == disk.LOCK:
        return path.is_file() and not path.stat().st_size
    return path.is_file() and OUR_FILE.fullmatch(disk.final(path.name)) is not None


def _empty(folder: Path, but: str = "") -> None:
    """Delete what a training has put into its folder; what else is there by now stays."""
    # the lock last: who comes next starts with an empty folder
    for path in sorted(folder.iterdir(), key=lambda p: p.name == disk.LOCK):
        if path.name == but or not _ours(path):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _written(begun: Begun) -> RunResult | None:
    """The run in the place where this training has put its own, if it is one."""
    return None if begun.run is None else _stored(Path(begun.run) / "result.json", RunResult)


def _finished(home: Path, new: Begun) -> Begun | None:
    """The newest training of the same request whose finished run lies in a folder of runs."""
    found = []
    for file in home.glob("*/run.json"):
        facts = _stored(file, RunFacts)
        if facts is not None and _same(facts.request, new.request):
            found.append((facts.created, str(file.parent)))
    for _, run in sorted(found, reverse=True):
        result = _written(done := replace(new, run=run))
        if result is not None and result.stopped is None:
            return done
    return None


def _taken(out: str, new: Begun) -> Begun | None:
    """The same training where `--out` is its finished run; None where no run is there.

    Raises:
        RunError: a run of another training is there, or one that cannot be gone on with.
    """
    facts = _stored(Path(out) / "run.json", RunFacts)
    result = _written(done := replace(new, run=out))
    if facts is None or result is None or facts.request is None:
        return None  # whatever is there is told by who looks for a place
    if result.stopped is not None:
        raise RunError(
            f"{out} was stopped, and nothing was kept to go on from: {result.stopped.text}",
            hint="Train from the start: give another --out, or remove it first.",
        )
    if _same(facts.request, new.request):
        return done
    other = differing(facts.request, new.request)
    if facts.request.root != new.request.root:
        other.append(f"the folder of images was {facts.request.root}")
    raise RunError(
        f"{out} exists already, a finished run ({summary(result)}) with other options: "
        f"{'; '.join(other)}",
        hint=f"Train with these from the start: {_once_more(out, facts.request, new.request)}",
    )


def summary(result: RunResult) -> str:
    """What a run is, in a few words."""
    known = result.test or result.estimate
    images = "test images" if result.test else result.estimate_source
    return f"{result.strategy}, {known.accuracy:.1%} accuracy on {known.n} {images}"


def _same(asked: Request | None, new: Request) -> bool:
    return asked is not None and replace(asked, command="") == replace(new, command="")


def _once_more(out: str, old: Request, new: Request) -> str:
    """The command that repeats a run with other options, to paste."""
    words = ["finetune", "train"]
    if old.root != new.root:
        words.append(new.root)
    words += ["--from-run", out]
    for flag, before, now in _pairs(old, new):
        if before == now or now in (None, BY_RULE) or (flag == "--strict" and not now):
            continue
        if isinstance(now, bool):
            words.append(flag if now else flag.replace("--", "--no-", 1))
        else:
            words += [flag, str(now)]
    place, number = f"{out}-2", 3
    while os.path.lexists(place):
        place, number = f"{out}-{number}", number + 1
    return shlex.join([*words, "--out", place])


def _fits(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"[!.]*{FIT}"))


def _stored(file: Path, kind: type[T]) -> T | None:
    """The record in a file; None where there is none that can be read."""
    try:
        return from_json(file.read_bytes(), kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _require_same(folder: Path, old: Begun, new: Begun) -> None:
    """Two trainings are the same if nothing that their numbers depend on differs."""
    other = differing(old.request, new.request)
    other += [
        f"{name} was {old.versions.get(name)} and is {new.versions.get(name)}"
        for name in sorted(old.versions.keys() | new.versions.keys())
        if old.versions and old.versions.get(name) != new.versions.get(name)
    ]
    if old.images not in ("", new.images):
        other.append("the images, their names or their classes have changed")
    if old.backbone not in ("", new.backbone):
        other.append("the backbone's weights have changed")
    if other:
        raise RunError(
            f"{folder} holds another training: {'; '.join(other)}",
            hint=f"Ask for the same again (it was: {old.request.command}), or remove {folder} "
            "to train anew.",
        )


def differing(old: Request, new: Request) -> list[str]:
    """What two requests differ in, in words."""
    return [
        f"{name} was {before} and is {now}"
        for name, before, now in _pairs(old, new)
        if before != now
    ]


def _pairs(old: Request, new: Request) -> Iterator[tuple[str, Any, Any]]:
    """Each option with both its values."""
    for name in (f.name for f in fields(Request) if f.name not in FREE | {"options"}):
        yield (
            f"--{name.replace('_', '-').removesuffix('-s')}",
            getattr(old, name),
            getattr(new, name),
        )
    for name in sorted(old.options.keys() | new.options.keys()):
        values = (options.get(name, BY_RULE) for options in (old.options, new.options))
        yield f"--{name.replace('_', '-')}", *values


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn what the system says into a fault with a path and a way on."""
    try:
        yield
    except BlockingIOError as error:
        raise BusyError(
            f"another training is under way in {folder}",
            hint="Wait for it, or give another --out.",
        ) from error
    except OSError as error:
        raise RunError(
            f"cannot keep the training's progress in {folder}: {error.strerror or error}",
            hint="Make room or give a place you may write to with --out; --resume goes on from "
            "what was kept.",
        ) from error
