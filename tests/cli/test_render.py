"""What people see on a terminal of 80 columns can be read and copied."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from examples import (
    CHECK,
    CHOICE,
    COMPARISON,
    EXPECTED,
    FINDING,
    PROFILE,
    RECOMMENDATION,
    RESULT,
    WRONG,
)
from rich.console import Console

from finetune.cli import render, render_advice, render_backbones, render_training, style
from finetune.metrics import classification, verdict
from finetune.records.answers import Advice, Evaluation, Health
from finetune.records.choices import TRANSFERS
from finetune.records.run import RunRow

LONG = (
    "runs/20261124-220651-" + "flowers photographed in summer".replace(" ", "-") + "-linear-probe"
)
ROW = RunRow(
    run=LONG,
    created="2026-11-24T22:06:51.974492+00:00",
    strategy="linear-probe",
    backbone="tf_efficientnet_lite0",
    classes=5,
    accuracy=0.875,
    accuracy_source="46 test images",
)


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers go to 80 columns, as a terminal has them, without colours."""
    monkeypatch.setattr(style, "out", lambda: Console(highlight=False, width=80))


@pytest.fixture
def east_of_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clocks show five hours and a half more than UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XXX-5:30")
        time.tzset()
        yield
    time.tzset()


def test_the_path_of_a_run_is_on_one_line(capsys) -> None:
    """What does not fit beside it is left out: the accuracy stays."""
    render.show_runs([ROW, replace(ROW, run="runs/leaves")])

    head, first, second = capsys.readouterr().out.splitlines()
    assert first.split()[0] == LONG
    assert second.split()[0] == "runs/leaves"
    assert {"run", "accuracy"} <= set(head.split())
    assert "87.5%" in first
    assert "backbone" not in head


def test_a_path_wider_than_the_terminal_is_not_cut(capsys) -> None:
    """Neither is that of a damaged run, whose fault stands behind it."""
    render.show_runs([replace(ROW, run=4 * LONG), RunRow(run=3 * LONG, error="cannot read it")])

    out = capsys.readouterr().out
    assert 4 * LONG in out
    assert f"{3 * LONG}  cannot read it" in out


def test_short_paths_leave_room_for_all(capsys) -> None:
    """Columns go only where they have to, the backbone first."""
    render.show_runs([replace(ROW, run="runs/a")])

    head = capsys.readouterr().out.splitlines()[0]
    assert head.split() == ["run", "made", "strategy", "classes", "accuracy", "measured", "on"]


@pytest.mark.usefixtures("east_of_greenwich")
def test_a_run_was_made_when_clocks_here_say(capsys) -> None:
    """The moment is local, as in the name of the folder; one that is none is shown as it stands."""
    render.show_runs([replace(ROW, run="runs/a"), replace(ROW, run="runs/b", created="soon")])

    _, first, second = capsys.readouterr().out.splitlines()
    assert "2026-11-25 03:36" in first
    assert "soon" in second


def test_the_next_command_can_be_pasted(capsys) -> None:
    """A path with blanks is quoted, and a long one is not broken over lines."""
    run = f"my runs/{LONG}"

    render_training.show_result(replace(RESULT, run=run))

    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("Next: "))
    assert shlex.split(line)[1:] == ["finetune", "predict", "IMAGE", "--run", run]


def test_what_check_found_comes_first(capsys) -> None:
    """The verdict, then the findings; passed and not applicable checks are one line below."""
    checks = (
        replace(CHECK, code="FT101", status="passed", text="none"),
        replace(CHECK, code="FT102", status="not-applicable", text="no splits"),
        replace(CHECK, code="FT120", status="warning", text="1 image cannot be read"),
    )
    counts = {"train": 8, "val": 2, "test": 2}

    render.show_health(Health("x", ("a", "b"), "plain", counts, checks, 0.1))

    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("1 warning on 12 images of 2 classes")
    assert out[2].rstrip() == "FT120 warning  1 image cannot be read"
    assert out[-1] == "1 passed, 1 not applicable; --verbose and --json list them."
    assert not [line for line in out if "FT101" in line]

    render.show_health(Health("x", ("a", "b"), "plain", counts, checks[:2], 0.1), verbose=True)

    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("No warnings on 12 images")
    assert [line.split()[:2] for line in out[2:4]] == [["FT101", "passed"], ["FT102", "not"]]
    assert out[-1] == "Next:     finetune train x"


def evaluated(classes: int) -> Evaluation:
    """Every class has two images; of all but the first and last one is called by the first."""
    labels = np.repeat(np.arange(classes), 2)
    called = labels.copy()
    called[2:-2:2] = 0
    names = [f"class{i}" for i in range(classes)]
    metrics = classification.measure(np.eye(classes)[called] * 0.9 + 0.1 / classes, labels, names)
    wrong = tuple(replace(WRONG, path=f"x/{i}.png") for i in range(classes - 2))
    return Evaluation("runs/one", "/data", metrics, (), wrong, True, "better")


def test_a_table_that_is_cut_says_so(capsys) -> None:
    """Twenty of sixty classes, five of the wrong answers, five pairs: and where the rest is."""
    render.show_evaluation(evaluated(60), verbose=True)

    out = capsys.readouterr().out
    assert "20 of 60 classes shown; all in --json" in out
    assert "58 of 120 answers are wrong, the most confident first" in out
    assert "5 of 58 shown; all in --json, or --errors FILE.csv" in out
    assert "and 53 more pairs (--json)" in " ".join(out.split())
    assert "x/4.png" in out
    assert "x/5.png" not in out
    assert "class59 " not in out  # all right: not among those that need attention


