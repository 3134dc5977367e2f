"""Whole runs of an untrained LeNet-5 that answers labels or numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from examples import FACTS, HISTORY, PLAN, RESULT
from target_examples import LABEL_METRICS, NUMBER_METRICS, target_result

from finetune.backbones import engine, load, registry
from finetune.deploy import inference_file
from finetune.deploy.predictor import Predictor
from finetune.heads import ridge
from finetune.records.choices import OtherTarget
from finetune.records.codec import to_json
from finetune.records.dataset import Sample, Splits
from finetune.records.file_names import RESULT as RESULT_FILE
from finetune.records.run import HeadFacts
from finetune.records.target import TargetFacts
from finetune.runs import run_folder, run_tensors

NAMES = {"labels": ("cat", "dög", "tree"), "number": ("angle",)}
TARGETS = {
    "labels": TargetFacts(kind="labels", loss="bce", thresholds=(0.2, 0.5, 0.9)),
    "number": TargetFacts(kind="number", loss="mse", within=(7.5,)),
}


def target_run(
    path: Path,
    kind: OtherTarget,
    *,
    names: tuple[str, ...] | None = None,
    network: bool = True,
    data: Path | None = None,
    backbone: str = "lenet5",
    splits: Splits | None = None,
) -> Path:
    """A run of that target, with or without its inference file.

    Args:
        path: Where.
        kind: Of the target.
        names: Of labels or numbers, where they are to be others.
        network: Whether it has an inference file.
        data: What it says it was trained on.
        backbone: The untrained network; others than LeNet-5 squash their pictures.
        splits: Its images, where they are to be others.
    """
    torch.manual_seed(0)
    called = names or NAMES[kind]
    net, about = load.build(backbone, registry.RANDOM)
    how = about.preprocess
    how = how if backbone == "lenet5" else replace(how, scales=(), fit="squash")
    side = how.side_px
    rng = np.random.default_rng(0)
    start, stop = engine._layout(net, side)["top"]
    weight = (3 * rng.normal(size=(len(called), stop - start))).astype(np.float32)
    bias = np.full(len(called), 10.0 if kind == "number" else 0.0, np.float32)
    head = ridge.Head(weight.astype(np.float64), bias.astype(np.float64), 1.0)
    made = engine.make(net, torch.device("cpu"), side, 1)
    files, why = inference_file.inference_file(
        lambda: engine.convert(net, side), Predictor(made, side, (), 1.0, head, ("top",))
    )
    assert files is not None, why
    target = TARGETS[kind]
    if kind == "number":
        target = replace(target, within=(7.5,) * len(called))
    values = [(1.0, 0.0, 1.0), (0.0, 1.0, 0.0)] if kind == "labels" else [(5.0,), (15.0,)]
    shown = splits or Splits(
        tuple(Sample(f"{i}.png", 0, f"d{i}", values=v) for i, v in enumerate(values)), (), ()
    )
    tensors = {name: tensor.numpy() for name, tensor in net.state().items()}
    run_folder.save(
        path,
        replace(
            FACTS,
            backbone=about,
            preprocess=how,
            doubt=None,
            shares=None,
            parts=(),
            target=target,
            classes=called,
            accuracy=None,
            accuracy_source="",
            head=HeadFacts(("top",), 1.0),
            data_root=str(data or "/data/none"),
        ),
        RESULT,
        tensors=run_tensors.pack(tensors, weight, bias),
        history=HISTORY,
        splits=shown,
        report="<!doctype html>",
        aside=path.with_name(f".aside-{path.name}"),
        network=files if network else None,
    )
    metrics = LABEL_METRICS if kind == "labels" else NUMBER_METRICS
    result = replace(
        target_result(PLAN),
        run=str(path),
        target=kind,
        loss=target.loss,
        names=called,
        test=metrics,
        estimate=metrics,
    )
    (path / RESULT_FILE).write_text(to_json(result))
    return path
