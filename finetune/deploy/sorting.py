"""Pictures put into a folder for each class; nothing that is there is ever overwritten."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from finetune.pictures.opening import Member
from finetune.records.answer_files import SortBy
from finetune.records.answers import Prediction
from finetune.records.errors import UsageError, cause, refusals
from finetune.sources.archives import Found
from finetune.sources.files import lies_in_data
from finetune.storage import atomic_files

_CHUNK = 1 << 20
_NOT_IN_NAMES = r'[/\\\0-\x1f:*?"<>|]' if os.name == "nt" else r"[/\\\0-\x1f]"


class Sorter:
    """A folder with one folder for each class.

    `counts` has how many pictures went into each; `left` those that were left out as they lie in
    the folder itself.

    Args:
        folder: Where to; made with the first picture.
        by: Copies, or links to the files; what lies in an archive is copied anyway.
    """

    def __init__(self, folder: Path, by: SortBy) -> None:
        self.folder, self._by = folder, by
        self._real = Path(os.path.realpath(folder))
        self.counts: Counter[str] = Counter()
        self.left = 0

    def put(self, found: Found, label: str) -> None:
        """Put one picture into the folder of its class, under another name where its own is taken.

        The same picture that is there already, from work that was stopped, is left as it is.

        Raises:
            UsageError: it cannot be written.
        """
        assert found.file is not None  # it was read
        real = Path(os.path.realpath(str(found.file)))
        if isinstance(found.file, Path) and real.is_relative_to(self._real):
            self.left += 1
            return
        place = self.folder / _plain(label)
        name = _plain(re.split(r"[/\\]", str(found.file))[-1])
        with refusals(self._refused):
            place.mkdir(parents=True, exist_ok=True)
            draft = place / f".{os.getpid()}{atomic_files.DRAFT}"
            draft.unlink(missing_ok=True)
            try:
                self._write(found.file, draft)
                _settle(draft, place, name)
            finally:
                draft.unlink(missing_ok=True)
        self.counts[label] += 1

    def _write(self, file: Path | Member, draft: Path) -> None:
        if isinstance(file, Member):
            with file.open("rb") as content, draft.open("xb") as out:
                shutil.copyfileobj(content, out, _CHUNK)
        elif self._by == "link":
            draft.symlink_to(file.absolute())
        else:
            shutil.copy2(file, draft)

    def _refused(self, error: OSError) -> UsageError:
        return UsageError(
            f"cannot put a picture into --sort-into {self.folder}: {cause(error)}",
            hint="Make room, or give a folder that you may write; where links cannot be made: "
            "--sort-by copy.",
        )


def folder_of(answer: Prediction) -> str | None:
    """The folder of an image: its class, `_unsure` or `_unknown` where the answer is that."""
    if answer.error is None and answer.label is None:
        return ""  # of labels and numbers, which are not sorted
    return answer.label if answer.standing in (None, "answered") else f"_{answer.standing}"


def require(flag: str, folder: Path, inputs: Sequence[Path], data: Path | None) -> None:
    """Refuse a folder that is, holds, or lies in what is to be classified.

    Args:
        flag: The option that names it: `--sort-into`.
        folder: Where to write.
        inputs: What is to be classified.
        data: The images that the run was trained on; None where they are not known.

    Raises:
        UsageError: it may not go there.
    """
    real = Path(os.path.realpath(folder))
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(
            f"{flag} {folder} is a file, not a folder", hint="Give a folder, or a new name."
        )
    for given in [*inputs, *([] if data is None else [data])]:
        if given.is_dir() and lies_in_data(real, given):
            raise UsageError(
                f"{flag} {folder} lies in {given}, whose images are only read",
                hint="Give a folder elsewhere.",
            )
        if Path(os.path.realpath(given)).is_relative_to(real) and os.path.lexists(given):
            raise UsageError(
                f"{given} lies in {flag} {folder}: what is written would be mixed with it",
                hint="Give a new folder.",
            )


def _settle(draft: Path, place: Path, name: str) -> None:
    """Give a file its name, or the first free one after it: `a.jpg`, `a-2.jpg`, `a-3.jpg`."""
    stem, suffix = Path(name).stem, Path(name).suffix
    for number in itertools.count(1):
        path = place / (name if number == 1 else f"{stem}-{number}{suffix}")
        if os.path.lexists(path):
            if _same(draft, path):
                return
            continue
        try:
            os.link(draft, path, follow_symlinks=False)
        except FileExistsError:  # put there just now
            continue
        except OSError:  # a file system without hard links
            draft.rename(path)
        return


def _same(one: Path, two: Path) -> bool:
    """Whether both are links to one file, or files with the same bytes."""
    if one.is_symlink() or two.is_symlink():
        return one.is_symlink() and two.is_symlink() and one.readlink() == two.readlink()
    if not two.is_file() or one.stat().st_size != two.stat().st_size:
        return False
    with one.open("rb") as first, two.open("rb") as second:
        while part := first.read(_CHUNK):
            if part != second.read(_CHUNK):
                return False
    return True


def _plain(name: str) -> str:
    """A name as one part of a path, whatever a run or an archive calls it."""
    clean = re.sub(_NOT_IN_NAMES, "_", name).strip()
    return f"_{clean}" if not clean.strip(".") else clean
