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
from PIL import Image
from target_runs import NAMES, target_run

import finetune
from finetune.deploy import drawn_pictures, formats, hub
from finetune.metrics import ranking
from finetune.records.choices import Format, OtherTarget
from finetune.records.dataset import Sample, Splits
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


def labelled(root: Path, kind: OtherTarget, run: Path) -> Splits:
    """Pictures that a run answers right, so that every other answer costs: a half to learn from."""
    root.mkdir()
    rng = np.random.default_rng(0)
    paths = [root / f"{i:02d}.png" for i in range(24)]
    for i, path in enumerate(paths):
        pixels = rng.integers(0, 60, (24, 24, 3)) + 8 * i
        pixels[:, : 1 + i] += 30
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    said = finetune.load(run).logits(paths)
    truth = (said > np.median(said, axis=0)).astype(float) if kind == "labels" else said + 0.1
    samples = [
        Sample(p.name, 0, p.name, values=tuple(row))
        for p, row in zip(paths, truth.tolist(), strict=True)
    ]
    return Splits(tuple(samples[::2]), (), tuple(samples[1::2]))


@pytest.mark.parametrize("kind", KINDS)
def test_8_bits_are_judged_in_the_targets_own_metric(
    tmp_path: Path,
    exported: Callable[[OtherTarget], Made],
    monkeypatch: pytest.MonkeyPatch,
    run_cli: Callable[..., Any],
    kind: OtherTarget,
) -> None:
    """What mAP or RMSE loses is that of the file itself on the test images, with its interval."""
    plain, file = exported(kind)
    monkeypatch.setattr(formats, "_onnx", lambda _run: file.read_bytes())
    splits = labelled(tmp_path / "data", kind, plain)
    run = target_run(tmp_path / "run", kind, data=tmp_path / "data", splits=splits)
    out = tmp_path / "small.onnx"

    done = run_cli("export", run, "--int8", "--out", out, "--max-loss", "100", "--json")

    assert done.code == 0, done.err
    cost = json.loads(done.out)["int8"]
    session = onnxruntime.InferenceSession(out)
    paths = [tmp_path / "data" / s.path for s in splits.test]
    less = np.array([session.run(None, {"image": formats.as_read(p)[None]})[0][0] for p in paths])
    full, truth = expected(run, paths), np.array([s.values for s in splits.test])
    if kind == "labels":
        loss = ranking.mean_average_precision(full, truth) - ranking.mean_average_precision(
            less.astype(np.float64), truth
        )
        assert cost["fp32_score"] == pytest.approx(ranking.mean_average_precision(full, truth))
        words = "the loss of mAP is"
    else:
        before, after = (np.sqrt(np.square(v - truth).mean()) for v in (full, less))
        loss = after / before - 1
        assert cost["fp32_score"] == pytest.approx(before, rel=1e-3)
        words = "RMSE rises by"
    assert cost["metric"] == {"labels": "map", "number": "rmse"}[kind]
    assert cost["loss"] == pytest.approx(loss, abs=1e-3)
    assert cost["interval"][0] <= cost["loss"] <= cost["interval"][1]
    assert cost["fp32_accuracy"] is None
    assert f"in 8 bits {words}" in out.with_suffix(".md").read_text("utf-8")


@pytest.fixture(scope="module")
def hubs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[OtherTarget], Made]:
    """Gives a run of one of timm's networks and its export in timm's layout, checked."""
    root = tmp_path_factory.mktemp("target-hubs")

    @functools.cache
    def made(kind: OtherTarget) -> Made:
        run = target_run(root / kind, kind, backbone="test_resnet", network=False)
        return run, Path(finetune.export(run, "hub").path)

    return made


@pytest.mark.parametrize("kind", ["labels", "number"])
def test_hub_holds_labels_and_numbers(
    hubs: Callable[[OtherTarget], Made], pictures: list[Path], kind: OtherTarget
) -> None:
    """By timm alone the logits are those of predict; what they mean is in config and README."""
    run, folder = hubs(kind)

    answer = hub.answer(folder, formats.as_read, run_folder.load_facts(run).target)

    said = np.array([answer(path) for path in pictures])
    assert np.abs(said - expected(run, pictures)).max() < 0.2
    config = json.loads((folder / "config.json").read_text("utf-8"))
    meant = {"labels": "multi_label_classification", "number": "regression"}
    assert config["problem_type"] == meant[kind]
    assert config.get("thresholds") == ([0.2, 0.5, 0.9] if kind == "labels" else None)
    readme = (folder / "README.md").read_text("utf-8")
    assert "softmax over them" in readme
    assert ("pipeline_tag" in readme) == (kind == "labels")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["labels", "number"])
def test_the_readmes_program_of_hub_says_what_predict_says(
    hubs: Callable[[OtherTarget], Made], pictures: list[Path], kind: OtherTarget
) -> None:
    """It runs as it stands, with timm and without this program."""
    run, folder = hubs(kind)

    rows = as_written(folder / "README.md", pictures, without=("finetune",))

    said = np.array([[float(cell.rpartition(" ")[2]) for cell in row[1:]] for row in rows])
    assert np.abs(said - expected(run, pictures)).max() < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("form", ["openvino", "triton", "pt2"])
@pytest.mark.parametrize("kind", ["labels", "number"])
def test_every_formats_program_says_what_predict_says(
    tmp_path: Path,
    exported: Callable[[OtherTarget], Made],
    pictures: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    kind: OtherTarget,
    form: Format,
) -> None:
    """The other formats' READMEs, as they stand, for labels and for a number."""
    run, file = exported(kind)
    monkeypatch.setattr(formats, "_onnx", lambda _run: file.read_bytes())
    place = tmp_path / ("made.pt2" if form == "pt2" else "made")

    made = finetune.export(run, form, out=place)

    readme = place.with_suffix(".md") if form == "pt2" else place / "README.md"
    rows = as_written(readme, pictures, without=("finetune",))
    said = np.array([[float(cell.rpartition(" ")[2]) for cell in row[1:]] for row in rows])
    assert made.labels_equal
    assert np.abs(said - expected(run, pictures)).max() < 0.2


def test_a_readme_has_the_score(exported: Callable[[OtherTarget], Made]) -> None:
    """With its interval and the number of test images, as the run's own answer has it."""
    readme = exported("labels")[1].with_suffix(".md").read_text("utf-8")

    assert (
        "* 0.875 mAP (0.750 to 0.970), micro F1 0.800, macro F1 0.750, on 8 test images" in readme
    )
