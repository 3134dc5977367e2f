"""Faults a user can cause: a message with the value and the path, and one thing to try."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

INTERRUPTED = 130  # the exit code after Ctrl-C or SIGTERM: 128 and the number of the first


class FinetuneError(Exception):
    """A fault the user can mend; shown as one line and a hint, without a traceback.

    Both are made printable here, so that no file name breaks a line, a table or JSON.

    Args:
        message: What is wrong, with the offending value and the path.
        hint: One thing to try, starting with a verb or a command to paste.
    """

    exit_code = 3

    def __init__(self, message: str, *, hint: str) -> None:
        self.message = printable(message)
        self.hint = printable(hint)
        super().__init__(self.message)


class UsageError(FinetuneError):
    """Options that contradict each other or are out of range."""

    exit_code = 2


class DataError(FinetuneError):
    """The image folder cannot be used as it stands."""


class ImageError(FinetuneError):
    """One image cannot be decoded.

    Args:
        path: Its file.
        reason: Why, in words that do not repeat the path.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"cannot read image {path}: {reason}",
            hint="Open the file in a viewer; replace or remove it.",
        )
        self.reason = printable(reason)


class BackboneError(FinetuneError):
    """The backbone or its weights cannot be had."""


class RunError(FinetuneError):
    """A run folder is missing, incomplete or not ours."""


class BusyError(RunError):
    """Another process is at work in that place."""


class TakenError(RunError):
    """Something else stands where a run was to go."""


class ExportError(FinetuneError):
    """A model cannot be expressed, or answers otherwise, in a foreign format."""


class ServeError(FinetuneError):
    """A run cannot be served here."""


class AnswersError(FinetuneError):
    """Answers that a stopped `predict` has left cannot be gone on with."""


class CacheError(FinetuneError):
    """The cache cannot be emptied."""


class DiskError(FinetuneError):
    """What does not fit into memory does not fit onto the disk either."""


class DeviceError(FinetuneError):
    """The device asked for is not there."""


class TrainingError(FinetuneError):
    """Training cannot go on."""


class LostRankError(TrainingError):
    """Another process of the same training is gone."""


class MemoryShortError(TrainingError):
    """A training needs more memory than there is."""


def safe_name(name: str) -> str:
    r"""The name itself if it is valid Unicode, else with the stray bytes shown as \\udcxx."""
    return name.encode("utf-8", "backslashreplace").decode()


def excerpt(text: str, most: int = 60) -> str:
    """The start of a text that a message quotes, with `…` where there is more."""
    return safe_name(text if len(text) <= most else f"{text[: most - 1]}…")


def printable(text: str) -> str:
    """Control characters, line breaks and stray bytes as escapes, so that a name cannot draw."""
    if text.isprintable():  # as nearly all is, and a page asks for thousands
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def first_line(error: BaseException) -> str:
    """What an exception says in one line; its kind where it says nothing."""
    kind, text = type(error).__name__, str(error).strip()
    line = text.splitlines()[0][:200] if text else ""
    return line if " " in line else f"{kind} {line}".strip()


@contextlib.contextmanager
def refusals(fault: Callable[[OSError], FinetuneError]) -> Iterator[None]:
    """Turn what the system refuses inside into a fault that says why and what to try."""
    try:
        yield
    except OSError as error:
        raise fault(error) from error


def cause(error: BaseException) -> str:
    """Why something failed: the system's words, else what the exception says in one line."""
    return str(getattr(error, "strerror", None) or first_line(error))


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says so; torch says it in words, other on each device."""
    text = str(error).lower()
    words = ("out of memory", "allocate memory", "enough memory")
    return isinstance(error, MemoryError) or any(w in text for w in words)
