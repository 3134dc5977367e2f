"""What tests of exports share: runs without a training, and programs run as READMEs have them."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from examples import CLASSES, FACTS, HISTORY, RESULT, SPLITS
from helpers import Recorder

from finetune.backbones import engine, load, registry
from finetune.deploy import predictor
from finetune.records.answers import Exported
from finetune.records.choices import Fit
from finetune.records.dataset import Splits
from finetune.records.run import HeadFacts
from finetune.runs import run_folder, run_tensors


@dataclass(frozen=True)
class TwoStages:
    """A run whose head reads two stages, and its ONNX."""

    run: Path
    found: Exported
    file: Path


def make_run(
    path: Path,
    name: str = "test_resnet",
    taps: tuple[str, ...] = ("2", "top"),
    fit: Fit = "half",
    root: Path | None = None,
    splits: Splits = SPLITS,
) -> Path:
    """A run of an untrained network whose head is random, without the work of a training."""
    torch.manual_seed(0)
    backbone, about = load.build(name, registry.RANDOM)
    layout = engine._layout(backbone, about.preprocess.side_px)
    width = sum(layout[tap][1] - layout[tap][0] for tap in taps)
    rng = np.random.default_rng(0)
    prepared = replace(about.preprocess, scales=(), fit=fit)
    run_folder.save(
        path,
        replace(
            FACTS,
            backbone=about,
            preprocess=prepared,
            head=HeadFacts(taps, 0.7),
            doubt=None,
            data_root=FACTS.data_root if root is None else str(root),
        ),
        RESULT,
        tensors=run_tensors.pack(
            {n: t.numpy() for n, t in backbone.state().items()},
            rng.normal(size=(len(CLASSES), width)).astype(np.float32),
            np.zeros(len(CLASSES), np.float32),
        ),
        history=HISTORY,
        splits=splits,
        report=None,
        aside=path.with_name(f".{path.name}"),
    )
    return path


def predicted(run: Path, paths: list[Path]) -> np.ndarray:
    """What predict says of files, float64[N,C]."""
    facts = run_folder.load_facts(run)
    found = predictor.run_logits(run, facts, paths, device="cpu", listener=Recorder())
    return np.concatenate([some for _, some in found.probabilities()])


def as_written(readme: Path, paths: list[Path], *, without: tuple[str, ...]) -> list[list[str]]:
    """What the program in a README prints of files, run in its folder without some packages."""
    text = readme.read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.+?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(code.splitlines()) == 10
    program = readme.parent / "program.py"
    program.write_text(code)
    script = (
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({without!r}))\n"
        "runpy.run_path('program.py', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        cwd=readme.parent,
        timeout=120,
    )
    program.unlink()
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]
