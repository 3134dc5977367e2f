"""Promises of the report of a run of labels or numbers: it is whole, readable, and says it all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import browser as chromium
import pytest
from examples import FACTS, HISTORY, PLAN
from target_examples import FAR_ANSWER, LABEL_METRICS, NUMBER_METRICS, target_result
from target_runs import NAMES, TARGETS, target_run

from finetune.records.choices import OtherTarget
from finetune.records.dataset import Finding
from finetune.records.events import Silent
from finetune.records.run import RunFacts
from finetune.records.target_result import TargetResult
from finetune.report import target_html
from finetune.workflows.report import run_report

EVIL = "<script>alert(1)</script>\"'&amp;<img src=x onerror=alert(2)>"
KINDS: tuple[OtherTarget, ...] = ("labels", "number")
POINTS = tuple((float(i), i + 0.5 * (-1) ** i) for i in range(40))


def example(kind: OtherTarget) -> tuple[RunFacts, TargetResult]:
    """A run of that target with everything in it."""
    metrics = LABEL_METRICS if kind == "labels" else NUMBER_METRICS
    facts = replace(FACTS, classes=NAMES[kind], target=TARGETS[kind], accuracy=None)
    result = replace(
        target_result(PLAN),
        target=kind,
        names=NAMES[kind],
        test=metrics,
        estimate=metrics,
        points=POINTS if kind == "number" else (),
        findings=(Finding("FT161", "warning", "1 label(s) left out", "Add images."),),
    )
    return facts, result


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", chromium.WIDTHS)
def test_the_page_is_whole_and_can_be_read(
    browser: Any, tmp_path: Path, kind: OtherTarget, width: int
) -> None:
    """Nothing is fetched or sticks out, it has no faults of access, figures and reasons stand."""
    facts, result = example(kind)
    (tmp_path / "report.html").write_text(target_html.to_html(facts, result, HISTORY, {}), "utf-8")

    with chromium.visiting(browser, (tmp_path / "report.html").as_uri(), width=width) as visit:
        words = visit.page.locator("main").inner_text()
        titles = visit.page.locator("svg.chart > title").all_text_contents()
        assert visit.faults() == []
        assert visit.overflow_px() <= 0
        assert visit.complaints == []
    wanted = ("0.875", "cat", "mAP") if kind == "labels" else ("0.750", "angle", "RMSE")
    assert all(one in words for one in wanted)
    assert "labels: cells hold ;" in words
    assert "1 label(s) left out" in words
    charts = "Average precision by label" if kind == "labels" else "Answers against the truth"
    assert any(charts in title for title in titles)


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_from_outside_is_markup(kind: OtherTarget) -> None:
    """Names of labels, paths, answers and findings are escaped wherever they stand."""
    facts, result = example(kind)
    scores = tuple(replace(s, name=EVIL) for s in (result.test or result.estimate).per_label)
    metrics = replace(result.estimate, per_label=scores)
    result = replace(
        result,
        names=(EVIL,),
        test=metrics,
        estimate=metrics,
        verdict=EVIL,
        worst=(replace(FAR_ANSWER, path=EVIL, truth=EVIL, answer=EVIL),),
        findings=(Finding(EVIL, "warning", EVIL, EVIL, (EVIL,)),),
    )
    facts = replace(facts, classes=(EVIL,), data_root=EVIL, command=EVIL)

    page = target_html.to_html(facts, result, HISTORY, {})

    assert "<script>" not in page
    assert "<img" not in page


def test_the_command_makes_it_again(tmp_path: Path) -> None:
    """From the run's folder alone, with a word on pictures that are gone."""
    run = target_run(tmp_path / "run", "number")

    found = run_report(run, tmp_path / "again.html", no_images=False, listener=Silent())

    assert (found.pictures, Path(found.path).stat().st_size) == (0, found.bytes)
    assert "angle" in (tmp_path / "again.html").read_text("utf-8")
