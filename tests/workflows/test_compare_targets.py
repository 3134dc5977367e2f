"""Promises of `compare` and `recommend` where several labels, or a number, are learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import Recorder, options_for
from test_train_target import drawn

from finetune.analysis import analyze
from finetune.cli import render_advice
from finetune.records.answers import Comparison, Contender
from finetune.records.errors import UsageError
from finetune.workflows import compare, recommend

SMALL: dict[str, Any] = {
    "backbone": "test_efficientnet",
    "weights": "random",
    "options": {"epochs": 1, "side_px": 64},
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A table of labels and one of a number, by the target."""
    home = tmp_path_factory.mktemp("tables")
    return {
        "labels": drawn(home / "labels", number=False, count=40),
        "number": drawn(home / "number", number=True, count=40),
    }


def asked(table: Path, **options: object) -> Any:
    """Options of a small network on a table."""
    extra = {} if table.parent.name == "labels" else {"label_column": "width"}
    return options_for(**{"root": str(table), **extra, **SMALL, **options})


@pytest.fixture(scope="module")
def compared(tables: dict[str, Path]) -> Comparison:
    """Every strategy on a number, each tuned for one epoch."""
    return compare.run_comparison(asked(tables["number"]), Recorder())


def test_every_strategy_is_measured_in_the_numbers_own_unit(compared: Comparison) -> None:
    """Four models of one split with R², MAE and RMSE; the best has the least RMSE."""
    rows = {c.strategy: c for c in compared.contenders if c.measured is not None}

    assert compared.target == "number"
    assert compared.metric == "rmse"
    assert list(rows) == ["linear-probe", "stage-probe", "partial", "deep"]
    for c in rows.values():
        assert c.measured is not None
        assert c.measured.n == compared.counts["test"]
        assert c.score == pytest.approx(c.measured.rmse, rel=1e-6)
        assert c.accuracy is None
    assert compared.best == min(rows, key=lambda name: rows[name].score or 0.0)
    blend = compared.contenders[-1]
    assert blend.strategy == "blend"
    assert "for classes" in (blend.untried or "")


def test_differences_are_paired_with_the_best_and_with_the_table(compared: Comparison) -> None:
    """What one is behind is the difference of scores; what is no more than chance is said so."""
    rows = {c.strategy: c for c in compared.contenders if c.measured is not None}
    best, table = rows[compared.best], rows[compared.table]

    assert best.behind == 0
    assert best.tied
    for c in rows.values():
        assert c.score is not None
        assert c.noise is not None
        assert c.behind is not None
        assert c.behind == pytest.approx(c.score - (best.score or 0))
        assert c.difference == pytest.approx((table.score or 0) - c.score)
        assert c.tied == (c.behind <= 1.959964 * c.noise)


def test_what_train_would_return_is_known_from_the_same_training(compared: Comparison) -> None:
    """One epoch does not beat the probe on held-out images, so the policy takes a probe."""
    assert compared.chosen in ("linear-probe", "stage-probe")
    assert f"The measured policy takes {compared.chosen}" in compared.verdict
    assert "made for classes" in compared.verdict


def test_a_comparison_of_numbers_fits_a_terminal(
    compared: Comparison, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eighty columns hold each row whole, and the next command trains the best."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")

    render_advice.show_comparison(compared, "finetune train t.csv --label-column width")

    lines = capsys.readouterr().out.splitlines()
    row = next(x for x in lines if x.startswith("linear-probe "))
    assert " (" in row
    assert row.rstrip().endswith(" s")
    assert any(x.startswith("blend has no figures: it is for classes") for x in lines)
    assert lines[-1].endswith(f"train t.csv --label-column width --strategy {compared.best}")


