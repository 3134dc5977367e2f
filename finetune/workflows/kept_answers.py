"""The files of a `predict`: gone on with after a stop, and written once all is known."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from finetune.deploy import answer_files, sorting
from finetune.deploy.answer_files import FORMATS
from finetune.deploy.sorting import Sorter
from finetune.deploy.stream import Answer
from finetune.records.answer_files import AnswerFiles
from finetune.records.answers import Prediction
from finetune.records.errors import AnswersError, UsageError, cause, refusals
from finetune.sources.archives import Found
from finetune.storage import atomic_files
from finetune.storage.journal import Journal
from finetune.storage.npy_file import NpyFile

PART = ".part"
# Answers that are made again to know the run that made them: the first, and ever further ones.
_ASKED_AGAIN, _HELD = 8, 16_000_000
# How far they may be off, of a probability and of what is left of it to one; numbers of another CPU
# differ by 1e-5.
_CLOSE, _FLOAT32 = 1e-3, 2e-7


class KeptAnswers:
    """The answers so far, beside the file that they are for; then that file.

    Args:
        files: Where the answers go.
        width: Features of each picture, where they are wanted.
        columns: Classes in a row of a CSV file.

    Raises:
        AnswersError: answers of a stopped work are there and not to be gone on with, another
            process writes them, or they cannot be read.
        UsageError: they cannot be written.
    """

    def __init__(self, files: AnswerFiles, *, width: int, columns: int) -> None:
        self._files, self._columns = files, columns
        self._done = self._worth = False
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.place = self._chosen()
        base = self._base()
        with refusals(self._refused):
            try:
                self._journal = Journal(self.place)
            except BlockingIOError as error:
                raise AnswersError(
                    f"another predict is writing {self.place}", hint="Wait, or name another file."
                ) from error
        self._rows: NpyFile | None = None
        self.sorter = None if files.sort_into is None else Sorter(files.sort_into, files.sort_by)
        try:
            if base is not None:
                self._take_over(base)
            if files.features is not None:
                self._open_features(files.features, width)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._journal)

    def known(self) -> Iterator[Prediction]:
        """The answers that are there."""
        return answer_files.parsed(self._journal.lines())

    def pass_by(self, found: Iterator[Found]) -> list[tuple[Found, Prediction]]:
        """Go by the pictures whose answers are there.

        Returns:
            Some of them with their answers, to be asked again.

        Raises:
            AnswersError: the pictures are others than those that were answered.
        """
        again: list[tuple[Found, Prediction]] = []
        wanted = 0
        for number, there in enumerate(self.known()):
            now = next(found, None)
            if now is None or now.name != there.path:
                told = "there is none any more" if now is None else f"now it is {now.name}"
                raise AnswersError(
                    f"--resume: picture {number + 1} was {there.path} in {self.place}, and {told}",
                    hint=f"Give the same pictures, or delete {self.place} to begin again.",
                )
            if (
                number >= wanted
                and there.error is None
                and now.held < _HELD
                and len(again) < _ASKED_AGAIN
            ):
                again.append((now, there))
                wanted = 2 * number + 1
        return again

    def require_same(self, again: Sequence[Prediction], there: Sequence[Prediction]) -> None:
        """Refuse to mix answers of two runs, or of other options.

        Raises:
            AnswersError: a picture that was asked again has another answer.
        """
        csv_only = list(self._files.answers) == ["csv"]
        for new, old in zip(again, there, strict=True):
            if (new.label is None or old.label is None) and not _same_numbers(new, old):
                raise self._differs(f"{old.path} is {old.told} there, and now {new.told}")
            few = min(len(new.top), self._columns) if csv_only else len(new.top)
            if len(old.top) < few or (not csv_only and len(old.top) != few):
                raise self._differs(
                    f"{len(old.top)} classes are listed of {old.path}, and now {len(new.top)}"
                )
            for one, two in zip(new.top, old.top, strict=False):
                room = min(two.probability, 1 - two.probability)
                close = abs(one.probability - two.probability) <= _CLOSE * room + _FLOAT32
                if one.label != two.label or not close:
                    raise self._differs(
                        f"{old.path} is {two.label} with {two.probability:.6f} there, and this "
                        f"run says {one.label} with {one.probability:.6f}"
                    )
            if (new.standing, new.set) != (old.standing, old.set):
                raise self._differs(
                    f"{old.path} is {old.standing} there, its set {old.set}, and now it is "
                    f"{new.standing}, its set {new.set}"
                )

    def add(self, some: Sequence[tuple[Answer, Prediction]]) -> None:
        """Keep answers: first what belongs to them, then themselves.

        Raises:
            UsageError: they cannot be written.
        """
        with refusals(self._refused):
            if self.sorter is not None:
                for answer, prediction in some:
                    place = sorting.folder_of(prediction)
                    if place is not None and isinstance(answer.found, Found):
                        self.sorter.put(answer.found, place)
            if self._rows is not None:
                blank = np.full(self._rows.width, np.nan, np.float32)
                self._rows.add(
                    np.stack([blank if a.features is None else a.features for a, _ in some])
                )
            self._journal.add([answer_files.line(prediction) for _, prediction in some])
            self._worth = self._scratch is None

    def finish(self) -> None:
        """Write the files, each whole or as it was, and drop what was kept for going on.

        Raises:
            UsageError: one cannot be written; what was kept stays.
        """
        for name, path in self._files.answers.items():
            with refusals(
                lambda error, name=name, path=path: UsageError(  # type: ignore[misc]
                    f"cannot write --{name} {path}: {cause(error)}",
                    hint="Make room there, then give the same command with --resume.",
                )
            ):
                self._write(name, path)
        if self._rows is not None and self._files.features is not None:
            with refusals(self._refused):
                self._rows.close()
                atomic_files.flush(self._rows.path)
                self._rows.path.replace(self._files.features.resolve())
        self._done = True

    def close(self) -> bool:
        """Let go of all; says whether something was kept to go on from."""
        keep = self._worth and not self._done and len(self._journal) > 0
        self._journal.close(remove=not keep)
        if self._rows is not None and not self._done:
            self._rows.close()
            if not keep:
                self._rows.path.unlink(missing_ok=True)
        if self._scratch is not None:
            self._scratch.cleanup()
        return keep

    def _write(self, name: str, path: Path) -> None:
        kind = FORMATS[name]
        if path.exists() and not path.is_file():  # a pipe: nothing can be renamed to it
            with path.open("wb") as file:
                kind.write(file, self.known(), self._columns)
            return
        with atomic_files.writing(path.resolve()) as file:  # a link stays one
            kind.write(file, self.known(), self._columns)

    def _chosen(self) -> Path:
        """Where answers are kept until all are there: beside the first file that is no pipe."""
        for path in self._files.answers.values():
            if path.is_file() or not path.exists():
                return _part(path)
        self._scratch = tempfile.TemporaryDirectory(prefix="finetune-")
        return Path(self._scratch.name) / "answers"

    def _base(self) -> tuple[str, Path] | None:
        """The finished file to go on from, where there is no unfinished one."""
        begun = self._worth = self.place.exists() and self.place.stat().st_size > 0
        if begun and not self._files.resume:
            raise AnswersError(
                f"{self.place} has the answers of a predict that was stopped",
                hint=f"Add --resume to go on with them, or delete {self.place} to begin again.",
            )
        if begun or not self._files.resume or self._scratch is not None:
            return None
        ready = {n: p for n, p in self._files.answers.items() if p.is_file() and p.stat().st_size}
        name, path = next(iter(ready.items()), ("", Path()))
        if name == "csv" and len(self._files.answers) > 1:
            raise UsageError(
                f"--resume: {path} alone is there, and has too little for the other file",
                hint="Leave --resume out to begin again.",
            )
        return (name, path) if name else None

    def _take_over(self, base: tuple[str, Path]) -> None:
        name, path = base
        try:
            rows = iter(FORMATS[name].read(path))
            while some := list(itertools.islice(rows, 1000)):
                self._journal.add([answer_files.line(row) for row in some])
        except (ValueError, UnicodeDecodeError) as error:
            raise AnswersError(
                f"--resume: cannot go on with {path}: {error}",
                hint=f"Delete {path} to begin again.",
            ) from error

    def _open_features(self, path: Path, width: int) -> None:
        part = _part(path)
        if not self._files.resume or not len(self._journal):
            part.unlink(missing_ok=True)
        elif not part.exists() and path.is_file():
            shutil.copyfile(path, part)
        try:
            self._rows = NpyFile(part, width)
        except ValueError as error:
            raise AnswersError(
                f"--resume: cannot go on with {part}: {error}",
                hint=f"Delete {part} and {self.place} to begin again.",
            ) from error
        both = min(len(self._rows), len(self._journal))
        self._rows.cut(both)
        self._journal.cut(both)

    def _differs(self, how: str) -> AnswersError:
        return AnswersError(
            f"--resume: another run, or other options, made the answers in {self.place}: {how}",
            hint=f"Give those of the first time, or delete {self.place} to begin again.",
        )

    def _refused(self, error: OSError) -> UsageError:
        return UsageError(
            f"cannot write {error.filename or self.place}: {cause(error)}",
            hint="Make room there, or name files in another folder.",
        )


def _same_numbers(new: Prediction, old: Prediction) -> bool:
    """Whether two answers of labels or numbers are the same but for rounding."""

    def numbers(p: Prediction) -> dict[str, float]:
        return {
            **{f"label {r.label}": r.probability for r in p.labels or ()},
            **({} if p.value is None else {"value": p.value}),
            **(p.values or {}),
        }

    one, two = numbers(new), numbers(old)
    return one.keys() == two.keys() and all(
        abs(one[name] - value) <= _CLOSE * max(1.0, abs(value)) for name, value in two.items()
    )


def _part(path: Path) -> Path:
    real = Path(os.path.realpath(path))
    return real.with_name(real.name + PART)
