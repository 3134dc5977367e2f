"""Writes `options.md` beside this file: every option of the command line, read from its table.

Run `python docs/make_options.py` after a change of an option; a test compares page and table.
"""

from __future__ import annotations

from pathlib import Path

from finetune.records import option_table
from finetune.records.option import Option

PAGE = Path(__file__).with_name("options.md")
HEAD = """# Options
Made from the code by `python docs/make_options.py`; `finetune COMMAND --help` lists those of one
command. "By rule" means that a rule of the plan sets the value from your data: `finetune recommend
DIR` and every report show it with its reason. A value out of range ends the command with exit code
2 before any image is read.
"""
TITLES = {
    "data": "which images, and how they are split",
    "decision": "how far to fine-tune",
    "training": "how to train",
    "augmentation": "random changes to training images",
    "output": "what is written and shown",
}
OLD = """
## Old names
They work in this version, with a note on stderr, and are gone in the next.

| old | now |
| --- | --- |
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for group, rows in option_table.OPTIONS.items():
        parts.append(f"\n## {group.capitalize()}: {TITLES[group]}\n")
        parts.append(_row("option", "values", "default", "commands", "what"))
        parts.append("| --- | --- | --- | --- | --- |\n")
        parts += [
            _row(
                f"`{option.flag}`",
                values(option),
                option.otherwise,
                ", ".join(option.commands.split()),
                option.help,
            )
            for option in rows
        ]
    parts.append(OLD)
    parts += [_row(f"`{o.old}`", f"`{o.flag}`") for o in option_table.ALL if o.old is not None]
    return "".join(parts)


def values(option: Option) -> str:
    """What an option takes, in words."""
    if option.kind == "flag":
        return "none"
    if option.kind == "switch":
        return f"none; `{option.flag.replace('--', '--no-', 1)}` for the opposite"
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    if option.metavar is not None:
        return option.metavar
    words = {"int": "whole number", "float": "number", "str": "text", "folder": "folder"}
    return f"{words[option.kind]}, {option.range}" if option.range else words[option.kind]


def _row(*cells: str) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
