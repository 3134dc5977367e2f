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
from finetune.backbones.inference import SCORES, Engine, Forward, Pixels
from finetune.data import scales
from finetune.deploy import outputs
from finetune.heads import ridge, unknown
from finetune.pictures import decoding
from finetune.records.analysis import Reason
from finetune.records.backbone import HALF, Box
from finetune.records.choices import OtherTarget
from finetune.records.dataset import Scale
from finetune.records.errors import FinetuneError, ImageError, RunError, first_line
from finetune.records.events import Listener
from finetune.records.file_names import NETWORK
from finetune.records.run import RunFacts
from finetune.runs import run_folder, run_tensors
from finetune.storage import arrays, cache_place
from finetune.storage.arrays import Array, Floats, Rows, View

# What OpenVINO answers on; another device asked for is torch's.
QUICK_DEVICES = ("auto", "cpu")
_READ = "read"  # the one "stage" of an engine that gives what the head reads
DISTANCE = "distance"


@dataclass(frozen=True)
class Logits:
    """Logits of the images that decoded, before temperature and softmax.

    `rows` is [M, C], float32 or float64, in a file where that is large; `kept` int64[M] holds each
    row's position in the list asked for; `faults` names the others. `distances` float64[M] from the
    training images are None where the model cannot tell; `target` is None of classes.
    """

    rows: Rows | Array
    kept: npt.NDArray[np.int64]
    temperature: float
    faults: tuple[tuple[int, ImageError], ...]
    distances: Array | None = None
    target: OtherTarget | None = None

    def probabilities(self) -> Iterator[tuple[npt.NDArray[np.int64], Array]]:
        """Some images at a time: their positions, and their probabilities float64[n, C].

        Of labels each has one by itself; numbers stand as they are.
        """
        step = max(1, arrays.PART_BYTES // (8 * self.rows.shape[1]))
        for start in range(0, len(self.kept), step):
            part = slice(start, start + step)
            some = np.asarray(self.rows[part], np.float64)
            yield self.kept[part], outputs.meant(some, self.target, self.temperature)


@dataclass(frozen=True)
class Predictor:
    """All that answers depend on: how pictures are decoded, the network and its head.

    `engine` gives features, of which `head` reads those of the stages `taps`; without a head it
    gives the logits themselves, as a run's inference file does, and beside them the distances from
    the training images where there is a `detector`. `scales` are of pictures of more than 8 bits,
    `box` is the square, as in `decoding.decode`, `target` None of classes.
    """

    engine: Engine
    side_px: int
    scales: Sequence[Scale] | None
    temperature: float
    head: ridge.Head | None = None
    taps: tuple[str, ...] = ()
    box: Box = HALF
    detector: unknown.Detector | None = None
    target: OtherTarget | None = None

    def logits(self, pixels: Pixels) -> Array:
        """Logits float64[B, C] of decoded pictures uint8[B, S, S, 3]."""
        return self.read(self.features(pixels))

    def features(self, pixels: Pixels) -> Floats:
        """What the engine gives for decoded pictures, float32[B, F]."""
        return self.engine.forward(pixels)

    def read(self, features: Floats) -> Array:
        """Logits float64[B, C] of what the engine gave."""
        return np.asarray(self._read(features)[:], np.float64)

    def answers(self, pixels: Pixels) -> tuple[Array, Array | None]:
        """The same, and distances float64[B] from the training images, if the model can tell."""
        rows = self.features(pixels)
        return self.read(rows), self.distances(rows)

    def distances(self, rows: Rows) -> Array | None:
        """Distances float64[N] from the training images, of rows of the engine."""
        if self.detector is None:
            return None
        if DISTANCE in self.engine.layout:
            found = View(rows, (self.engine.layout[DISTANCE],))
            return np.asarray(found[:], np.float64)[:, 0]
        return self.detector.distances(self._columns(rows))

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
        return Logits(
            *(self._read(table.rows), table.kept, self.temperature, table.faults),
            self.distances(table.rows),
            self.target,
        )

    def _read(self, rows: Rows) -> Rows | Array:
        """What the head says of the engine's rows."""
        if self.head is not None:
            return ridge.score(self.head, self._columns(rows))
        return rows if self.detector is None else View(rows, (self.engine.layout[SCORES],))

    def _columns(self, rows: Rows) -> View:
        """What the head reads of the engine's rows."""
        return View(rows, tuple(self.engine.layout[tap] for tap in self.taps))


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
    detector = detector_of(run, facts)
    quick = _quick(run, facts, detector, listener) if device in QUICK_DEVICES else None
    about, kind = facts.preprocess, None if facts.target is None else facts.target.kind
    if quick is not None:
        fast = Predictor(quick, about.side_px, about.scales, facts.head.temperature, box=about.box)
        return replace(fast, detector=detector, target=kind)
    loaded = run_folder.load(run)
    ready = _rebuilt(loaded, device, images)
    head = ridge.Head(
        loaded.weight.astype(np.float64), loaded.bias.astype(np.float64), facts.head.temperature
    )
    return Predictor(
        *(ready, about.side_px, about.scales, head.temperature, head, facts.head.taps, about.box),
        *(detector, kind),
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
        *(engine, about.side_px, about.scales, head.temperature, head, (_READ,), about.box),
        *(detector_of(run, facts), None if facts.target is None else facts.target.kind),
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


def detector_of(run: Path, facts: RunFacts) -> unknown.Detector | None:
    """What tells how far pictures are from those trained on; None where the run keeps nothing."""
    reference = run_tensors.load_reference(run, facts)
    if reference is None or facts.doubt is None or facts.doubt.unknown is None:
        return None
    kept = facts.doubt.unknown
    return unknown.Detector(reference=reference, start=kept.start, stop=kept.stop)


def _measuring(engine: Engine, detector: unknown.Detector) -> Engine:
    """An engine that gives distances beside the scores, in the place of features."""
    first, last = engine.layout[inference.FEATURES]

    def forward(pixels: Pixels) -> inference.Features:
        rows = engine.forward(pixels)
        far = detector.distances(rows[:, first:last]).astype(np.float32)
        return np.concatenate([rows[:, :first], far[:, None]], axis=1)

    layout = {SCORES: engine.layout[SCORES], DISTANCE: (first, first + 1)}
    return replace(engine, forward=forward, layout=layout)


def _quick(
    run: Path, facts: RunFacts, detector: unknown.Detector | None, listener: Listener
) -> Engine | None:
    """The inference file ready to run; None, with a note, where there is none for this machine."""
    network = run_folder.load_network(run, facts)
    why = f"no {NETWORK[0]} in {run}"
    if network is not None:
        name = str(run / NETWORK[0])
        try:
            sizes = facts.preprocess.side_px, len(facts.classes)
            made = inference.scorer(*network, *sizes, name, features=detector is not None)
            key = list(facts.inference.values())
            if detector is not None:
                made = _measuring(made, detector)
                key.append(detector.digest)
            return replace(made, key=cache_place.key(*key, versions=(decoding.PIXELS_VERSION,)))
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