def test_what_does_not_fit_the_budget_is_not_started(tables: dict[str, Path]) -> None:
    """Of labels the probes are compared all the same, by mAP, and the rest is told why."""
    options = asked(tables["labels"], budget_s=0.001)

    found = compare.run_comparison(options, Recorder())

    rows = {str(c.strategy): c for c in found.contenders}
    assert found.target == "labels"
    assert found.metric == "map"
    for name in ("linear-probe", "stage-probe"):
        measured = rows[name].measured
        assert measured is not None
        assert rows[name].score == pytest.approx(measured.map)
        assert rows[name].log_loss == measured.log_loss
    for name in ("partial", "deep"):
        assert rows[name].measured is None
        assert "of the budget of" in (rows[name].untried or "")


def test_recommend_says_what_would_be_done_and_why(
    tables: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The classic table's cell is a hint, the probe is expected, nothing is trained."""
    found = recommend.run_recommendation(asked(tables["number"]), Recorder())

    said = [r.text for r in found.recommendation.reasons]
    assert found.target == "number"
    assert said[-1].startswith("Chosen: ")
    assert any("it was made for classes" in text and "hint" in text for text in said)
    assert any("has R² " in text for text in said)
    assert found.expected[0].accuracy is None
    assert {f.strategy for f in found.recommendation.forecasts} >= {"partial", "deep"}
    render_advice.show_advice(found, "finetune train t.csv", verbose=True)
    shown = " ".join(capsys.readouterr().out.split())
    assert "the classic table, made for classes, says" in shown
    assert "linear probes by stage, each image left out" in shown


def test_recommend_tells_the_budget_that_tuning_would_need(tables: dict[str, Path]) -> None:
    """A probe is taken where tuning does not fit, and what would have it otherwise is said."""
    found = recommend.run_recommendation(asked(tables["number"], budget_s=0.001), Recorder())

    assert found.recommendation.strategy in ("linear-probe", "stage-probe")
    assert "does not fit the budget" in found.recommendation.reasons[-1].text
    assert found.recommendation.flips[0].startswith("if --budget were ")


def test_recommend_on_labels_answers_in_json(tables: dict[str, Path], run_cli: Any) -> None:
    """What was recognised is there, with what the probes have on images they left out."""
    words = ("--backbone", "test_efficientnet", "--weights", "random", "--image-size", "64")

    told = run_cli("recommend", tables["labels"], *words, "--json")

    answer = json.loads(told.out)
    assert answer["target"] == "labels"
    assert answer["strategy"] == "deep"
    assert answer["expected"][0]["strategy"] == "linear-probe"
    assert 0 < answer["expected"][0]["measured"]["map"] <= 1
    assert answer["target_stages"][-1]["name"] == "top"


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("labels", {"metric": "rmse"}, "--metric rmse is none of --target labels"),
        ("number", {"loss": "bce"}, "--loss bce is none of --target number"),
    ],
)
def test_options_of_another_target_are_refused_before_any_feature(
    kind: str,
    options: dict[str, Any],
    words: str,
    tables: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fault names the option, and no network was asked anything."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("features were taken")

    monkeypatch.setattr(analyze, "analyze", never)
    for run in (compare.run_comparison, recommend.run_recommendation):
        with pytest.raises(UsageError, match=words):
            run(asked(tables[kind], **options), Recorder())


def test_of_equal_ones_the_cheapest_is_best() -> None:
    """What differs by the rounding of a sum is no gain, and nothing is told as minus zero."""
    rows = (
        Contender("linear-probe", score=1 - 1e-15, difference=-1e-16, low=-1e-16, high=0.0),
        Contender("stage-probe", score=1.0, difference=0.0, low=0.0, high=0.0),
        Contender("blend", untried="it is for classes"),
    )

    best = compare._best(rows, "map")
    told = compare._verdict(rows, "map", table="stage-probe", chosen="stage-probe", target="labels")

    assert best.strategy == "linear-probe"
    assert "-0.000" not in told
    assert "the table cost 0.000 of mAP (95 % interval 0.000 to 0.000)" in told
    assert "blend" not in told
