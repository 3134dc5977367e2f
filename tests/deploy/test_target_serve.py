"""Promises of `serve` and `explain` for runs of labels and numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import browser as chromium
import pytest
from served import LEAVES, dropped, fields, served
from target_runs import NAMES

import finetune
from finetune.records.choices import OtherTarget
from finetune.records.errors import UsageError
from finetune.runs import listing

KINDS: tuple[OtherTarget, ...] = ("labels", "number")


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_predict(target_runs: dict[str, Path], kind: OtherTarget) -> None:
    """All labels, or the value, and nothing about one class."""
    expected = finetune.load(target_runs[kind]).predict(LEAVES[:2])

    with served(target_runs[kind]) as (client, _):
        told = client.post("/predict", files=fields(*LEAVES[:2])).json()["predictions"]

    for answer, one in zip(told, expected, strict=True):
        if kind == "labels":
            assert list(answer) == ["labels"]
            assert [r["label"] for r in answer["labels"]] == list(NAMES[kind])
            found = [r["probability"] for r in answer["labels"]]
            assert found == pytest.approx([r.probability for r in one.labels or ()], abs=1e-5)
            assert [r["on"] for r in answer["labels"]] == [r.on for r in one.labels or ()]
        else:
            assert answer == {"value": pytest.approx(one.value, abs=1e-4), "within": 7.5}


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_shows_labels_or_the_value(
    browser: Any, target_runs: dict[str, Path], kind: OtherTarget
) -> None:
    """Each label with its bar, those that are on first; a number with how near it is."""
    (one,) = finetune.load(target_runs[kind]).predict(LEAVES[0])
    with (
        served(target_runs[kind]) as (client, _),
        chromium.visiting(browser, str(client.base_url), width=chromium.WIDTHS[0]) as visit,
    ):
        dropped(visit, ("leaf.jpg", "image/jpeg", LEAVES[0].read_bytes()))
        answer = visit.page.locator("#answers .answer").first
        answer.locator("h2").wait_for(timeout=20_000)
        visit.page.wait_for_timeout(500)
        text = answer.inner_text()

        assert visit.complaints == []
        assert visit.faults() == []
        assert visit.overflow_px() <= 0
    if kind == "labels":
        for row in one.labels or ():
            assert f"{row.label} {100 * row.probability:.1f} %" in text
    else:
        assert f"{one.value:.4g}"[:4] in text
        assert "within ± 7.50" in text
        assert "a number is neither" in text


def test_a_heat_map_is_of_a_label_and_not_of_a_number(target_runs: dict[str, Path]) -> None:
    """Its probability is the label's by itself; of a number there is none, and why is told."""
    model = finetune.load(target_runs["labels"])

    (found,) = model.explain(LEAVES[0], label="tree")

    (answer,) = model.predict(LEAVES[0])
    expected = {row.label: row.probability for row in answer.labels or ()}
    assert found.label == "tree"
    assert found.probability == pytest.approx(expected["tree"], abs=1e-4)
    with pytest.raises(UsageError, match="a number is neither"):
        finetune.load(target_runs["number"]).explain(LEAVES[0])


def test_suggest_is_refused(target_runs: dict[str, Path], run_cli: Callable[..., Any]) -> None:
    """What looks for doubt between classes has none here."""
    done = run_cli("suggest", str(target_runs["labels"]), str(LEAVES[0].parent))

    assert done.code == 2
    assert "is for runs of classes" in done.err.replace("\n", " ")


def test_runs_are_listed_with_their_score(
    target_runs: dict[str, Path], run_cli: Callable[..., Any]
) -> None:
    """The mAP or the R² stands where the accuracy of the others stands."""
    home = target_runs["labels"].parent
    rows = {row.target: row for row in listing.rows(home)}

    assert (rows["labels"].score, rows["number"].score) == (0.875, 0.75)
    assert all(row.accuracy is None and row.error is None for row in rows.values())
    shown = run_cli("runs", str(home)).out
    assert "mAP 0.875" in shown
    assert "R² 0.750" in shown
