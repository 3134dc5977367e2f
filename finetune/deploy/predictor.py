"""One predictor: pictures in, logits out, of a model just fitted as of a run read back.

Torch only where it has to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.backbones import features, inference, joined
from finetune.backbones.inference import Engine, Forward, Pixels
from finetune.data import decoding, scales
from finetune.heads import calibration, ridge
from finetune.records.analysis import Reason
from finetune.records.backbone import HALF, Box
from finetune.records.dataset import Scale
from finetune.records.errors import FinetuneError, ImageError, RunError, first_line
from finetune.records.events import Listener
from finetune.records.file_names import NETWORK
from finetune.records.run import RunFacts
from finetune.runs import run_folder
from finetune.storage import arrays, cache_place
from finetune.storage.arrays import Array, Floats, Rows, View

# What OpenVINO answers on; another device asked for is torch's.
QUICK_DEVICES = ("auto", "cpu")
_READ = "read"  # the one "stage" of an engine that gives what the head reads


@dataclass(frozen=True)
class Logits:
    """Logits of the images that decoded, before temperature and softmax.

    `rows` is [M, C], float32 or float64, in a file where that is large; `kept` int64[M] holds each
    row's position in the list asked for; `faults` names the others.
    """

    rows: Rows | Array
    kept: npt.NDArray[np.int64]
    temperature: float
    faults: tuple[tuple[int, ImageError], ...]

    def probabilities(self) -> Iterator[tuple[npt.NDArray[np.int64], Array]]:
        """Some images at a time: their positions, and their probabilities float64[n, C]."""
        step = max(1, arrays.PART_BYTES // (8 * self.rows.shape[1]))
        for start in range(0, len(self.kept), step):
            part = slice(start, start + step)
            some = np.asarray(self.rows[part], np.float64)
            yield self.kept[part], calibration.probabilities(some, self.temperature)


@dataclass(frozen=True)
class Predictor:
    """All that answers depend on: how pictures are decoded, the network and its head.

    `engine` gives features, of which `head` reads those of the stages `taps`; without a head it
    gives the logits themselves, as a run's inference file does. `scales` are of pictures of more
    than 8 bits and `box` is the square, as in `decoding.decode`.
    """

    engine: Engine
    side_px: int
    scales: Sequence[Scale] | None
    temperature: float
    head: ridge.Head | None = None
    taps: tuple[str, ...] = ()
    box: Box = HALF

    def logits(self, pixels: Pixels) -> Array:
        """Logits float64[B, C] of decoded pictures uint8[B, S, S, 3]."""
        return self.read(self.features(pixels))

    def features(self, pixels: Pixels) -> Floats:
        """What the engine gives for decoded pictures, float32[B, F]."""
        return self.engine.forward(pixels)

    def read(self, features: Floats) -> Array:
        """Logits float64[B, C] of what the engine gave."""
        return np.asarray(self._read(features)[:], np.float64)

    def of_files(
        self, paths: Sequence[Path], listener: Listener, digests: Sequence[str] | None = None
    ) -> Logits:
        """Logits of image files, decoded as the network saw them in training.

        Args:
            paths: Image files.
            listener: Hears of progress.
            digests: SHA-256 of each file, where answers may be kept for the next time.
        """
        table = features.extract(
            paths, self.engine, self.side_px, listener, digests, self.scales, self.box
        )
        return Logits(self._read(table.rows), table.kept, self.temperature, table.faults)

    def _read(self, rows: Rows) -> Rows | Array:
        """What the head says of the engine's rows."""
        if self.head is None:
            return rows
        return ridge.score(self.head, View(rows, tuple(self.engine.layout[t] for t in self.taps)))


def run_logits(
    run: Path,
    facts: RunFacts,
    paths: Sequence[Path],
    *,
    device: str,
    listener: Listener,
    digests: Sequence[str] | None = None,
) -> Logits:
    """What a run says of files; pictures of a kind that it has not seen are told.

    Args:
        run: Its folder.
        facts: From `run_folder.load_facts`.
        paths: Image files.
        device: `auto`, `cpu`, `cuda`, `mps`.
        listener: Hears of progress, and why where torch has to be loaded.
        digests: As for `Predictor.of_files`.
    """
    for text in scales.unseen(paths, facts.preprocess.scales):
        listener.note(text)
    model = of_run(run, facts, device=device, images=len(paths), listener=listener)
    return model.of_files(paths, listener, digests)


