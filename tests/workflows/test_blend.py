"""Promises of a blend from training to answers: one model in all but its two networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SAMPLE, Recorder, train
from safetensors.numpy import load_file

from finetune.backbones import load as backbones
from finetune.backbones.registry import BODY, ORIGINAL
from finetune.deploy import predictor
from finetune.heads import calibration
from finetune.records.codec import to_json
from finetune.records.errors import RunError
from finetune.records.file_names import FACTS, MODEL, NETWORK
from finetune.records.run import RunResult
from finetune.runs import run_folder
from finetune.workflows.evaluate import run_evaluation

SMALL = {
    "backbone": "test_efficientnet",
    "max_per_class": 8,
    "options": {"epochs": 2, "side_px": 64},
}


@pytest.fixture(scope="module")
def blended(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, Path]:
    """A blend of a network tuned at 64 px and a probe at the backbone's own size."""
    out = tmp_path_factory.mktemp("runs") / "blend"
    return train(SAMPLE, out, strategy="blend", weights="random", **SMALL), out


def test_a_blend_that_is_asked_for_is_returned_with_its_parts(
    blended: tuple[RunResult, Path],
) -> None:
    """The result names both parts, with weights that are neither nothing nor all, and the cost."""
    result, out = blended

    told = json.loads(to_json(result))

    assert told["strategy"] == told["requested_strategy"] == "blend"
    tuned, probe = told["parts"]
    assert tuned["strategy"] in ("partial", "deep")
    assert probe["strategy"] in ("linear-probe", "stage-probe")
    assert 0 < tuned["weight"] < 1
    assert tuned["weight"] + probe["weight"] == pytest.approx(1)
    assert result.floor is not None
    assert result.floor.kept == "blend"
    assert "a second pass" in result.floor.reason
    facts = run_folder.load_facts(out)
    assert facts.parts == result.parts
    assert facts.preprocess.side_px == max(part.side_px for part in facts.parts)
    assert "blend" in (out / "report.html").read_text("utf-8")


def test_a_blend_answers_as_in_its_own_test(blended: tuple[RunResult, Path]) -> None:
    """Evaluated on its test images, from its inference file, it does as its training said."""
    result, out = blended
    test = run_folder.load_splits(out).test
    assert result.test is not None

    paths = [SAMPLE / sample.path for sample in test]
    found = predictor.run_logits(
        out, result_facts := run_folder.load_facts(out), paths, device="cpu", listener=Recorder()
    )

    likely = calibration.probabilities(np.asarray(found.rows[:], np.float64), found.temperature)
    labels = np.array([sample.label for sample in test])
    losses = -np.log(likely[np.arange(len(labels)), labels])
    assert (likely.argmax(axis=1) == labels).mean() == result.test.accuracy
    assert losses.mean() == pytest.approx(result.test.log_loss, abs=2e-3)
    assert set(result_facts.inference) == set(NETWORK)


def test_the_inference_file_says_what_torch_says(
    blended: tuple[RunResult, Path], tmp_path: Path
) -> None:
    """Both networks in one graph answer as both rebuilt from the run's tensors, within parity."""
    _, out = blended
    copy = shutil.copytree(out, tmp_path / "copy")
    for name in NETWORK:
        (copy / name).unlink()
    paths = sorted(SAMPLE.glob("*/*"))[::40]
    heard = Recorder()

    quick, slow = (
        predictor.run_logits(
            run, run_folder.load_facts(run), paths, device="cpu", listener=heard
        ).rows[:]
        for run in (out, copy)
    )

    assert np.abs(quick - slow).max() <= 1e-3 * np.abs(slow).max()
    assert any("torch" in note for note in heard.notes)


def test_the_probe_reads_the_original_backbone(blended: tuple[RunResult, Path]) -> None:
    """The second network is, bit for bit, the one that training began with.

    Its frozen stages are kept once: they are the same in both.
    """
    _, out = blended
    facts, loaded = run_folder.load_facts(out), run_folder.load(out)
    assert loaded.original is not None

    rebuilt = backbones.rebuild(
        facts.backbone,
        {name: torch.from_numpy(t) for name, t in loaded.original.items()},
    )

    assert backbones.digest(rebuilt.state()) == facts.backbone.digest
    stored = load_file(out / MODEL)
    changed = {name.removeprefix(ORIGINAL) for name in stored if name.startswith(ORIGINAL)}
    assert changed
    for name in loaded.backbone:
        same = loaded.backbone[name].tobytes() == loaded.original[name].tobytes()
        assert same == (name not in changed)
        assert f"{BODY}{name}" in stored
    frozen = {s for s in facts.backbone.stages if s not in facts.plan.tuned_stages}
    assert frozen
    assert not [n for n in changed if rebuilt.stage_of(n.rpartition(".")[0]) in frozen]


def test_the_same_seed_gives_the_same_blend(
    blended: tuple[RunResult, Path], tmp_path: Path
) -> None:
    """Tensors and inference file of a second training are the first one's, bit for bit."""
    _, out = blended

    train(SAMPLE, tmp_path / "run", strategy="blend", weights="random", **SMALL)

    for name in (MODEL, *NETWORK):
        assert (tmp_path / "run" / name).read_bytes() == (out / name).read_bytes(), name


def test_a_blend_is_evaluated_like_any_run(blended: tuple[RunResult, Path]) -> None:
    """`evaluate` measures it on labelled images."""
    _, out = blended

    found = run_evaluation(SAMPLE, out, device="cpu", unseen=True, listener=Recorder())

    assert found.metrics.n > 0


def test_a_run_with_one_part_alone_is_refused(
    blended: tuple[RunResult, Path], tmp_path: Path
) -> None:
    """A run.json that names one network of a blend is damaged, and is not answered from."""
    _, out = blended
    copy = shutil.copytree(out, tmp_path / "copy")
    facts = json.loads((copy / FACTS).read_text("utf-8"))
    facts["parts"] = facts["parts"][:1]
    (copy / FACTS).write_text(json.dumps(facts), encoding="utf-8")

    with pytest.raises(RunError, match="not two"):
        run_folder.load_facts(copy)
