"""Every error and finding is on a page made from the code, and says what to do."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from finetune.data import checks
from finetune.records import errors

DOCS = Path(__file__).parents[2] / "docs"
MADE = runpy.run_path(str(DOCS / "make_errors.py"))
RAISED = list(MADE["raised"]())


def test_the_page_is_that_of_the_code() -> None:
    """Run `python docs/make_errors.py` where this fails."""
    assert (DOCS / "errors.md").read_text("utf-8") == MADE["page"]()


def test_the_readme_counts_the_checks() -> None:
    """The number of checks that the README names is the table's."""
    assert f" runs {len(checks.CHECKS)} coded checks" in (DOCS.parent / "README.md").read_text()


def test_errors_are_found() -> None:
    """The reader of the code finds each kind of error, also the one that words itself."""
    assert {r.kind for r in RAISED} == MADE["kinds"]()


# what ended a training is told in the words of its run
WORDED = [r for r in RAISED if r.message != "{text}"]


@pytest.mark.parametrize("error", WORDED, ids=lambda r: f"{r.module}: {r.message[:40]}")
def test_every_error_names_the_value_and_one_thing_to_try(error) -> None:
    """A message has something filled in, or names the option or backbone; a hint is a sentence."""
    assert "{" in error.message or "--" in error.message or "lenet5" in error.message
    assert len(error.hint) > 8


@pytest.mark.parametrize("name", ["line\nbreak", "\x1b[31m", "caf\udce9", "a\u202eb"])
def test_messages_are_one_printable_line(name: str) -> None:
    """Whatever a file is called, an error about it is a line that can be printed and encoded."""
    for error in (
        errors.DataError(f"no folder at {name}", hint=f"Give another than {name}."),
        errors.ImageError(name, f"bad {name}"),
    ):
        assert error.message.isprintable()
        assert error.hint.isprintable()
        assert str(error) == error.message
        error.message.encode()
