"""What test modules share beside the fixtures: the sample data, a listener, short ways to a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from examples import CLASSES, DOUBT, FACTS, HISTORY, RESULT, SPLITS, UNKNOWN

from finetune.backbones import engine, load, registry
from finetune.deploy import inference_file
from finetune.deploy.predictor import Predictor
from finetune.heads import ridge, unknown
from finetune.records.options import Options, Request, flat, resolved
from finetune.records.run import HeadFacts, RunResult
from finetune.records.training import EpochRecord
from finetune.runs import run_folder, run_tensors
from finetune.workflows.train import run_training

SAMPLE = Path(__file__).parents[1] / "sample_data" / "leaves"


class Recorder:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.epochs: list[EpochRecord] = []
        self.notes: list[str] = []
        self.last = (0, 0)

    def step(self, name: str) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        self.last = (done, total)

    def epoch(self, record: EpochRecord) -> None:
        self.epochs.append(record)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def detail(self, text: str) -> None:
        self.notes.append(text)


def train(root: Path, out: Path, **options: object) -> RunResult:
    """The main job by the table's letter, which costs no trials, unless the options say else."""
    options = {"policy": "table", **options}
    return run_training(options_for(root=str(root), out=str(out), **options), Recorder())


def options_for(**given: object) -> Options:
    """What stands for a command line: options by the names under which a run keeps them."""
    return resolved(Request(**given))  # type: ignore[arg-type]


def changed(options: Options, /, **given: object) -> Options:
    """The same with other values for some options."""
    return resolved(replace(flat(options), **given))


def small_run(path: Path, *, network: bool = True) -> Path:
    """A whole run of an untrained LeNet-5 for two classes, with or without its inference file."""
    torch.manual_seed(0)
    backbone, about = load.build("lenet5", registry.RANDOM)
    side = about.preprocess.side_px
    weight = np.random.default_rng(0).normal(size=(len(CLASSES), 84)).astype(np.float32)
    bias = np.zeros(len(CLASSES), np.float32)
    head = ridge.Head(weight.astype(np.float64), bias.astype(np.float64), 1.0)
    made = engine.make(backbone, torch.device("cpu"), side, 1)
    files, why = inference_file.inference_file(
        lambda: engine.convert(backbone, side),
        Predictor(made, side, (), 1.0, head, ("top",)),
    )
    assert files is not None, why
    seen = np.random.default_rng(1).normal(size=(20, 84)).astype(np.float32)
    doubt = replace(DOUBT, unknown=replace(UNKNOWN, stop=84))
    kept = replace(FACTS, backbone=about, preprocess=about.preprocess, doubt=doubt)
    tensors = {name: tensor.numpy() for name, tensor in backbone.state().items()}
    run_folder.save(
        path,
        replace(kept, head=HeadFacts(("top",), 1.0)),
        RESULT,
        tensors=run_tensors.pack(tensors, weight, bias, reference=unknown.fit(seen).reference),
        history=HISTORY,
        splits=SPLITS,
        report="<!doctype html>",
        aside=path.with_name(".aside"),
        network=files if network else None,
    )
    return path
