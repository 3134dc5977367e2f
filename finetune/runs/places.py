"""The place of a run and of its progress: claimed, ours, and outside of the data."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec

from finetune.records.codec import from_json, to_json
from finetune.records.errors import (
    BusyError,
    RunError,
    TakenError,
    UsageError,
    cause,
    refusals,
    safe_name,
)
from finetune.records.file_names import BEGUN, OF_A_RUN, RESULT
from finetune.records.options import Options, OutputOptions, Request, flat
from finetune.records.run import RunResult
from finetune.records.target_result import TargetResult
from finetune.records.training import Begun
from finetune.sources.files import lies_in_data
from finetune.storage import atomic_files

T = TypeVar("T")
SUFFIX = ".partial"
FIT = ".safetensors"
RUN, BEFORE = "run", "before"
# All that a training puts into its folder; SCRATCH is what a killed one leaves.
OUR_FILE = re.compile(rf"{re.escape(BEGUN)}|[0-9a-f]{{16}}{re.escape(FIT)}")
SCRATCH = re.compile(r"finetune-[a-z0-9_]{8}")
BY_RULE = "by rule"


def claimed(first: Path, asked: OutputOptions, stack: contextlib.ExitStack) -> Path:
    """Hold a place for a training's progress, so that its run has a place, too.

    The same request may be under way several times where no `--out` tells the runs apart: each has
    a place of its own. With `resume` it is one that holds something to go on from.

    Raises:
        RunError: as `opened` has it.
    """
    if asked.out is not None:
        stack.enter_context(held(first))
        return first
    busy = free = None
    for folder in _numbered(first):
        try:
            here = stack.enter_context(contextlib.ExitStack())
            here.enter_context(held(folder))
        except BusyError as error:
            busy = busy or error
            continue
        if (begun := unfinished(folder)) is not None and worth_going_on(folder, begun):
            return folder
        if free is None:
            free = folder
        else:
            here.close()
    if busy is not None and asked.resume:
        raise busy
    folder, number = free or first, 2
    while free is None:
        try:
            stack.enter_context(held(folder))
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
def held(folder: Path) -> Iterator[None]:
    """Hold a folder that is ours, or is not there yet.

    Raises:
        RunError: somebody else's files are in it, or another training (`BusyError`).
    """
    with told(folder):
        if unfinished(folder) is None:  # before anything of ours is put beside somebody's files
            require_ours(folder)
    with contextlib.ExitStack() as stack:
        with told(folder):
            stack.enter_context(atomic_files.held(folder))
        yield


def place(options: Options, home: Path) -> Path:
    """The folder beside the run's place; without `--out`, one named after the request."""
    if options.output.out is not None:
        out = Path(options.output.out)
        return out.with_name(f"{out.name}{SUFFIX}") if out.name else out / SUFFIX
    asked = recorded(options)
    digest = hashlib.sha256(to_json(replace(asked, command="")).encode()).hexdigest()
    return home / f"{Path(asked.root).name[:50]}-{digest[:12]}{SUFFIX}"


def recorded(options: Options) -> Request:
    """The options as they are kept: to be repeated from another folder, into another place."""
    weights, prior = options.backbone.weights, options.decision.prior
    run = options.backbone.start_from
    if prior not in ("train", "uniform"):
        prior = absolute(prior)
    if weights is not None and os.path.exists(weights):  # noqa: PTH110 - raises for no name
        weights = absolute(weights)
    return replace(
        flat(options),
        root=absolute(options.data.root),
        out=None,
        resume=False,
        prior=prior,
        weights=None if weights is None else safe_name(weights),
        start_from=None if run is None else absolute(run),
        command=safe_name(options.output.command),
    )


def unfinished(folder: Path) -> Begun | None:
    """What the training set out to do whose progress a folder holds; None where it holds none."""
    return stored(folder / BEGUN, Begun)


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
    with told(folder):
        others = [p.name for p in folder.iterdir() if p.name not in OF_A_RUN]
    if others:
        raise TakenError(
            f"{folder} is to be replaced by the finished run, but holds {some(others)}",
            hint="Move what is not the run's elsewhere.",
        )


def worth_going_on(folder: Path, begun: Begun) -> bool:
    """Whether --resume could go on from what a folder holds."""
    return bool(fits(folder)) or written_run(begun) is not None


def require_outside(root: str, *places: Path) -> None:
    """Nothing is ever written into the data folder, nor below a link that stands for a class.

    Raises:
        UsageError: one of the places lies there.
    """
    for path in places:
        if lies_in_data(path, root):
            raise UsageError(
                f"{path} lies in the data folder {root}, where nothing is written",
                hint="Give a place outside of it with --out, or run from another folder.",
            )


def require_ours(folder: Path) -> None:
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
            f"{some(others)}",
            hint="Give another --out, or move them elsewhere.",
        )


def some(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(sorted(names)[:3]) + (" …" if len(names) > 3 else "")


def _ours(path: Path) -> bool:
    """Whether a training has made this entry of its folder, as its name and kind tell."""
    if path.is_symlink():
        return False
    if path.is_dir():
        if path.name in (RUN, BEFORE):
            return all(
                atomic_files.final(p.name) in OF_A_RUN and p.is_file() for p in path.iterdir()
            )
        return SCRATCH.fullmatch(path.name) is not None
    if path.name == atomic_files.LOCK:
        return path.is_file() and not path.stat().st_size
    return path.is_file() and OUR_FILE.fullmatch(atomic_files.final(path.name)) is not None


def empty(folder: Path, but: str = "") -> None:
    """Delete what a training has put into its folder; what else is there by now stays."""
    # the lock last: who comes next starts with an empty folder
    for path in sorted(folder.iterdir(), key=lambda p: p.name == atomic_files.LOCK):
        if path.name == but or not _ours(path):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def written_run(begun: Begun) -> RunResult | TargetResult | None:
    """The run in the place where this training has put its own, if it is one."""
    if begun.run is None:
        return None
    file = Path(begun.run) / RESULT
    return stored(file, RunResult) or stored(file, TargetResult)


def fits(folder: Path) -> list[Path]:
    """The files of the fits of which an epoch has been kept."""
    return sorted(folder.glob(f"[!.]*{FIT}"))


def stored(file: Path, kind: type[T]) -> T | None:
    """The record in a file; None where there is none that can be read."""
    try:
        return from_json(file.read_bytes(), kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def told(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Turn what the system says into a fault with a path and a way on."""

    def fault(error: OSError) -> RunError:
        if isinstance(error, BlockingIOError):
            return BusyError(
                f"another training is under way in {folder}",
                hint="Wait for it, or give another --out.",
            )
        return RunError(
            f"cannot keep the training's progress in {folder}: {cause(error)}",
            hint="Make room or give a place you may write to with --out; --resume goes on from "
            "what was kept.",
        )

    return refusals(fault)
