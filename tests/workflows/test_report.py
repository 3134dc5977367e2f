"""Promises of `finetune report`: a run's page once more, with or without its pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import SAMPLE, Recorder

from finetune.pictures import corruptions
from finetune.records.codec import to_json
from finetune.records.errors import DataError, RunError, TakenError, UsageError
from finetune.records.file_names import FACTS, MATERIAL, REPORT
from finetune.records.run import RunResult
from finetune.report.html import MOST_BYTES
from finetune.runs import run_folder
from finetune.workflows import report_extras
from finetune.workflows.report import run_report

Leaves = tuple[RunResult, Path]


def test_a_page_made_again_is_the_same(leaves_run: Leaves, tmp_path: Path) -> None:
    """From the run's folder and the images where they lie: byte for byte what training wrote."""
    _, run = leaves_run

    found = run_report(run, tmp_path / "again.html", no_images=False, listener=Recorder())

    page = (tmp_path / "again.html").read_bytes()
    assert page == (run / REPORT).read_bytes()
    assert (found.bytes, found.pictures) == (len(page), page.count(b"<symbol "))
    assert found.pictures > 10
    assert found.bytes < MOST_BYTES


def test_a_page_to_be_mailed_has_no_pictures(
    leaves_run: Leaves, tmp_path: Path, run_cli: Callable[..., object]
) -> None:
    """`--no-images` shows names in place of pictures, and the answer says so."""
    _, run = leaves_run

    outcome = run_cli("report", run, "--no-images", "--out", tmp_path / "small.html", "--json")

    page = (tmp_path / "small.html").read_text("utf-8")
    assert outcome.code == 0, outcome.err  # type: ignore[attr-defined]
    assert json.loads(outcome.out)["pictures"] == 0  # type: ignore[attr-defined]
    assert "data:image" not in page
    assert "Least certain" in page


def test_where_the_images_are_gone_it_is_said(leaves_run: Leaves, tmp_path: Path) -> None:
    """The page is made without pictures, and a note says where they were looked for."""
    run = shutil.copytree(leaves_run[1], tmp_path / "run")
    facts = replace(run_folder.load_facts(run), data_root="/no/such/leaves")
    (run / FACTS).write_text(to_json(facts), encoding="utf-8")
    listener = Recorder()

    found = run_report(run, None, no_images=False, listener=listener)

    assert found.pictures == 0
    assert "/no/such/leaves" in listener.notes[0]
    assert (run / REPORT).stat().st_size == found.bytes


def test_a_run_without_the_material_is_refused(leaves_run: Leaves, tmp_path: Path) -> None:
    """Runs of older versions hold too little; their own page stays."""
    run = tmp_path / "old"
    shutil.copytree(leaves_run[1], run, ignore=shutil.ignore_patterns(MATERIAL))
    before = (run / REPORT).read_bytes()

    with pytest.raises(RunError, match="older version"):
        run_report(run, None, no_images=False, listener=Recorder())
    assert (run / REPORT).read_bytes() == before


def test_a_page_takes_no_place_of_another(leaves_run: Leaves, tmp_path: Path) -> None:
    """Neither a file that is there, nor one among the user's images."""
    taken = tmp_path / "taken.html"
    taken.write_text("mine", encoding="utf-8")

    with pytest.raises(TakenError):
        run_report(leaves_run[1], taken, no_images=True, listener=Recorder())
    with pytest.raises(UsageError):
        run_report(leaves_run[1], SAMPLE / "r.html", no_images=True, listener=Recorder())
    assert taken.read_text("utf-8") == "mine"


def test_names_that_lead_out_of_the_data_folder_are_not_shown(
    leaves_run: Leaves, tmp_path: Path
) -> None:
    """A run from elsewhere cannot have pictures of this machine put into a page."""
    run = shutil.copytree(leaves_run[1], tmp_path / "run")
    material = run_folder.load_material(run)
    outside = [replace(c, path=f"../leaves/{c.path}") for c in material.close]
    evil = replace(material, close=tuple(outside))
    (run / MATERIAL).write_text(to_json(evil), encoding="utf-8")

    found = run_report(run, tmp_path / "evil.html", no_images=False, listener=Recorder())

    known = run_report(leaves_run[1], tmp_path / "good.html", no_images=False, listener=Recorder())
    assert found.pictures < known.pictures


def test_a_tuned_model_has_heat_maps_where_there_is_time(tuned_run: Leaves, tmp_path: Path) -> None:
    """Of wrong and right test answers in turn; the page made again has them, too."""
    result, run = tuned_run

    material = run_folder.load_material(run)

    assert material.heat_maps
    known = {e.path for e in result.errors} | {s.path for s in material.sure}
    assert {one.path for one in material.heat_maps} <= known
    assert all(len(one.places) > 1 and one.answer in result.classes for one in material.heat_maps)
    assert b"Where the evidence lies" in (run / REPORT).read_bytes()
    run_report(run, tmp_path / "again.html", no_images=False, listener=Recorder())
    assert (tmp_path / "again.html").read_bytes() == (run / REPORT).read_bytes()


def test_all_that_takes_longer_is_measured_where_asked_for(
    leaves_run: Leaves, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--full` keeps heat maps and robustness in the run, so that the next page has both."""
    run = shutil.copytree(leaves_run[1], tmp_path / "run")
    monkeypatch.setattr(corruptions, "CORRUPTIONS", corruptions.CORRUPTIONS[:1])

    run_report(run, None, no_images=True, full=True, listener=Recorder())

    material = run_folder.load_material(run)
    assert [(f.kind, f.strength) for f in material.robustness] == [
        ("illumination", strength) for strength in (1, 2, 3)
    ]
    assert {m.truth == m.answer for m in material.heat_maps} >= {True}
    page = (run / REPORT).read_text("utf-8")
    assert "Accuracy lost to poor pictures" in page
    assert "Where the evidence lies" in page


def test_what_needs_the_images_is_refused_without_them(leaves_run: Leaves, tmp_path: Path) -> None:
    """`--full` of images that are gone is a fault that names their place; nothing is changed."""
    run = shutil.copytree(leaves_run[1], tmp_path / "run")
    facts = replace(run_folder.load_facts(run), data_root="/no/such/leaves")
    (run / FACTS).write_text(to_json(facts), encoding="utf-8")
    before = (run / MATERIAL).read_bytes()

    with pytest.raises(DataError, match="/no/such/leaves"):
        run_report(run, None, no_images=False, full=True, listener=Recorder())
    assert (run / MATERIAL).read_bytes() == before


def test_robustness_takes_no_more_than_its_time() -> None:
    """As many images as fit, none where too few would; a slow network has fewer."""
    assert report_extras.affordable(62.0, 0.01) == 100
    assert report_extras.affordable(62.0, 0.02) == 50
    assert report_extras.affordable(62.0, 0.021) == 0
