"""`python -m finetune`."""

from __future__ import annotations

import contextlib
import os
import sys

# How long a thread of torch's spins for the next piece of work, in turns, before it sleeps. The
# usual 300,000 make training 4 to 8 times as slow where another process wants the same cores, and
# win 4 % where none does (docs/log.md, 2026-11-23). Read by libgomp when torch is loaded.
SPIN = "1000"


def main() -> None:
    """Run the command line."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
    from finetune.cli import run  # noqa: PLC0415 - nothing is imported before it is asked for

    code = run()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    # all is written and closed: to take torch's two thousand modules down first costs seconds
    os._exit(code)


if __name__ == "__main__":
    main()
