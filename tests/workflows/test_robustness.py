"""Promises of `evaluate --robustness`: the same images changed, falls with their errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from examples import CLASSES
from helpers import Recorder, small_run

from finetune.backbones.inference import Engine
from finetune.deploy.predictor import Predictor
from finetune.pictures.corruptions import CORRUPTIONS
from finetune.records.dataset import Sample
from finetune.workflows import robustness


class Bright(Predictor):
    """Takes bright pictures for class 1: what it loses is known."""

    def logits(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        bright = pixels.astype(np.float64).mean((1, 2, 3)) > 120
        return np.stack([~bright, bright], axis=1).astype(np.float64)


@pytest.fixture
def bright() -> Bright:
    engine: Engine = None  # type: ignore[assignment]  # `logits` needs none
    return Bright(engine, 32, None, 1.0)


def gray(root: Path, *values: int) -> list[Sample]:
    """Pictures of one gray each; those above 120 are of class 1, and one file is none."""
    from PIL import Image  # noqa: PLC0415

    samples = []
    for i, value in enumerate(values):
        Image.new("RGB", (40, 30), (value, value, value)).save(root / f"{i}.png")
        samples.append(Sample(f"{i}.png", int(value > 120), str(i)))
    (root / "no.png").write_bytes(b"none")
    return [*samples, Sample("no.png", 0, "no")]


def test_what_darkness_costs_is_counted(bright: Bright, tmp_path: Path) -> None:
    """Of four bright and four dark pictures the bright ones are lost, in steps that are known."""
    samples = gray(tmp_path, 180, 210, 230, 250, 10, 20, 30, 40)
    recorder = Recorder()

    falls = robustness.measure(bright, tmp_path, samples, recorder)

    dark = [f for f in falls if f.kind == "illumination"]
    assert [f.accuracy for f in dark] == [0.5 + 0.125 * k for k in (3, 0, 0)]
    assert [f.lost for f in dark] == [0.125, 0.5, 0.5]
    assert all(f.images == 8 and 0 < f.error < 0.25 for f in dark)
    assert [f.lost for f in falls if f.kind == "contrast"] == [0, 0, 0]
    assert recorder.last[0] == recorder.last[1] == 8 * 31


def test_every_kind_is_there_at_three_strengths(bright: Bright, tmp_path: Path) -> None:
    """Thirty rows in order; nothing of pictures that cannot be read."""
    falls = robustness.measure(bright, tmp_path, gray(tmp_path, 200, 30), Recorder())

    assert [(f.kind, f.strength) for f in falls] == [
        (c.kind, s) for c in CORRUPTIONS for s in (1, 2, 3)
    ]
    only_bad = [Sample("no.png", 0, "no")]
    assert robustness.measure(bright, tmp_path, only_bad, Recorder()) == ()


def test_evaluate_tells_people_and_programs(run_cli, image_folder, tmp_path: Path) -> None:
    """A sentence and a table on the screen, thirty rows in JSON, nothing unless asked for."""
    run = small_run(tmp_path / "run")
    root = image_folder(dict.fromkeys(CLASSES, 3))
    command = ("evaluate", root, "--run", run)

    plain, shown = run_cli(*command), run_cli(*command, "--robustness")
    told = json.loads(run_cli(*command, "--robustness", "--json").out)

    assert plain.code == shown.code == 0
    assert "Fragile:" not in plain.out
    assert "Fragile:  " in shown.out
    assert "accuracy on 6 images  slight  medium  strong" in shown.out
    assert len(told["robustness"]) == 30
    assert {"kind", "strength", "what", "accuracy", "lost", "error"} <= set(told["robustness"][0])
