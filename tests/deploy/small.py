"""A process in which nothing can be imported but what a command needs without torch."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from finetune.deploy import needs

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
# Refuses what belongs to no allowed distribution.
SCRIPT = """
import sys
refused = set(REFUSED)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"{name} is not among the needs", name=name)
sys.meta_path.insert(0, Finder())
"""


def listed() -> list[str]:
    """The requirements of this project, as its distribution has them."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [
        *project["dependencies"],
        *(f'{line}; extra == "{extra}"' for extra, lines in extras.items() for line in lines),
    ]


def refused(command: str) -> list[str]:
    """Top modules of this machine that the command may not import."""
    lines = needs.chosen(listed(), needs.EXTRAS[command])
    waiting = [re.split(r"[\s\[<>=!~(;]", line, maxsplit=1)[0] for line in lines]
    allowed: set[str] = set()
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in allowed:
            continue
        allowed.add(name)
        try:
            more = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        waiting += [re.split(r"[\s\[<>=!~(;]", r)[0] for r in more if "extra" not in r]
    modules = metadata.packages_distributions()
    return sorted(
        module
        for module, owners in modules.items()
        if not {o.lower().replace("_", "-") for o in owners}
        & {*allowed, needs.DISTRIBUTION, "finetune"}
    )


def only(command: str) -> str:
    """The first lines of a program that can import what that command needs, and nothing else."""
    return SCRIPT.replace("REFUSED", repr(refused(command)))
