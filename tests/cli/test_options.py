"""Promises of the command line's options: help in groups, ranges, and old names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from helpers import Recorder, options_for

from finetune.cli.options import TITLES
from finetune.records import option_table
from finetune.records.errors import UsageError
from finetune.records.option import Option
from finetune.records.options import Options, flat
from finetune.workflows import check, compare, recommend, train

COMMANDS = (
    *("train", "recommend", "compare", "check", "predict", "evaluate", "runs", "backbones"),
    "cache",
)
OLD = [option for option in option_table.ALL if option.old is not None]
RANGED = [o for o in option_table.ALL if (o.ends or o.choices) and "train" in o.commands.split()]
VALUES = {"int": "64", "float": "0.5", "str": "adam"}


def named(option: Option) -> str:
    return option.flag


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """What `train` is asked for; nothing is trained."""
    found: list[Options] = []

    def stop(options: Options, *_: Any) -> None:
        found.append(options)
        raise UsageError("heard", hint="No more.")

    monkeypatch.setattr(train, "run_training", stop)
    return found


@pytest.mark.parametrize("columns", [80, 120])
def test_the_help_of_train_has_groups(run_cli, monkeypatch, columns: int) -> None:
    """Data, decision, training, augmentation, output, at either width, each with its options."""
    monkeypatch.setenv("COLUMNS", str(columns))

    done = run_cli("train", "--help")

    titles = [line[:-1] for line in done.out.splitlines() if re.fullmatch(r"\w.*:", line)]
    assert titles == ["Arguments", *TITLES.values()]
    for group, rows in option_table.of("train").items():
        section = done.out.partition(f"\n{TITLES[group]}:\n")[2].partition("\n\n")[0]
        shown = re.findall(r"^  (--[a-z-]+)", section, re.MULTILINE)
        assert shown == [option.flag for option in rows]
    widths = [len(line) for line in done.out.splitlines()]
    assert columns - 12 < max(widths) <= columns


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_lists_its_options_and_no_old_name(run_cli, command: str) -> None:
    """The help of a command has what the table says, and none of the old names."""
    done = run_cli(command, "--help")

    shown = re.findall(r"^  (--[a-z-]+)", done.out, re.MULTILINE)
    assert shown == [o.flag for rows in option_table.of(command).values() for o in rows]
    assert not [option.old for option in OLD if f"{option.old} " in done.out]


@pytest.mark.parametrize("command", ["export", "cache"])
def test_few_options_are_one_list(run_cli, command: str) -> None:
    """A command with few options does not cut them up."""
    done = run_cli(command, "--help")

    assert "\nOptions:\n" in done.out
    assert "\nOutput:\n" not in done.out


@pytest.mark.parametrize("option", OLD, ids=named)
def test_an_old_name_works_and_is_told(run_cli, heard, option: Option) -> None:
    """The value arrives as under the new name; one line on stderr tells that name."""
    value = option.choices[-1] if option.choices else VALUES[option.kind]

    old = run_cli("train", "x", option.old, value)
    new = run_cli("train", "x", option.flag, value)

    assert f"{option.old} is now {option.flag}\n" in old.err
    assert "is now" not in new.err
    before, after = (vars(flat(options)) | {"command": ""} for options in heard)
    assert before == after
    assert value == str((after | after["options"])[option.name])


@pytest.mark.parametrize("option", OLD, ids=named)
def test_an_option_by_both_names_is_refused(run_cli, heard, option: Option) -> None:
    """It is a usage fault, even where both have one value."""
    value = option.choices[-1] if option.choices else VALUES[option.kind]

    done = run_cli("train", "x", option.old, value, option.flag, value)

    assert done.code == 2
    assert f"{option.old} and {option.flag} are the same option" in done.err
    assert heard == []


def test_a_repetition_takes_what_was_given_by_an_old_name(run_cli, monkeypatch) -> None:
    """An option under its old name counts as given, so it overrules the run that is repeated."""
    taken: list[Any] = []

    def stop(_run: Path, _options: Options, given: frozenset[str]) -> None:
        taken.append(given)
        raise UsageError("heard", hint="No more.")

    monkeypatch.setattr(train, "repetition", stop)

    run_cli("train", "--from-run", "r", "--side-px", "64", "--budget", "1m")

    assert taken == [{"from_run", "side_px", "budget_s"}]


@pytest.mark.parametrize("option", RANGED, ids=named)
def test_a_value_out_of_range_is_refused_before_anything_is_read(
    run_cli, heard, option: Option
) -> None:
    """On the command line and for library users: a usage fault that names option and value."""
    value: Any = "magic" if option.choices else -1
    names = {option.name: value}
    asked = options_for(root="/nowhere", **({"options": names} if option.by_rule else names))

    done = run_cli("train", "/nowhere", f"{option.flag}={value}")

    assert done.code == 2
    assert option.flag in done.err
    assert str(value) in done.err
    assert heard == []
    for run in (compare.run_comparison, recommend.run_recommendation):
        with pytest.raises(UsageError, match=option.flag):
            run(asked, Recorder())
    if "check" in option.commands.split():
        with pytest.raises(UsageError, match=option.flag):
            check.run_check(asked, Recorder())