def of_run(
    run: Path, facts: RunFacts, *, device: str, images: int, listener: Listener
) -> Predictor:
    """The predictor of a run: from its inference file, or with torch where that cannot be.

    Args:
        run: As for `run_logits`.
        facts: As for `run_logits`.
        device: As for `run_logits`.
        images: About how many there are to come.
        listener: Hears why where torch has to be loaded.

    Raises:
        RunError: the run is not what training wrote (docs/decisions/0010-inference-file.md).
    """
    quick = _quick(run, facts, listener) if device in QUICK_DEVICES else None
    about = facts.preprocess
    if quick is not None:
        return Predictor(quick, about.side_px, about.scales, facts.head.temperature, box=about.box)
    loaded = run_folder.load(run)
    ready = _rebuilt(loaded, device, images)
    head = ridge.Head(
        loaded.weight.astype(np.float64), loaded.bias.astype(np.float64), facts.head.temperature
    )
    return Predictor(
        ready, about.side_px, about.scales, head.temperature, head, facts.head.taps, about.box
    )


def featuring(run: Path, facts: RunFacts, device: str, listener: Listener) -> Predictor:
    """The predictor of a run whose features are what its head reads; raises as `of_run`.

    Its logits are those of `of_run` but for rounding: the head is computed in float64 here.
    """
    forward = features_of_run(run, facts, device, listener)
    loaded = run_folder.load(run)
    head = ridge.Head(
        loaded.weight.astype(np.float64), loaded.bias.astype(np.float64), facts.head.temperature
    )
    about, width = facts.preprocess, loaded.weight.shape[1]
    engine = Engine(
        forward, {_READ: (0, width)}, "", Reason("engine", "its features are asked for")
    )
    return Predictor(
        engine, about.side_px, about.scales, head.temperature, head, (_READ,), about.box
    )


def features_of_run(run: Path, facts: RunFacts, device: str, listener: Listener) -> Forward:
    """Pixels uint8[B,S,S,3] → what the head of a run reads, float32[B,D]; raises as `of_run`."""
    network = run_folder.load_network(run, facts) if device in QUICK_DEVICES else None
    if network is not None:
        try:
            return inference.before_head(*network)
        except Exception as error:  # as in `_quick`
            listener.note(f"OpenVINO cannot use {run / NETWORK[0]} here ({first_line(error)})")
    made = _rebuilt(run_folder.load(run), device, features.BATCH)
    spans = [slice(*made.layout[tap]) for tap in facts.head.taps]

    def forward(pixels: Pixels) -> npt.NDArray[np.float32]:
        rows = made.forward(pixels)
        return np.concatenate([rows[:, span] for span in spans], axis=1)

    return forward


def _quick(run: Path, facts: RunFacts, listener: Listener) -> Engine | None:
    """The inference file ready to run; None, with a note, where there is none for this machine."""
    network = run_folder.load_network(run, facts)
    why = f"no {NETWORK[0]} in {run}"
    if network is not None:
        name = str(run / NETWORK[0])
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


def _rebuilt(run: run_folder.LoadedRun, device: str, images: int) -> Engine:
    """The run's network on torch or OpenVINO, with the features that its head reads."""
    # torch is heavy to import; only an answer that needs it waits for it
    import torch  # noqa: PLC0415

    from finetune.backbones import engine, load  # noqa: PLC0415

    chosen, _ = engine.choose_device(device)
    about, side, parts = run.facts.backbone, run.facts.preprocess.side_px, run.facts.parts
    sides = [part.side_px for part in parts] or [side]
    made = []
    try:
        for network, side_px in zip(run.networks, sides, strict=True):
            tensors = {name: torch.from_numpy(t) for name, t in network.items()}
            made.append(engine.make(load.rebuild(about, tensors), chosen, side_px, images))
        ready = joined.join(joined.halves(parts, made)) if parts else made[0]
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