def test_a_table_that_is_whole_says_nothing(capsys) -> None:
    """Six classes and four wrong answers fit: no word of a rest."""
    render.show_evaluation(evaluated(6), verbose=True)

    out = capsys.readouterr().out
    assert "shown" not in out
    assert "more pairs" not in out
    assert "4 of 12 answers are wrong" in out
    table = out.partition("precision")[2]
    assert table.index("class1 ") < table.index("class0 ")  # the least recall first


def test_names_of_wrong_answers_cannot_draw(capsys) -> None:
    """Markup and control characters of a path or class are shown as they are spelt."""
    metrics = evaluated(3).metrics
    wrong = replace(WRONG, path="a\x1b[2J.png", truth="[red]b")

    found = Evaluation("runs/one", "/data", metrics, (), (wrong,), True, "")
    render.show_evaluation(found, verbose=True)

    out = capsys.readouterr().out
    assert "a\\x1b[2J.png" in out
    assert "[red]b" in out
    assert "\x1b" not in out


def test_a_result_no_better_is_said_beside_its_figures(capsys) -> None:
    """FT210 stands after the accuracy, once; where nothing can be said that is said."""
    finding = verdict.NO_BETTER.finding("no better than always answering 'ash'", ())
    poor = replace(RESULT, findings=(finding,), better_than_commonest=False)

    render_training.show_result(poor)

    out = capsys.readouterr().out
    assert out.count("FT210") == 1
    assert out.index("accuracy on") < out.index("FT210")

    render_training.show_result(
        replace(RESULT, better_than_commonest=None, verdict="all are of 'ash'")
    )

    assert "all are of 'ash'" in capsys.readouterr().out


def test_a_training_is_answered_by_its_verdict_first(capsys) -> None:
    """Accuracy, what was chosen and why, mistakes, worst finding, labels, report, what next."""
    worst = replace(FINDING, code="FT120", severity="warning", title="1 image cannot be read")

    render_training.show_result(replace(RESULT, findings=(FINDING, worst)))

    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("partial: 87.5% accuracy on 8 test images (95 % interval 52.9%")
    labels = [line.split()[0] for line in out if re.match(r"[A-Z]\w+:", line)]
    assert labels == ["Chosen:", "Mistakes:", "Data:", "Labels:", "Time:", "Report:", "Next:"]
    assert "Data:     FT120 warning  1 image cannot be read" in "\n".join(out)
    assert "1 more finding on the data: --verbose" in "\n".join(out)
    assert "Report:   runs/one/report.html" in [line.rstrip() for line in out]
    assert max(map(len, out)) <= 80


def test_details_of_a_training_are_for_those_who_ask(capsys) -> None:
    """With --verbose the same lines, and stages, reasons, plan and wrong answers between them."""
    found = replace(RESULT, errors=(WRONG,))

    render_training.show_result(found)
    short = capsys.readouterr().out
    render_training.show_result(found, verbose=True)
    long = capsys.readouterr().out

    assert long.startswith(short.partition("Time:")[0])
    for detail in ("linear classifiers by stage", "every reason", "plan", "answers are wrong"):
        assert detail in long
        assert detail not in short
    assert "feature layers" not in long  # a tuned model's head always reads the top
    assert "learning rate of the head" in " ".join(long.split())


def test_no_strategy_is_cut_in_a_comparison(capsys) -> None:
    """Eighty columns hold the names, figures and who chose what."""
    rows = tuple(
        replace(c, strategy=name, difference=-0.125, low=-0.25, high=0.05, seconds=4000.0)
        for name, c in zip(TRANSFERS, COMPARISON.contenders * 2, strict=True)
    )
    found = replace(
        COMPARISON, contenders=rows, table="stage-probe", chosen="stage-probe", best="deep"
    )

    render_advice.show_comparison(found)

    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith(COMPARISON.verdict)
    for name in TRANSFERS:
        assert f"\n{name} " in out
    assert "67 min  both" in out
    assert "Next:     finetune train /data/trees --strategy deep" in out


def test_networks_that_were_compared_fit_a_terminal(capsys) -> None:
    """Name and figures of each stand on one line of eighty columns; a wide one has all."""
    choice = replace(CHOICE, candidates=(CHOICE.candidates[0],) * 2)

    render_backbones.print_backbones(style.out(), choice)
    narrow = capsys.readouterr().out.splitlines()
    render_backbones.print_backbones(Console(highlight=False, width=120), choice)
    wide = capsys.readouterr().out

    assert max(map(len, narrow)) <= 80
    rows = [line for line in narrow if line.startswith("tf_efficientnet_lite0 ")]
    assert len(rows) == 2
    assert all(" 12.5 " in row and " 0.750 " in row for row in rows)
    assert "Apache-2.0" not in "".join(narrow)
    assert "Apache-2.0" in wide
    assert "3.4 M" in wide


def test_advice_fits_a_terminal(capsys) -> None:
    """No part, setting or forecast is wider than eighty columns, and no name is cut."""
    advice = Advice(
        RECOMMENDATION, PROFILE, RESULT.stages, EXPECTED, 160, {"train": 4}, (FINDING,), {}
    )

    render_advice.show_advice(advice, "finetune train /data/trees", verbose=True)

    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for part in PROFILE.similarity.parts:
        assert f"\n{part.name} " in out
        assert f"\n{part.name}: {part.text}" in out
    assert "…" not in out
