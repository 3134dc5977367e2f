"""Look at the data once: splits and one forward pass."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.analysis import bodies, importance, look, similarity, size, taught, upright
from finetune.analysis.clock import Clock
from finetune.backbones import features, ranks
from finetune.backbones.inference import TOP
from finetune.backbones.prepared import Prepared
from finetune.data import examination, scales
from finetune.heads import calibration, cross_validation, logit_adjustment, ridge
from finetune.heads.logit_adjustment import Wanted
from finetune.metrics import clusters, paired
from finetune.pictures import bands, decoding
from finetune.records.analysis import Part, Upright
from finetune.records.backbone import BackboneFacts, Box
from finetune.records.backbone_choice import BackboneChoice
from finetune.records.dataset import Dataset, Finding, Sample, Scale, Splits
from finetune.records.errors import DataError
from finetune.records.events import Listener
from finetune.records.options import Options
from finetune.runs.resume import Progress
from finetune.sources import findings, readers
from finetune.storage import arrays
from finetune.storage.arrays import Array, Labels

# Images whose BatchNorm inputs are looked at: with 32 the drift has settled to 5 % (docs/log.md,
# 2026-11-23).
DRIFT_SAMPLE = 32
ASKED_IMAGES = 5000  # a share is known to one point then


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The data read and turned into features; rows of `table` stand for `samples`.

    `class_counts` int64[C] counts all images that are not test, also those that were not looked at;
    `examined` is None where nothing was checked; `scales` are of pictures of more than 8 bits.
    `progress` is where a training keeps what it has done; None where nothing is trained. `choice`
    is the backbone's, where the user has named none. `wanted`
    are the classes' shares where the model will be used; None for those of these images.
    """

    options: Options
    dataset: Dataset
    splits: Splits
    body: Prepared
    table: features.Table
    samples: tuple[Sample, ...]
    labels: npt.NDArray[np.int64]
    class_counts: npt.NDArray[np.int64]
    fold: npt.NDArray[np.int64]
    findings: tuple[Finding, ...]
    seconds_per_image: float
    listener: Listener
    examined: examination.Examination | None = None
    scales: tuple[Scale, ...] = ()
    progress: Progress | None = None
    choice: BackboneChoice | None = None
    wanted: Wanted | None = None

    @property
    def facts(self) -> BackboneFacts:
        """The backbone's."""
        return self.body.facts.backbone

    @property
    def box(self) -> Box:
        """How a picture becomes a square."""
        return box_of(self.options, self.body)

    @property
    def images(self) -> int:
        """How many there are to learn from, also those that were not looked at."""
        return int(self.class_counts.sum())

    @cached_property
    def root(self) -> Path:
        """What the samples' paths are below."""
        return readers.root_of(self.options.data.root, self.options.data.columns)

    @property
    def paths(self) -> list[Path]:
        """The images' files, in the order of the rows."""
        return [self.path(i) for i in range(len(self.samples))]

    def path(self, number: int) -> Path:
        """The file of one row."""
        return self.root / self.samples[number].path

    @cached_property
    def asked(self) -> npt.NDArray[np.int64]:
        """The rows of which ImageNet's classifier is asked: all, or evenly some of very many."""
        every = max(1, math.ceil(len(self.labels) / ASKED_IMAGES))
        return np.arange(0, len(self.labels), every)

    @cached_property
    def imagenet(self) -> npt.NDArray[np.float32] | None:
        """What ImageNet's classifier says of these, as `imagenet_probabilities` has it."""
        return imagenet_probabilities(self, self.asked)

    @cached_property
    def drifts(self) -> tuple[list[tuple[str, float, float]], ...]:
        """How far the inputs of BatchNorm have drifted on some of these images, and on noise."""
        return _drifts(self)

    @cached_property
    def upright(self) -> Upright:
        """Whether up and down mean something in these images: a third of a second."""
        rows, first = _in_turn(self, upright.SAMPLE), self.body.facts.probed_top
        labels, groups = self.labels[rows], [self.samples[i].unit for i in rows]
        if len(rows) < upright.FEWEST:
            return upright.unmeasured(len(rows))
        how = (self.facts.preprocess.side_px, self.scales, self.box)
        paths = [self.path(i) for i in rows]
        turned = upright.flipped(
            paths, lambda path: decoding.decode(path, *how), self.body.engine, first
        )
        return upright.judge(self.table.columns((first,), rows)[:], turned, labels, groups)

    @cached_property
    def groups(self) -> clusters.Clusters | None:
        """Which rows go together (copies, `--group`), int64[N]; None where each is by itself."""
        return clusters.number([s.unit for s in self.samples])

    def yardstick(self, rows: npt.NDArray[np.int64]) -> paired.Yardstick:
        """What models are compared by on some rows."""
        return self.yardstick_of(self.labels[rows], clusters.renumbered(self.groups, rows))

    def yardstick_of(self, labels: Labels, groups: clusters.Clusters | None) -> paired.Yardstick:
        """The same on images of these labels int64[N], perhaps others than the rows."""
        metric = self.options.decision.judged_by
        shares = self.wanted if metric == "macro-f1" else self.counting
        weights = None if shares is None else shares.weights(labels)
        return paired.Yardstick(metric, weights, groups)

    @property
    def counting(self) -> Wanted | None:
        """The shares that classes have where models are compared; None for those of the images."""
        if self.options.decision.judged_by in ("balanced-accuracy", "macro-f1"):
            return logit_adjustment.uniform(len(self.dataset.classes))
        return self.wanted

    def shift(self, *, weighed: bool = False) -> Array | None:
        """What moves calibrated logits to the wanted shares, float64[C]; None where nothing does.

        Args:
            weighed: Whether the model learnt with class weights.
        """
        return None if self.wanted is None else self.wanted.shift(self.labels, weighed=weighed)

    def calibrated(
        self, logits: Array, rows: npt.NDArray[np.int64], *, weighed: bool = False
    ) -> tuple[float, Array]:
        """Temperature of held-out scores, and their probabilities at the wanted shares.

        Args:
            logits: float64[M, C] of a model that has not seen the rows.
            rows: int64[M].
            weighed: As for `shift`.
        """
        labels, shift = self.labels[rows], self.shift(weighed=weighed)
        weights = None if self.wanted is None else self.wanted.weights(labels)
        temperature = calibration.fit_temperature(logits, labels, shift, weights)
        return temperature, calibration.probabilities(logits, temperature, shift)

    @cached_property
    def learnt(self) -> npt.NDArray[np.bool_]:
        """Which rows have taught the network before, so that they judge nothing, bool[N]."""
        return taught.barred(self.samples, self.splits.learnt)

    @cached_property
    def ranked(self) -> npt.NDArray[np.int64]:
        """Rows on which probes are ranked; those of `learnt` are not judged."""
        return taught.ranked(self.labels, self.learnt)

    @cached_property
    def weights(self) -> Array | None:
        """How much each row counts in learning, float64[N] of mean one; None where all the same."""
        return importance.of(self.samples)

    @property
    def in_train(self) -> npt.NDArray[np.bool_]:
        """Which rows are not kept from tuning for validation, bool[N]."""
        held = {s.path for s in self.splits.val}
        return np.array([s.path not in held for s in self.samples])

    def head(
        self, found: cross_validation.LeftOut, rows: npt.NDArray[np.int64] | None = None
    ) -> ridge.Head:
        """A head as leaving one out chose it, fitted on some rows (None: all)."""
        labels = self.labels if rows is None else self.labels[rows]
        blocks = self.blocks(found.score.taps, rows)
        classes = len(self.dataset.classes)
        return ridge.fit(blocks, labels, classes, found.score.penalty, found.temperature)

    def blocks(
        self, taps: Sequence[str], rows: npt.NDArray[np.int64] | None = None
    ) -> ridge.Blocks:
        """The features of some rows (None: all), grouped by stage."""
        spans, start = [], 0
        for first, stop in (self.table.layout[tap] for tap in taps):
            spans.append((start, start + stop - first))
            start += stop - first
        counts = self.weights if rows is None or self.weights is None else self.weights[rows]
        return ridge.Blocks(self.table.columns(taps, rows), tuple(spans), counts)


