"""Answers from a run: files in, records out, one per file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from finetune import probe, runs
from finetune.errors import safe_name
from finetune.records import ClassProbability, Prediction


def predict(
    run: runs.LoadedRun,
    paths: Sequence[Path],
    *,
    top: int,
    device: str,
    progress: Callable[[int, int], None],
) -> list[Prediction]:
    """Classify files with a run; a file that cannot be read becomes a record with its error.

    Args:
        run: From `runs.load`.
        paths: Image files.
        top: How many classes to list per image.
        device: `auto`, `cpu`, `cuda`, `mps`.
        progress: Called with (done, total).
    """
    table_probabilities, kept, faults = _probabilities(run, paths, device, progress)
    names = [safe_name(str(path)) for path in paths]
    answers: dict[int, Prediction] = {
        i: Prediction(path=names[i], error=safe_name(message)) for i, message in faults
    }
    for row, i in enumerate(kept):
        best = np.argsort(-table_probabilities[row], kind="stable")[:top]
        listed = tuple(
            ClassProbability(run.facts.classes[c], float(table_probabilities[row, c])) for c in best
        )
        answers[int(i)] = Prediction(
            path=names[i],
            label=listed[0].label,
            probability=listed[0].probability,
            top=listed,
        )
    return [answers[i] for i in range(len(paths))]


def _probabilities(
    run: runs.LoadedRun, paths: Sequence[Path], device: str, progress: Callable[[int, int], None]
) -> tuple[probe.Array, list[int], list[tuple[int, str]]]:
    """Calibrated probabilities float64[N,C] of the files that decode, their places, the faults."""
    # torch is heavy to import; only a prediction that is really made waits for it
    import torch  # noqa: PLC0415

    from finetune import backbones, engine, features  # noqa: PLC0415

    chosen, _ = engine.choose_device(device)
    tensors = {name: torch.from_numpy(t) for name, t in run.backbone.items()}
    backbone = backbones.rebuild(run.facts.backbone, tensors)
    side = run.facts.preprocess.side_px
    ready = engine.make(backbone, chosen, side, len(paths))
    table = features.extract(paths, ready, side, progress)
    head = probe.Head(
        run.weight.astype(np.float64), run.bias.astype(np.float64), run.facts.head.temperature
    )
    scores = probe.score(head, table.columns(run.facts.head.taps))
    return (
        probe.probabilities(scores, head.temperature),
        [int(i) for i in table.kept],
        [(i, fault.message) for i, fault in table.faults],
    )
