"""Promises of what the program sets for its whole process, which the library leaves alone."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from finetune.cli import process


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_memory_that_training_frees_stays_with_the_process() -> None:
    """Large tensors made again after the first time need no new pages from the system."""
    code = """
import resource, sys
import numpy as np
from finetune.cli import process
if sys.argv[1] == "keep":
    process.keep_memory()
def work():
    for _ in range(5):
        np.ones(5_000_000)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    def new_pages(how: str) -> int:
        command = [sys.executable, "-c", code, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    pages = 5 * 40_000_000 // 2**21  # of 2 MB: the largest that Linux gives without being asked

    assert new_pages("keep") < pages / 2 < new_pages("leave")


def test_where_there_is_no_mallopt_memory_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no library of the process, others have another allocator: no fault."""
    for found in (TypeError("no name"), OSError("not found")):

        def fail(_: None, error: Exception = found) -> None:
            raise error

        monkeypatch.setattr(ctypes, "CDLL", fail)
        process.keep_memory()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())

    process.keep_memory()