def analyze(
    options: Options,
    listener: Listener,
    clock: Clock,
    most: int | None = None,
    *,
    seen: look.Seen | None = None,
    choice: BackboneChoice | None = None,
) -> Analysis:
    """Scan, split, load the backbone, take features of every image that is not test.

    Args:
        options: What the user wants.
        listener: Hears of progress.
        clock: Times the steps.
        most: With more images than this, a stratified sample of about so many is looked at.
        seen: What `look.look` gives, where that was called before.
        choice: The backbone, where the program was to choose it.

    Raises:
        DataError: unreadable images where these are an error, or a class without any.
    """
    root = readers.root_of(options.data.root, options.data.columns)
    seen = seen or look.look(options, listener, clock, kept=most is None)
    examined, scaled = seen.examined, seen.scaled
    dataset, splits = examined.dataset, examined.splits
    paths = [root / s.path for s in splits.fitting]
    body = bodies.prepare(options, paths, scaled, listener, clock, choice)
    side = body.facts.backbone.preprocess.side_px
    chosen = _chosen(splits.fitting, most, options.training.seed)
    if len(chosen) < len(splits.fitting):
        text = f"analyzing a stratified sample of {len(chosen)} of {len(splits.fitting)} images"
        listener.note(text)
    with clock.step("features", f"one forward pass over {len(chosen)} images"):
        paths = [root / s.path for s in chosen]
        digests = [s.digest for s in chosen]
        box = box_of(options, body)
        table = features.extract(paths, body.engine, side, listener, digests, scaled, box)
        if table.fresh < len(chosen):
            listener.detail(f"features of {len(chosen) - table.fresh} images were known already")
    bad = [chosen[i] for i, _ in table.faults]
    messages = [fault.message for _, fault in table.faults]
    if bad and options.data.on_bad_image == "error":
        raise DataError(
            f"{len(bad)} image(s) cannot be read: " + "; ".join(messages[:5]),
            hint="Repair or remove them, or use --on-bad-image skip.",
        )
    samples = tuple(chosen[i] for i in table.kept)
    labels = np.array([s.label for s in samples], np.int64)
    look.require_every_class(dataset, labels, len({s.unit for s in samples}))
    lost = {s.path for s in bad}
    splits = taught.remembered(splits, body.facts.backbone, lost)
    return Analysis(
        options=options,
        dataset=dataset,
        splits=splits,
        body=body,
        table=table,
        samples=samples,
        labels=labels,
        class_counts=np.bincount([s.label for s in splits.fitting if s.path not in lost]),
        fold=cross_validation.folds(labels, [s.unit for s in samples]),
        findings=examined.findings
        + scales.findings(scaled)
        + bands.findings(box.bands)
        + findings.unreadable(bad, messages)
        + taught.unjudged(splits, samples),
        seconds_per_image=ranks.agreed(_seconds_per_image(table, body, paths, scaled, box)),
        listener=listener,
        examined=examined,
        scales=scaled,
        choice=choice,
        wanted=seen.wanted,
    )


