"""Promises of the table of options: each is whole, and none is there twice."""

from __future__ import annotations

import math
import runpy
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.records import option_table
from finetune.records.codec import to_builtins
from finetune.records.decision import Augment, Plan
from finetune.records.errors import UsageError
from finetune.records.option import Option
from finetune.records.options import Request, flat, resolved

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = (
    *("train", "recommend", "compare", "check", "predict", "evaluate", "runs", "backbones"),
    *("cache", "export", "explain", "report", "serve", "suggest", "features"),
)
NUMBERS = [option for option in option_table.ALL if option.ends is not None]
CHOICES = [option for option in option_table.ALL if option.choices]

KEPT = [
    *(
        "root",
        "out",
        "strategy",
        "policy",
        "budget_s",
        "size",
        "similarity",
        "single",
        "prior",
        "metric",
        "loss",
        "backbone",
    ),
    *(
        "weights",
        "start_from",
        "max_latency_s",
        "licence",
        "fetch",
        "seed",
        "device",
        "val_fraction",
        "test_fraction",
        "max_per_class",
    ),
    *("on_bad_image", "group", "label_from", "target", "label_column"),
    *("near_copies", "strict", "fit", "bands", "mean", "std"),
    *("interpolation", "norm", "options", "command", "resume", "no_images"),
]


def named(option: Option) -> str:
    return option.flag


@pytest.mark.parametrize("option", option_table.ALL, ids=named)
def test_every_option_says_what_it_is(option: Option) -> None:
    """It has a sentence of help, a name in the field's form, and commands that there are."""
    assert option.help.endswith(".")
    assert option.flag.removeprefix("--").replace("-", "").isalnum()
    assert set(option.commands.split()) <= set(COMMANDS)
    assert option.commands


def test_no_name_is_there_twice() -> None:
    """Keys, flags and old flags are each of one option."""
    flags = [f for o in option_table.ALL for f in (o.flag, o.old) if f is not None]

    assert len(set(flags)) == len(flags)
    assert len(option_table.NAMED) == len(option_table.ALL)


def test_groups_stand_in_their_order() -> None:
    """Data, decision, training, augmentation, output; all that `train` takes is in one of them."""
    groups = ["data", "decision", "training", "augmentation", "output"]

    assert list(option_table.OPTIONS) == list(option_table.of("train")) == groups


@pytest.mark.parametrize("option", NUMBERS, ids=named)
def test_a_value_beyond_a_range_is_refused(option: Option) -> None:
    """Just below and above, no number at all, or a text: the error names option and value."""
    assert option.ends is not None
    low, high = option.ends
    option_table.check({option.name: low})
    option_table.check({option.name: high})

    for value in (math.nextafter(low, -math.inf), math.nan, "much", high * 1.01):
        if value == math.inf:
            continue  # there is no largest
        with pytest.raises(UsageError) as caught:
            option_table.check({option.name: value})
        assert caught.value.message == f"{option.flag} is {value}"
        assert option.range in caught.value.hint


@pytest.mark.parametrize("option", CHOICES, ids=named)
def test_a_word_that_is_no_choice_is_refused(option: Option) -> None:
    """The error names option and value, the hint every choice."""
    for choice in option.choices:
        option_table.check({option.name: choice})

    with pytest.raises(UsageError, match=f"{option.flag} is 'magic'") as caught:
        option_table.check({option.name: "magic"})
    assert all(choice in caught.value.hint for choice in option.choices)


def test_what_is_not_given_and_what_is_no_option_is_not_judged() -> None:
    """None stands for a default; the folder of images is no option."""
    option_table.check({"epochs": None, "root": "/data/trees"})


def test_overrides_are_fields_of_the_plan() -> None:
    """Each option whose default comes from a rule is a field of the plan or its augmentation."""
    known = {f.name for f in (*fields(Plan), *fields(Augment))}

    assert known >= option_table.OVERRIDES


def test_defaults_are_those_of_the_request() -> None:
    """What a library user gets without options is what the command line gives."""
    table = {n: d for n, d in option_table.DEFAULTS.items() if n in vars(Request(root="x"))}

    asked = {n: v for n, v in vars(Request(root="x")).items() if n in table}
    assert asked | {"backbone": None} == table


@given(values=st.fixed_dictionaries({f.name: st.integers() | st.text() for f in fields(Request)}))
def test_options_are_kept_in_one_row_and_come_back(values: dict[str, Any]) -> None:
    """Each option is in one record, under the name that version 0.1.0 gave it in run.json."""
    request = Request(**values)

    assert flat(resolved(request)) == request
    assert list(to_builtins(request)) == KEPT


def test_no_option_is_in_two_records() -> None:
    """The records share no field, and together have all that is kept."""
    parts = vars(resolved(Request(root="x"))).values()
    names = [name for part in parts for name in vars(part)]

    assert len(names) == len(set(names)) == len(KEPT)


def test_the_page_is_that_of_the_table() -> None:
    """Run `python docs/make_options.py` where this fails."""
    made = runpy.run_path(str(DOCS / "make_options.py"))

    assert (DOCS / "options.md").read_text("utf-8") == made["page"]()
