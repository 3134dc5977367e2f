"""A race of pretrained networks: each is timed, then measured on more and more images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from finetune.analysis import analyze, importance, probes, target_probes
from finetune.analysis.look import Seen
from finetune.backbones import features, inference, prepared
from finetune.backbones.inference import Engine
from finetune.backbones.prepared import Prepared
from finetune.decision.candidates import Source
from finetune.decision.forecast import DEFAULT_BUDGET_S
from finetune.heads.aims import Aim
from finetune.heads.cross_validation import FEWEST, LeftOut
from finetune.heads.outputs import OutputsLeftOut
from finetune.metrics import clusters
from finetune.pictures import decoding
from finetune.records.backbone import Box, PreparedFacts
from finetune.records.backbone_choice import Standing
from finetune.records.choices import OtherLoss
from finetune.records.errors import ImageError
from finetune.records.events import Listener
from finetune.records.options import Options
from finetune.sources import readers
from finetune.storage.arrays import Array

IMAGES = (125, 250, 500)
# Of the budget, for choosing; the features of the network that is taken are needed anyway.
SHARE = 0.2
FEATURES_SHARE = 0.5  # of the budget, for the features of all images
TIMED, BATCH = 5, 8  # single images, and images of each of two batches
_ERRORS: dict[OtherLoss, str] = {  # in standard deviations of the numbers
    "mse": "squared error",
    "mae": "absolute error",
    "huber": "Huber loss",
}


@dataclass(frozen=True, kw_only=True)
class TargetLeftOut:
    """The best probe of labels or numbers, each image left out, and what its outputs are for."""

    found: OutputsLeftOut
    aim: Aim

    @property
    def losses(self) -> Array:
        """Of each image, float64[N]."""
        return self.aim.losses(self.found.outputs, self.found.truth)

    @property
    def groups(self) -> clusters.Clusters | None:
        """Which images were left out together."""
        return self.found.groups


@dataclass(kw_only=True, eq=False)
class Racer:
    """A network in the race: `rows` are its features, `left_out` its best probe on them.

    One that was dropped has no `engine` any more, whose memory the others may need. `spare` says
    that it may be taken where no other is left: it keeps to the limit that the user gave. `word` is
    what its loss is called.
    """

    source: Source
    about: PreparedFacts
    engine: Engine | None
    box: Box
    latency_s: float
    image_s: float
    rows: npt.NDArray[np.float32]
    left_out: LeftOut | TargetLeftOut | None = None
    word: str = "log loss"
    standing: Standing = "chosen"
    why: str = ""
    behind: float = 0.0
    noise: float = 0.0
    spare: bool = False

    @property
    def name(self) -> str:
        """Of the network."""
        return self.source.name

    @property
    def side_px(self) -> int:
        """Side of its input."""
        return self.about.backbone.preprocess.side_px

    @property
    def probe(self) -> LeftOut | TargetLeftOut:
        """Its best probe so far."""
        assert self.left_out is not None, "measured before it is judged"
        return self.left_out

    @property
    def loss(self) -> float:
        """Of that probe, the mean over images."""
        return float(self.probe.losses.mean())


@dataclass(kw_only=True)
class Race:
    """What all networks are measured on: images in an order whose every start is stratified."""

    seen: Seen
    options: Options
    listener: Listener
    began: float = field(default_factory=time.perf_counter)
    promised: float = 0.0

    def __post_init__(self) -> None:
        pool = self.seen.fitting
        labels = np.array([s.label for s in pool], np.int64)
        rows = in_turn(labels)[: max(IMAGES[-1], FEWEST * len(np.unique(labels)))]
        self.samples = [pool[i] for i in rows.tolist()]
        self.labels = labels[rows]
        self.root = readers.root_of(self.options.data.root, self.options.data.columns)
        self.paths = [self.root / s.path for s in self.samples]
        classes = len(np.unique(labels))
        self.good = np.ones(len(rows), np.bool_)
        self.steps = sorted({min(len(rows), max(n, FEWEST * classes)) for n in IMAGES})

    @property
    def word(self) -> str:
        """What the loss is called that networks are compared by."""
        target = self.seen.examined.dataset.target
        if target is None or target.kind == "labels":
            return "log loss"
        return _ERRORS[target_probes.loss_of(self.options.decision, target) or "mse"]

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self.began

    @property
    def budget(self) -> float:
        """Seconds for everything."""
        return self.options.decision.budget_s or DEFAULT_BUDGET_S

    def enter(self, source: Source, *, first: bool) -> Racer | str:
        """Load a network and time it; its standing is `out` where it takes too long.

        Returns:
            A text where there is no time left to load it: why.

        Raises:
            BackboneError: it cannot be loaded.
        """
        if not first and self.spent > SHARE * self.budget:
            return f"not measured: choosing had taken {self.spent:.0f} s by then"
        body = prepared.prepare(
            replace(self.options.backbone, name=source.name, weights=source.weights),
            seed=self.options.training.seed,
            paths=[self.root / s.path for s in self.seen.fitting],
            listener=self.listener,
            scales=self.seen.scaled,
        )
        latency, image = timed(body)
        racer = Racer(
            source=source,
            about=body.facts,
            engine=body.engine,
            box=analyze.box_of(self.options, body),
            latency_s=latency,
            image_s=image,
            word=self.word,
            rows=np.empty((0, max(stop for _, stop in body.facts.layout.values())), np.float32),
        )
        racer.why = self._too_slow(racer, first=first)
        racer.standing = "out" if racer.why else racer.standing
        return racer

    def _too_slow(self, racer: Racer, *, first: bool) -> str:
        """Why it takes too long; empty where it does not."""
        most = self.options.backbone.max_latency_s
        if most is not None and racer.latency_s > most:
            took = f"{1000 * racer.latency_s:.1f} ms"
            return f"{took} for one image; --max-latency is {1000 * most:g} ms"
        splits, budget = self.seen.examined.splits, self.budget
        count = len(splits.fitting) + len(splits.test)
        each = racer.image_s + self._reading_s(racer)
        racer.spare = True  # the user has forbidden none of what follows
        if each * count > FEATURES_SHARE * budget:
            return (
                f"features of {count} images would take {each * count:.0f} s of the budget of "
                f"{budget:.0f} s"
            )
        few = self.steps[0]
        if not first and self.spent + self.promised + each * few > SHARE * budget:
            return (
                f"not measured: features of {few} images would take {each * few:.0f} s, more than "
                "choosing may take"
            )
        self.promised += each * few
        return ""

    def _reading_s(self, racer: Racer) -> float:
        """Seconds to read and decode one image."""
        began = time.perf_counter()
        some = self.paths[: prepared.EXAMPLES]
        for path in some:
            try:
                decoding.decode(path, racer.side_px, self.seen.scaled, racer.box)
            except ImageError:  # it is told when its features are taken
                continue
        return (time.perf_counter() - began) / len(some)

    def measure(self, racers: Sequence[Racer], count: int) -> None:
        """Take the features of the first images of which they have none yet, and fit probes."""
        for racer in racers:
            self._take(racer, slice(len(racer.rows), count))
        some = self.good[:count]
        samples = [s for s, good in zip(self.samples, some, strict=False) if good]
        groups, counts = [s.unit for s in samples], importance.of(samples)
        target, asked = self.seen.examined.dataset.target, self.options.decision
        aimed = None
        if target is not None:
            loss = target_probes.loss_of(asked, target)
            aimed = target_probes.aimed(target, target_probes.truth_of(tuple(samples)), loss)
        for racer in racers:
            rows, layout = racer.rows[some], racer.about.layout
            sets = probes.sets_of(racer.about, all_stages=asked.strategy != "linear-probe")
            if aimed is None:
                labels = self.labels[:count][some]
                known = probes.ranked(rows, layout, labels, groups, sets, counts)
                racer.left_out = known.probes(sets).best
                continue
            aim, truth = aimed
            featured = target_probes.Featured(
                rows=rows, layout=layout, truth=truth, groups=groups, counts=counts
            )
            found = target_probes.best_of(target_probes.left_out(featured, sets, aim), aim)
            racer.left_out = TargetLeftOut(found=found, aim=aim)

    def _take(self, racer: Racer, some: slice) -> None:
        assert racer.engine is not None, "it is still in the race"
        samples = self.samples[some]
        table = features.extract(
            self.paths[some],
            racer.engine,
            racer.side_px,
            self.listener,
            [s.digest for s in samples],
            self.seen.scaled,
            racer.box,
        )
        fresh = np.zeros((len(samples), racer.rows.shape[1]), np.float32)
        fresh[table.kept] = table.rows[:]
        racer.rows = np.concatenate([racer.rows, fresh])
        for number, _ in table.faults:  # the same pictures for all; whoever takes them all tells
            self.good[some.start + number] = False


def in_turn(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Rows in an order of which any start is a stratified sample: two of each class, then shares.

    Args:
        labels: int64[N].

    Returns:
        int64[N]; always the same for the same labels.
    """
    rng = np.random.default_rng(0)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        share = (np.arange(len(members)) + 0.5) / len(members)
        place[members] = np.where(np.arange(len(members)) < FEWEST, share - 1.0, share)
    return np.argsort(place, kind="stable")


def timed(body: Prepared) -> tuple[float, float]:
    """Seconds of one image alone, the median of some; and of an image of two batches."""
    side = body.facts.backbone.preprocess.side_px
    batch = inference.noise(side, BATCH)
    forward = body.engine.forward
    forward(batch[:1])
    alone = []
    for _ in range(TIMED):
        began = time.perf_counter()
        forward(batch[:1])
        alone.append(time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(2):
        forward(batch)
    return statistics.median(alone), (time.perf_counter() - began) / (2 * BATCH)
