"""Promises of the words: what a person reads is in the field's standard terms.

The program once had a language of its own ("its lead over the probe is +3.5 points, give or take
2.9"), which a reader who knows transfer learning had to learn first. These words are gone from
messages and pages, and each has a plain term in its place. A name in code, a key of a file, an
option or a title quoted from the log is not a sentence, so it is not held against this list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "finetune").rglob("*.py"))
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "log.md"),
]
# What must not come back → what is said instead.
WORDS = {
    r"alike": "in the same way; equally",
    r"famil(?:y|ies)": "near duplicates, group; architecture",
    r"near[- ]cop(?:y|ies)": "near duplicates",
    r"strangers?(?:'s?)?": "untrusted files",
    r"give or take": "±",
    r"noise": "standard error; random pixels",
    r"(?:the|its|expected|a|no) leads?|lead (?:of|over)": "accuracy gain",
    r"stakes?": "headroom",
    r"handicaps?": "trial bias",
    r"(?:the|a|this|strict) floor": "baseline",
    r"halves": "two-fold cross-validation; folds",
    r"look(?:s|ed|ing)? at|surveys?": "analyze, check",
    r"surprises?": "negative log-likelihood",
    r"the surest": "the most confident",
    r"penalt(?:y|ies)": "l2",
    r"(?:fell|falls?|falling) apart": "diverged",
    r"knowing nothing": "chance level",
    r"anew": "again",
    r"reali[sz]e(?:s|d)?": "fit, train",
    r"side px|stretch": "image size; aspect ratio",
    r"\w*colour\w*": "color, color jitter",
    r"\w*grey\w*": "gray, grayscale",
    r"(?:optim|recogn|normal)is(?:e[drs]?|ers|ing|ation)|licences?": "American spelling",
}
FORBIDDEN = re.compile(rf"(?<![\w-])(?:{'|'.join(WORDS)})(?![\w-])", re.IGNORECASE)
# Names in files of 0.1.0 and of kept trainings, which are read for ever.
ALLOWED = {"optimiser "}


def docstrings(tree: ast.Module) -> set[ast.Constant]:
    """The strings that only describe code."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, kinds) and node.body]
    return {
        line.value
        for line in first
        if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
    }


def sentences(path: Path) -> Iterator[str]:
    """Strings of a file that may be read by a person: those of more than one word."""
    tree = ast.parse(path.read_text("utf-8"))
    known = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in known:
            text = node.value
            if " " in text and text not in ALLOWED:
                yield text


def prose(text: str) -> str:
    """A page without code, targets of links and quoted titles."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`]*`|\]\([^)]*\)|\"[^\"]*\"", " ", text)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_messages_are_in_the_fields_terms(path: Path) -> None:
    """No sentence in the code has a word that a colleague would not use."""
    assert [s for s in sentences(path) if FORBIDDEN.search(s)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_pages_are_in_the_fields_terms(page: Path) -> None:
    """Nor has a page; the log alone keeps the words of its time."""
    lines = prose(page.read_text("utf-8")).splitlines()

    assert [line for line in lines if FORBIDDEN.search(line)] == []


def test_the_words_are_found() -> None:
    """The list finds words in sentences and none inside names, options or longer words."""
    assert FORBIDDEN.search("difference +3.5 points (give or take 2.9)")
    assert FORBIDDEN.search("Near copies of images")
    assert not FORBIDDEN.search("--near-copies leads_to misleading floor_of plead")
    assert "colour" not in prose("see `--colour` and [this](docs/colour.md)")