def box_of(options: Options, body: Prepared) -> Box:
    """How a picture becomes a square for a network."""
    taken = bands.parsed(options.data.bands)
    return replace(body.facts.backbone.preprocess, fit=options.data.fit, bands=taken).box


def _seconds_per_image(
    table: features.Table, body: Prepared, paths: Sequence[Path], scaled: Sequence[Scale], box: Box
) -> float:
    """Measured on the images that were run; where all were known, on one of them."""
    if table.fresh:
        return table.seconds / table.fresh
    began = time.perf_counter()
    side = body.facts.backbone.preprocess.side_px
    body.engine.forward(decoding.decode(paths[int(table.kept[0])], side, scaled, box)[None])
    return time.perf_counter() - began


def _chosen(samples: tuple[Sample, ...], most: int | None, seed: int) -> tuple[Sample, ...]:
    """All samples, or the same share of each class by chance, ten of each at least."""
    if most is None or len(samples) <= most:
        return samples
    rng, labels = np.random.default_rng(seed), np.array([s.label for s in samples])
    rows = cross_validation.draw(rng, labels, most / len(samples), size.LARGE_RAREST)
    return tuple(samples[i] for i in rows.tolist())


def _appearance(analysis: Analysis) -> Part:
    """How near the images look to ImageNet's."""
    layers, noise = (
        float(np.mean([drift for _, drift, _ in _shallow(some)])) if some else None
        for some in analysis.drifts
    )
    return similarity.appearance(layers, noise)


def _shallow(layers: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """All but the last third, which tells nothing (docs/log.md)."""
    return layers[: max(1, 2 * len(layers) // 3)]


def _drifts(analysis: Analysis) -> tuple[list[tuple[str, float, float]], ...]:
    """Stage, drift and diversity of each BatchNorm layer, on some of the images and on noise."""
    body = analysis.body
    if not body.facts.knows or body.shifts is None or body.noise is None:
        return [], []
    rows = _in_turn(analysis, DRIFT_SAMPLE)
    paths, side = [analysis.path(i) for i in rows], analysis.facts.preprocess.side_px
    digests = [analysis.samples[i].digest for i in rows]
    listener, scaled = analysis.listener, analysis.scales
    table = features.extract(paths, body.shifts, side, listener, digests, scaled, analysis.box)
    if len(table.rows) < 2:
        return [], []
    return tuple(
        [
            (layer.stage, *similarity.drift(shifts[:, layer.start : layer.stop]))
            for layer in body.facts.layers
        ]
        for shifts in (table.rows[:], body.noise)
    )


def _in_turn(analysis: Analysis, most: int) -> npt.NDArray[np.int64]:
    """Some rows by chance, the classes in turn."""
    order = np.random.default_rng(0).permutation(len(analysis.labels))
    turn = np.empty(len(order), np.int64)
    for label in np.unique(analysis.labels):
        members = order[analysis.labels[order] == label]
        turn[members] = np.arange(len(members))
    return order[np.argsort(turn[order], kind="stable")][:most]


def imagenet_probabilities(
    analysis: Analysis, numbers: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32] | None:
    """The ImageNet classifier's softmax of M rows, float32[M,1000]; None without a classifier.

    It reads the top features, which are at hand, so it costs no forward pass.
    """
    if analysis.body.classifier is None:
        return None
    weight, bias = analysis.body.classifier
    top = analysis.table.columns((TOP,), numbers)
    out = np.empty((len(top), len(bias)), np.float32)
    for part, some in arrays.parts(top):
        out[part] = calibration.probabilities((some @ weight.T + bias).astype(np.float64), 1.0)
    return out
