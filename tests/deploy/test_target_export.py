"""Promises of `export` for runs of labels and numbers: the outputs that others rely on."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import as_written
from target_runs import NAMES, target_run

import finetune
from finetune.deploy import drawn_pictures, formats
from finetune.records.choices import Format, OtherTarget
from finetune.runs import run_folder

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
Made = tuple[Path, Path]
# an ONNX takes 10 s to make
KINDS = ("labels", pytest.param("number", marks=pytest.mark.slow))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Drawn pictures of every kind."""
    return drawn_pictures.draw(tmp_path_factory.mktemp("drawn"), len(drawn_pictures.KINDS))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[OtherTarget], Made]:
    """Gives a run of a target and its ONNX, checked; made once, when it is asked for."""
    root = tmp_path_factory.mktemp("target-exports")

    @functools.cache
    def made(kind: OtherTarget) -> Made:
        run = target_run(root / kind, kind)
        return run, Path(finetune.export(run).path)

    return made


def expected(run: Path, paths: list[Path]) -> np.ndarray:
    logits = finetune.load(run).logits(paths)
    labels = run_folder.load_facts(run).target.kind == "labels"  # type: ignore[union-attr]
    return 1 / (1 + np.exp(-logits)) if labels else logits


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_gives_probabilities_of_labels_or_values(
    exported: Callable[[OtherTarget], Made], pictures: list[Path], kind: OtherTarget
) -> None:
    """`probabilities` of each label by itself, `values` in their own unit; facts as metadata."""
    run, file = exported(kind)
    session = onnxruntime.InferenceSession(file)
    about = session.get_modelmeta().custom_metadata_map

    found = [session.run(None, {"image": formats.as_read(p)[None]})[0][0] for p in pictures]

    assert session.get_outputs()[0].name == {"labels": "probabilities", "number": "values"}[kind]
    assert np.abs(np.array(found) - expected(run, pictures)).max() < 0.2
    assert json.loads(about["classes"]) == list(NAMES[kind])
    assert about["target"] == kind
    if kind == "labels":
        assert json.loads(about["thresholds"]) == [0.2, 0.5, 0.9]


@pytest.mark.parametrize("kind", KINDS)
def test_the_readmes_program_says_what_predict_says(
    exported: Callable[[OtherTarget], Made], pictures: list[Path], kind: OtherTarget
) -> None:
    """It runs as it stands, and names every label or number."""
    run, file = exported(kind)
    rows = as_written(file.with_suffix(".md"), pictures, without=("torch", "timm"))

    said = np.array([[float(cell.rpartition(" ")[2]) for cell in row[1:]] for row in rows])
    assert np.abs(said - expected(run, pictures)).max() < 0.2
    assert [cell.rpartition(" ")[0] for cell in rows[0][1:]] == list(NAMES[kind])


def test_openvino_answers_the_same(
    tmp_path: Path, exported: Callable[[OtherTarget], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parity check passes, and nothing tells ModelAPI that it were a softmax."""
    run, file = exported("labels")
    monkeypatch.setattr(formats, "_onnx", lambda _run: file.read_bytes())

    found = finetune.export(run, "openvino", out=tmp_path / "made")

    assert found.labels_equal
    assert b"multilabel" not in next((tmp_path / "made").glob("*.xml")).read_bytes()


@pytest.mark.parametrize(("kind", "int8"), [("hub", False), ("onnx", True)])
def test_what_has_no_place_for_labels_is_refused(
    tmp_path: Path,
    exported: Callable[[OtherTarget], Made],
    run_cli: Callable[..., Any],
    kind: Format,
    int8: bool,
) -> None:
    """A hub's layout ends in a softmax, and 8 bits are judged by accuracy: nothing is written."""
    asked = [
        "export",
        str(exported("labels")[0]),
        "--format",
        kind,
        "--out",
        str(tmp_path / "a.onnx"),
    ]

    done = run_cli(*asked, *(["--int8"] if int8 else []))

    assert done.code == 2
    assert "is for runs of classes" in done.err.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []
