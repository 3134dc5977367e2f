"""Promises of the predictor: one way from pictures to logits, wherever the model comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from helpers import SAMPLE, Recorder, small_run

from finetune.backbones import engine, load
from finetune.deploy import predictor
from finetune.deploy.predictor import Predictor
from finetune.heads import ridge
from finetune.pictures import decoding
from finetune.runs import run_folder

PICTURES = sorted(SAMPLE.rglob("*.jpg"))[::80]


def read_back(run: Path) -> Predictor:
    """The predictor of a run."""
    facts = run_folder.load_facts(run)
    return predictor.of_run(run, facts, device="cpu", images=1, listener=Recorder())


def test_a_fitted_model_and_its_run_give_the_same_logits(tmp_path: Path) -> None:
    """Before it is written, from its inference file and with torch, a model says the same."""
    loaded = run_folder.load(small_run(tmp_path / "run"))
    about = loaded.facts
    tensors = {name: torch.from_numpy(t) for name, t in loaded.backbone.items()}
    made = engine.make(
        load.rebuild(about.backbone, tensors), torch.device("cpu"), about.preprocess.side_px, 1
    )
    head = ridge.stored(ridge.Head(loaded.weight, loaded.bias, about.head.temperature))
    fitted = Predictor(made, about.preprocess.side_px, (), head.temperature, head, about.head.taps)

    quick = read_back(tmp_path / "run").of_files(PICTURES, Recorder())
    slow = read_back(small_run(tmp_path / "slow", network=False)).of_files(PICTURES, Recorder())
    expected = fitted.of_files(PICTURES, Recorder())

    assert np.array_equal(slow.rows[:], expected.rows[:])
    assert np.abs(quick.rows[:] - expected.rows[:]).max() < 1e-3


def test_files_are_decoded_as_the_pixels_that_were_given(tmp_path: Path) -> None:
    """A file's logits are those of its pixels at the run's image size."""
    model = read_back(small_run(tmp_path / "run"))
    pixels = np.stack([decoding.decode(p, model.side_px, model.scales) for p in PICTURES])

    assert np.array_equal(model.of_files(PICTURES, Recorder()).rows[:], model.logits(pixels))


def test_what_cannot_be_read_costs_itself_only(tmp_path: Path) -> None:
    """A damaged file has a fault and no row; the others keep their places."""
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")

    found = read_back(small_run(tmp_path / "run")).of_files(
        [PICTURES[0], bad, PICTURES[1]], Recorder()
    )

    assert found.kept.tolist() == [0, 2]
    assert [i for i, _ in found.faults] == [1]
    ((numbers, likely),) = found.probabilities()
    assert numbers.tolist() == [0, 2]
    assert np.allclose(likely.sum(axis=1), 1)
