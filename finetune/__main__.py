"""`python -m finetune`."""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> None:
    """Run the command line."""
    from finetune.cli import run  # noqa: PLC0415 - nothing is imported before it is asked for

    code = run()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    # all is written and closed: to take torch's two thousand modules down first costs seconds
    os._exit(code)


if __name__ == "__main__":
    main()
