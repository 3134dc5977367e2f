"""The process around a command: signals, faults, exit codes."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Any

import typer

from finetune.cli import app
from finetune.records.errors import (
    INTERRUPTED,
    FinetuneError,
    LostRankError,
    first_line,
    out_of_memory,
    safe_name,
)

# The base of all usage errors, taken from typer: recent ones carry their own copy of click.
ClickException: Any = typer.BadParameter.__mro__[2]

# How long a thread of torch's spins for the next piece of work, in turns, before it sleeps. The
# usual 300,000 make training 4 to 8 times as slow where another process wants the same cores, and
# win 4 % where none does (docs/log.md, 2026-11-23). Read by libgomp when torch is loaded.
SPIN = "1000"
# After how many collections of younger objects the interpreter looks at all that there are. The
# usual 10 set off dozens of such looks while torch is imported, whose objects all stay: an eighth
# of a first run (docs/log.md, 2026-11-25).
FULL_COLLECTIONS = 1000
# mallopt(3): how many blocks may have pages of their own, and from what size on the end of the heap
# is given back; -1 is never.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def prepare() -> None:
    """Set what the whole process is to be like, before torch is loaded: for the program alone."""
    gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTIONS)
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
    keep_memory()


def keep_memory() -> None:
    """Let freed memory stay with this process, where glibc allocates it; elsewhere nothing.

    By default large tensors go back to the system and come again as pages that have to be cleared:
    a fifth to half of the time of a training step, half of a forward pass's (docs/log.md,
    2026-11-25).
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another library, or Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0 done · 1 our bug · 2 usage · 3 a fault the user can mend · 130 interrupted.
    """
    quieten()
    try:
        with _signals():
            code = app.app(args=arguments, standalone_mode=False)
            with contextlib.suppress(BrokenPipeError):
                sys.stdout.flush()  # a full disk is told now, or never
    except FinetuneError as error:
        return _tell(error)
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except ClickException as error:
        error.message = safe_name(error.message)  # a word of the command line need not be UTF-8
        error.show()
        return int(error.exit_code)
    except BrokenPipeError:
        return 0
    except Exception as error:
        return _unforeseen(error)
    return int(code or 0)


def _unforeseen(error: Exception) -> int:
    """Tell what the machine refused as a fault, all else with its traceback as a bug of ours."""
    if out_of_memory(error):
        return _tell(
            FinetuneError(
                first_line(error),
                hint="Give a smaller --image-size or --max-per-class, or end other programs; "
                "finetune train --resume goes on.",
            )
        )
    if isinstance(error, OSError) and error.strerror:
        return _tell(_refused(error))
    traceback.print_exc()
    sys.stderr.write("This is a bug in finetune; please report it with the lines above.\n")
    return 1


def _refused(error: OSError) -> FinetuneError:
    """What the system would not do with a file, or with the answer, which has no name."""
    if error.filename is None:
        return FinetuneError(
            f"the answer, or a file, cannot be written or read: {error.strerror}",
            hint="Make room where it goes, or send it elsewhere.",
        )
    return FinetuneError(
        f"cannot use {os.fsdecode(error.filename)}: {error.strerror}",
        hint="Check that it is there, that you may use it, and that its disk has room.",
    )


def _tell(fault: FinetuneError) -> int:
    """One line and what to try on stderr, where that can be written; returns the exit code."""
    from finetune.backbones import ranks  # noqa: PLC0415
    from finetune.cli import style  # noqa: PLC0415

    if not (isinstance(fault, LostRankError) and ranks.is_helper()):  # told by rank 0
        with contextlib.suppress(OSError):
            style.show_error(fault)
    return fault.exit_code


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM raises KeyboardInterrupt, which saves; a second ends at once.

    A signal that is ignored stays so (`nohup`).
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {n: h for n in kinds if (h := signal.getsignal(n)) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def quieten() -> None:
    """Pillow and tifffile tell what is odd in images: of no concern here, or told by a fault."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for name in ("PIL", "tifffile"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
