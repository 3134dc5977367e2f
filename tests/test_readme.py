"""What README and docs show works as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
TEXTS = sorted(
    p
    for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*"), *ROOT.glob("finetune/**/*.py")]
    if p.is_file() and p.suffix != ".webp"
)
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
NOW = [page for page in PAGES if page.name != "log.md"]  # the log names what has been removed since


def links(text: str) -> list[str]:
    """Targets of a text's links that are files of this repository, not addresses."""
    return [t for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t]


def headings(text: str) -> set[str]:
    """The anchors of a text's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(text: str) -> list[str]:
    """The lines of code blocks that start with `finetune`, their comments taken off."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line.startswith("finetune ")]


def options(text: str) -> dict[str, set[str]]:
    """Subcommand → options, of every inline or block `finetune SUBCOMMAND … --option`."""
    inline = re.findall(r"`(finetune [^`\n]+)`", text)
    found: dict[str, set[str]] = {}
    for line in [*commands(text), *inline]:
        name = line.split()[1]
        found.setdefault(name, set()).update(re.findall(r"(?<![\w-])--[a-z][a-z-]*", line))
    return found


def test_commands_are_found() -> None:
    """The README shows every subcommand, and the reader of its blocks finds them."""
    shown = {shlex.split(c)[1] for c in commands(README)}

    assert {"train", "predict", "evaluate", "recommend", "runs", "backbones"} <= shown


@pytest.mark.parametrize("name", sorted(options(README)))
def test_commands_and_their_options_exist(run_cli, name: str) -> None:
    """Each subcommand shown has a help, which knows each option shown with it."""
    if name.startswith("-"):
        assert run_cli(name).code == 0
        return

    done = run_cli(name, "--help")

    assert done.code == 0
    known = set(re.findall(r"--[a-z][a-z-]*", done.out))
    assert options(README)[name] <= known


def test_every_option_named_exists(run_cli) -> None:
    """Options that the README names in passing are options of some subcommand or of pip."""
    names = set(re.findall(r"`(--[a-z][a-z-]*)", README))
    helps = [run_cli(c, "--help").out for c in ("train", "predict", "evaluate", "recommend")]

    assert names <= set(re.findall(r"--[a-z][a-z-]*", " ".join(helps)))


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_text_names_a_place_on_our_machine(path: Path) -> None:
    """No absolute path of the machine it was written on stands in a text or in the code."""
    assert re.findall(r"(?<![\w.…])/(?:work|tmp|root|home)\b\S*", path.read_text("utf-8")) == []


def test_the_readme_is_short() -> None:
    """What a newcomer reads first fits in ten minutes: the rest has pages of its own."""
    lines = README.splitlines()

    assert len(lines) <= 200
    assert [line for line in lines if len(line) > 140] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of this repository, and to a heading in it, has a target."""
    for target in links(page.read_text("utf-8")):
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page

        assert file.exists(), target
        assert not heading or heading in headings(file.read_text("utf-8")), target


@pytest.mark.parametrize("page", NOW, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_pages_name_are_there(page: Path) -> None:
    """A page or benchmark that a text names in passing, such as `docs/log.md`, is there."""
    named = re.findall(r"\b(?:docs|benchmarks|sample_data)/[\w/-]+\.\w+", page.read_text("utf-8"))

    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_page_is_linked_from_the_readme() -> None:
    """No page under docs/ is one that nobody finds."""
    named = set(links(README)) | set(re.findall(r"`(docs/[^`]+)`", README))

    assert {str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.md")} <= named
