"""Answers from a run: files in, records out, one per file; torch only where it has to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.backbones import features, inference
from finetune.data import decoding, scales
from finetune.heads import calibration, ridge
from finetune.records.answers import ClassProbability, Prediction
from finetune.records.errors import FinetuneError, ImageError, RunError, first_line, safe_name
from finetune.records.events import Listener
from finetune.records.run import RunFacts
from finetune.runs import run_folder
from finetune.storage import arrays, cache_place

# What OpenVINO answers on; another device asked for is torch's.
QUICK_DEVICES = ("auto", "cpu")


@dataclass(frozen=True)
class Scores:
    """Scores of the images that decoded, before their softmax.

    `rows` is [M, C], float32 or float64, in a file where that is large; `kept` int64[M] holds each
    row's position in the list asked for; `faults` names the others.
    """

    rows: arrays.Rows | arrays.Array
    kept: npt.NDArray[np.int64]
    temperature: float
    faults: tuple[tuple[int, ImageError], ...]

    def probabilities(self) -> Iterator[tuple[npt.NDArray[np.int64], arrays.Array]]:
        """Some images at a time: their positions, and their probabilities float64[n, C]."""
        step = max(1, arrays.PART_BYTES // (8 * self.rows.shape[1]))
        for start in range(0, len(self.kept), step):
            part = slice(start, start + step)
            some = np.asarray(self.rows[part], np.float64)
            yield self.kept[part], calibration.probabilities(some, self.temperature)


def predict(
    run: Path,
    facts: RunFacts,
    paths: Sequence[Path],
    *,
    top: int,
    device: str,
    listener: Listener,
) -> list[Prediction]:
    """Classify files with a run; a file that cannot be read becomes a record with its error.

    Args:
        run: Its folder.
        facts: From `run_folder.load_facts`.
        paths: Image files.
        top: How many classes to list per image.
        device: `auto`, `cpu`, `cuda`, `mps`.
        listener: Hears of progress, and why where torch has to be loaded.
    """
    found = scores(run, facts, paths, device=device, listener=listener)
    names = [safe_name(str(path)) for path in paths]
    answers: dict[int, Prediction] = {
        i: Prediction(path=names[i], error=safe_name(fault.message)) for i, fault in found.faults
    }
    for numbers, likely in found.probabilities():
        best = np.argsort(-likely, axis=1, kind="stable")[:, :top]
        for i, row, chosen in zip(numbers.tolist(), likely, best.tolist(), strict=True):
            listed = tuple(ClassProbability(facts.classes[c], float(row[c])) for c in chosen)
            answers[i] = Prediction(
                path=names[i],
                label=listed[0].label,
                probability=listed[0].probability,
                top=listed,
            )
    return [answers[i] for i in range(len(paths))]


def scores(
    run: Path,
    facts: RunFacts,
    paths: Sequence[Path],
    *,
    device: str,
    listener: Listener,
    digests: Sequence[str] | None = None,
) -> Scores:
    """What a run says of files, as numbers: what all answers are made of.

    Args:
        run: As for `predict`.
        facts: As for `predict`.
        paths: Image files.
        device: As for `predict`.
        listener: As for `predict`.
        digests: SHA-256 of each file, where scores may be kept for the next time.
    """
    for text in scales.unseen(paths, facts.preprocess.scales):
        listener.note(text)
    quick = _quick(run, facts, listener) if device in QUICK_DEVICES else None
    rows: arrays.Rows | arrays.Array
    if quick is None:
        table, rows = _with_torch(run_folder.load(run), paths, device, listener)
    else:
        side = facts.preprocess.side_px
        table = features.extract(paths, quick, side, listener, digests, facts.preprocess.scales)
        rows = table.rows
    return Scores(rows, table.kept, facts.head.temperature, table.faults)


def _quick(run: Path, facts: RunFacts, listener: Listener) -> inference.Engine | None:
    """The inference file ready to run; None, with a note, where there is none for this machine.

    Raises:
        RunError: it is not what training wrote (docs/decisions/0010-inference-file.md).
    """
    network = run_folder.load_network(run, facts)
    why = f"no {inference.FILES[0]} in {run}"
    if network is not None:
        name = str(run / inference.FILES[0])
        try:
            made = inference.scorer(*network, facts.preprocess.side_px, len(facts.classes), name)
            return replace(
                made,
                key=cache_place.key(*facts.inference.values(), versions=(decoding.PIXELS_VERSION,)),
            )
        except RunError:
            raise
        except Exception as error:  # no OpenVINO, one too old, or no such CPU
            why = f"OpenVINO cannot use {name} here ({first_line(error)})"
    listener.note(f"{why}: answering with torch, which takes some seconds to load")
    return None


def _with_torch(
    run: run_folder.LoadedRun, paths: Sequence[Path], device: str, listener: Listener
) -> tuple[features.Table, arrays.Array]:
    """Features of the files, and the scores float64[N,C] of the head on them."""
    ready = _rebuilt(run, device, len(paths))
    about = run.facts.preprocess
    table = features.extract(paths, ready, about.side_px, listener, scales=about.scales)
    head = ridge.Head(
        run.weight.astype(np.float64), run.bias.astype(np.float64), run.facts.head.temperature
    )
    return table, ridge.score(head, table.columns(run.facts.head.taps))


def _rebuilt(run: run_folder.LoadedRun, device: str, images: int) -> inference.Engine:
    """The run's network on torch or OpenVINO, with the features that its head reads."""
    # torch is heavy to import; only an answer that needs it waits for it
    import torch  # noqa: PLC0415

    from finetune.backbones import engine, load  # noqa: PLC0415

    chosen, _ = engine.choose_device(device)
    about, side = run.facts.backbone, run.facts.preprocess.side_px
    tensors = {name: torch.from_numpy(t) for name, t in run.backbone.items()}
    try:
        ready = engine.make(load.rebuild(about, tensors), chosen, side, images)
        spans = [ready.layout[tap] for tap in run.facts.head.taps]
    except FinetuneError:
        raise
    except Exception as error:  # timm's networks raise all sorts of things
        raise _misfit(run, f"{about.name} at {side} px: {first_line(error)}") from error
    width = sum(stop - start for start, stop in spans)
    if run.weight.shape[1] != width:
        raise _misfit(run, f"the head reads {run.weight.shape[1]} features of {width}")
    return ready


def _misfit(run: run_folder.LoadedRun, what: str) -> RunError:
    return RunError(
        f"the parts of {run.path} do not fit together: {what}",
        hint="The run is damaged, or not from finetune; train again.",
    )
