"""`python -m finetune`."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys


def main() -> None:
    """Run the command line."""
    open_streams()
    from finetune.cli import process  # noqa: PLC0415 - nothing is imported before it is asked for

    process.prepare()
    code = process.run()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # told by `run`, or nobody reads it
            stream.flush()
    # all is written and closed: to take torch's two thousand modules down first costs seconds
    os._exit(code)


def open_streams() -> None:
    r"""Make stdin, stdout and stderr usable, whatever the program was started with.

    What stdout's encoding lacks is written as `\uXXXX`, which JSON reads as the same character.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It was closed. This takes its number, which is the lowest free one: else the next file
            # to be opened would, and get whatever a library prints.
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8"))
    codecs.register_error("json", _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="json")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """The characters that cannot be encoded, as JSON writes them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{256 * high + low:04x}" for high, low in pairs), error.end


if __name__ == "__main__":
    main()
