"""Files that commands write: refused before the work where they cannot be written."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from finetune.deploy.answer_files import no_formula
from finetune.pictures import file_kinds
from finetune.records.errors import UsageError, cause, refusals
from finetune.records.explanation import Explanation
from finetune.records.labels import Suggestion, SuspectLabel
from finetune.records.metrics import WrongAnswer
from finetune.records.target_result import FarAnswer
from finetune.sources.files import lies_in_data
from finetune.storage import atomic_files

_OTHER = "Give a file that you may write, in a folder that is there."


def require(flag: str, path: Path, inputs: Sequence[Path], *, folder: Path | None = None) -> None:
    """Find out before anything is classified whether the answers may go to a file.

    Args:
        flag: The option that names it: `--csv`.
        path: The file.
        inputs: What is read, which is not to be overwritten.
        folder: The folder of images, into which nothing is ever written; None where single images
            are read.

    Raises:
        UsageError: it is an image (`--csv photos/*.jpg` names the first of them), lies among the
            images, or cannot be written.
    """
    here = Path(os.path.realpath(path))
    named = path.suffix.lower() in file_kinds.suffixes() | file_kinds.FOREIGN_SUFFIXES
    if named or here in {Path(os.path.realpath(given)) for given in inputs}:
        raise UsageError(
            f"{flag} {path} is {'an image' if named else 'also to be classified'}: it would be "
            "overwritten",
            hint=f"Name a file for the answers after {flag}: {flag} out.csv.",
        )
    if folder is not None and lies_in_data(here, folder):
        raise UsageError(
            f"{flag} {path} lies in {folder}, the folder of images: nothing is written there",
            hint="Name a file in another folder.",
        )
    try:
        fault = _fault(path, here)
    except OSError as error:  # a folder on the way that may not be entered
        fault = cause(error)
    if fault:
        raise UsageError(f"cannot write {flag} {path}: {fault}", hint=_OTHER)


def _fault(path: Path, here: Path) -> str:
    """Why a file, whose links end `here`, cannot be written; empty where it can."""
    if path.is_dir():
        return "it is a folder"
    if _is_pipe(path):
        return ""
    if not here.parent.is_dir():
        return f"there is no folder {here.parent}"
    if here.exists() and not os.access(here, os.W_OK):
        return "no right to overwrite it"
    return "" if os.access(here.parent, os.W_OK | os.X_OK) else f"no right in {here.parent}"


def write_explanations(path: Path, found: Iterable[Explanation]) -> None:
    """`--csv` of `explain`: one row per image, with the box in pixels and what lies in it.

    Raises:
        UsageError: it cannot be written.
    """
    head = ["path", "class", "probability", "answer", "left", "upper", "right", "lower", "share"]
    rows: list[Sequence[object]] = []
    for e in found:
        name, label, answer, overlay, fault = (
            no_formula(t or "") for t in (e.path, e.label, e.answer, e.overlay, e.error)
        )
        box: list[object] = [""] * 6 if e.box is None else list(vars(e.box).values())
        likely = "" if e.probability is None else e.probability
        rows.append([name, label, likely, answer, *box, e.method or "", overlay, fault])
    _write("--csv", path, [*head, "area", "method", "overlay", "error"], rows)


def write_errors(path: Path, errors: Iterable[WrongAnswer]) -> None:
    """`--errors`: one row per wrong answer, the most confident first.

    Raises:
        UsageError: it cannot be written.
    """
    rows = [
        (*(no_formula(text) for text in (e.path, e.truth, e.answer)), e.probability) for e in errors
    ]
    _write("--errors", path, ["path", "truth", "answer", "probability"], rows)


def write_worst(path: Path, worst: Iterable[FarAnswer]) -> None:
    """`--errors` of labels and numbers: one row per answer, that with the largest loss first.

    Raises:
        UsageError: it cannot be written.
    """
    rows = [(*(no_formula(text) for text in (w.path, w.truth, w.answer)), w.loss) for w in worst]
    _write("--errors", path, ["path", "truth", "answer", "loss"], rows)


def write_suspects(path: Path, suspects: Iterable[SuspectLabel]) -> None:
    """`--csv` of `check --labels`: one row per label that looks wrong, the worst first.

    Raises:
        UsageError: it cannot be written.
    """
    rows = [
        (
            *(no_formula(text) for text in (s.path, s.given, s.suggested)),
            *(s.given_probability, s.suggested_probability, s.agreeing, s.compared),
            *(no_formula(path) for path in (*s.neighbors, "", "", "")[:3]),
        )
        for s in suspects
    ]
    head = ["path", "given", "suggested", "given_probability", "suggested_probability"]
    head += ["neighbors_agreeing", "neighbors", "similar_1", "similar_2", "similar_3"]
    _write("--csv", path, head, rows)


def write_suggestions(path: Path, suggestions: Iterable[Suggestion]) -> None:
    """`--csv` of `suggest`: one row per image to label, what helps most first.

    Raises:
        UsageError: it cannot be written.
    """
    rows = [
        (no_formula(s.path), no_formula(s.label), s.probability, s.margin, s.similar)
        for s in suggestions
    ]
    _write("--csv", path, ["path", "answer", "probability", "margin", "similar"], rows)


def _write(flag: str, path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """The file is whole, or as it was."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows(rows)
    put(flag, path, text.getvalue().encode())


def put(flag: str, path: Path, content: bytes) -> None:
    """Write a file that is whole, or as it was.

    Raises:
        UsageError: it cannot be written.
    """
    with refusals(
        lambda error: UsageError(f"cannot write {flag} {path}: {cause(error)}", hint=_OTHER)
    ):
        if _is_pipe(path):
            path.write_bytes(content)
        else:
            atomic_files.put(path.resolve(), content)  # a link stays one


def _is_pipe(path: Path) -> bool:
    """Whether it is there and no file, such as /dev/stdout: nothing can be renamed to it."""
    return path.exists() and not path.is_file()
