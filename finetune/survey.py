"""Look at the data once: split, one forward pass, linear probes, and the table's two axes."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune import (
    batches,
    data,
    features,
    health,
    matrix,
    prepared,
    probe,
    profile,
    runs,
    scales,
    strategy,
    weights,
)
from finetune.errors import DataError
from finetune.inference import TOP
from finetune.prepared import Prepared
from finetune.records import (
    BackboneFacts,
    Dataset,
    DatasetProfile,
    Finding,
    Listener,
    Part,
    Plan,
    Request,
    Sample,
    Scale,
    SimilarityProfile,
    Splits,
    StageScore,
    Strategy,
)
from finetune.resume import Progress

SIZE_SAMPLE = 200  # headers read to learn how large the images are
# Images whose BatchNorm inputs are looked at: with 32 the drift has settled to 5 % (docs/log.md,
# 2026-11-23).
DRIFT_SAMPLE = 32
OVERLAPS_SHOWN = 3
CLEARLY = 2.0  # standard errors of a difference
ASKED_IMAGES = 5000  # a share is known to one point then


@dataclass
class Clock:
    """Names each step to the listener and keeps its seconds."""

    listener: Listener
    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str, text: str) -> Iterator[None]:
        """Time a step; steps of one name add up."""
        self.listener.step(text)
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def total(self) -> dict[str, float]:
        """Seconds of every step, and of all since the clock was made."""
        return {**self.seconds, "total": time.perf_counter() - self.began}


@dataclass(frozen=True)
class Survey:
    """The data read and turned into features; rows of `table` stand for `samples`.

    `class_counts` int64[C] counts all images that are not test, also those that were not looked at;
    `examined` is None where nothing was checked; `scales` are of pictures of more than 8 bits.
    `progress` is where a training keeps what it has done; None where nothing is trained.
    """

    request: Request
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
    examined: health.Examination | None = None
    scales: tuple[Scale, ...] = ()
    progress: Progress | None = None

    @property
    def facts(self) -> BackboneFacts:
        """The backbone's."""
        return self.body.facts.backbone

    @property
    def images(self) -> int:
        """How many there are to learn from, also those that were not looked at."""
        return int(self.class_counts.sum())

    @property
    def paths(self) -> list[Path]:
        """The images' files, in the order of the rows."""
        return [self.path(i) for i in range(len(self.samples))]

    def path(self, number: int) -> Path:
        """The file of one row."""
        return Path(self.request.root) / self.samples[number].path

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

    @property
    def in_train(self) -> npt.NDArray[np.bool_]:
        """Which rows are not kept from tuning for validation, bool[N]."""
        held = {s.path for s in self.splits.val}
        return np.array([s.path not in held for s in self.samples])

    def head(self, found: probe.LeftOut, rows: npt.NDArray[np.int64] | None = None) -> probe.Head:
        """A head as leaving one out chose it, fitted on some rows (None: all)."""
        labels = self.labels if rows is None else self.labels[rows]
        blocks = self.blocks(found.score.taps, rows)
        classes = len(self.dataset.classes)
        return probe.fit(blocks, labels, classes, found.score.penalty, found.temperature)

    def blocks(
        self, taps: Sequence[str], rows: npt.NDArray[np.int64] | None = None
    ) -> probe.Blocks:
        """The features of some rows (None: all), grouped by stage."""
        return blocks_of(self.table, taps, rows)


@dataclass(frozen=True)
class Probes:
    """Cross-validated linear classifiers: on the top features, and on others where wanted.

    `curve` is the learning curve of the best: images and error.
    """

    top: probe.LeftOut
    others: tuple[probe.LeftOut, ...]
    curve: tuple[tuple[int, float], ...]

    @property
    def best(self) -> probe.LeftOut:
        """The one with the least log loss, if it beats the top features by two standard errors.

        Else the top features: the simplest that is not clearly worse (Breiman et al. 1984, with one
        standard error). The best of ten is ahead by luck more often than one of two
        (docs/log.md, 2026-11-25).
        """
        best = min((self.top, *self.others), key=lambda c: c.score.log_loss)
        less = self.top.losses - best.losses
        noise = float(less.std(ddof=1)) / len(less) ** 0.5
        return best if float(less.mean()) > CLEARLY * noise else self.top

    @property
    def name(self) -> Strategy:
        """The strategy that the best one is."""
        return "linear-probe" if self.best is self.top else "stage-probe"

    def of(self, strategy: Strategy) -> probe.LeftOut:
        """The one that a probe strategy fits."""
        return self.top if strategy == "linear-probe" else self.best

    @property
    def error(self) -> float:
        """The best one's, no worse than guessing: of few images it can be, by chance."""
        classes = len(np.unique(self.best.labels))
        return min(1.0 - self.best.score.accuracy, 1.0 - 1.0 / classes)

    @property
    def table(self) -> tuple[StageScore, ...]:
        """The stage table."""
        return tuple(c.score for c in (*self.others, self.top))


def look(request: Request, listener: Listener, clock: Clock, most: int | None = None) -> Survey:
    """Scan, split, load the backbone, take features of every image that is not test.

    Args:
        request: What the user wants.
        listener: Hears of progress.
        clock: Times the steps.
        most: With more images than this, a stratified sample of about so many is looked at.

    Raises:
        DataError: unreadable images where these are an error, or a class without any.
    """
    root = Path(request.root)
    with clock.step("scan", f"reading and checking {root}"):
        examined = health.examine(request, listener.progress)
        dataset, splits = examined.dataset, examined.splits
        _require_readable(examined, root)
        scaled = scales.decide(root, splits.fitting, examined.looked.glances)
        if most is None:  # a run will be written
            runs.require_room(splits)
    for finding in examined.findings:
        if finding.severity != "note" or finding.code in (data.LAYOUT.code, data.SPLIT_CLASS.code):
            listener.note(f"{finding.code} {finding.title}")
    for scale in scaled:
        listener.note(scale.reason)
    with clock.step("backbone", f"loading {request.backbone}"):
        body = prepared.prepare(
            request.backbone,
            weights.RANDOM if request.strategy == "scratch" else request.weights,
            device=request.device,
            seed=request.seed,
            paths=[root / s.path for s in splits.fitting],
            listener=listener,
            scales=scaled,
        )
        side = body.facts.backbone.preprocess.side_px
    chosen = _chosen(splits.fitting, most, request.seed)
    if len(chosen) < len(splits.fitting):
        text = f"looking at a stratified sample of {len(chosen)} of {len(splits.fitting)} images"
        listener.note(text)
    with clock.step("features", f"one forward pass over {len(chosen)} images"):
        paths = [root / s.path for s in chosen]
        digests = [s.digest for s in chosen]
        table = features.extract(paths, body.engine, side, listener, digests, scaled)
        if table.fresh < len(chosen):
            listener.note(f"features of {len(chosen) - table.fresh} images were known already")
    bad = [chosen[i] for i, _ in table.faults]
    messages = [fault.message for _, fault in table.faults]
    if bad and request.on_bad_image == "error":
        raise DataError(
            f"{len(bad)} image(s) cannot be read: " + "; ".join(messages[:5]),
            hint="Repair or remove them, or use --on-bad-image skip.",
        )
    samples = tuple(chosen[i] for i in table.kept)
    labels = np.array([s.label for s in samples], np.int64)
    _require_every_class(dataset, labels, len({s.unit for s in samples}))
    lost = {s.path for s in bad}
    return Survey(
        request=request,
        dataset=dataset,
        splits=replace(
            splits,
            train=tuple(s for s in splits.train if s.path not in lost),
            val=tuple(s for s in splits.val if s.path not in lost),
        ),
        body=body,
        table=table,
        samples=samples,
        labels=labels,
        class_counts=np.bincount([s.label for s in splits.fitting if s.path not in lost]),
        fold=probe.folds(labels, [s.unit for s in samples]),
        findings=examined.findings + scales.findings(scaled) + data.unreadable(bad, messages),
        seconds_per_image=_seconds_per_image(table, body, paths, scaled),
        listener=listener,
        examined=examined,
        scales=scaled,
    )


def _seconds_per_image(
    table: features.Table, body: Prepared, paths: Sequence[Path], scaled: Sequence[Scale]
) -> float:
    """Measured on the images that were run; where all were known, on one of them."""
    if table.fresh:
        return table.seconds / table.fresh
    began = time.perf_counter()
    side = body.facts.backbone.preprocess.side_px
    body.engine.forward(batches.decode(paths[int(table.kept[0])], side, scaled)[None])
    return time.perf_counter() - began


def _chosen(samples: tuple[Sample, ...], most: int | None, seed: int) -> tuple[Sample, ...]:
    """All samples, or the same share of each class by chance, ten of each at least."""
    if most is None or len(samples) <= most:
        return samples
    rng, labels = np.random.default_rng(seed), np.array([s.label for s in samples])
    keep: list[int] = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        share = max(profile.LARGE_RAREST, round(most / len(samples) * len(members)))
        keep += members[:share].tolist()
    return tuple(samples[i] for i in sorted(keep))


def blocks_of(
    table: features.Table, taps: Sequence[str], rows: npt.NDArray[np.int64] | None = None
) -> probe.Blocks:
    """The features of some rows of a table (None: all), grouped by stage."""
    spans, start = [], 0
    for tap in taps:
        width = table.layout[tap][1] - table.layout[tap][0]
        spans.append((start, start + width))
        start += width
    return probe.Blocks(table.columns(taps, rows), tuple(spans))


def stage_sets(stages: tuple[str, ...], first: str) -> dict[str, tuple[str, ...]]:
    """What linear classifiers are tried on, by name: the top features first, then other stages."""
    return {
        TOP: (first,),
        **{f"stage {s}" if s != "stem" else s: (s,) for s in stages},
        f"stages {'+'.join(stages[-2:])}": stages[-2:],
        f"stages {'+'.join(stages[-2:])}+top": (*stages[-2:], first),
        "all stages": (*stages, first),
    }


def fit_probes(survey: Survey, clock: Clock, *, all_stages: bool) -> Probes:
    """Cross-validate linear classifiers on the top features, each stage, and stages together."""
    first = survey.body.facts.probed_top
    candidates = stage_sets(survey.facts.stages, first) if all_stages else {TOP: (first,)}
    with clock.step("probes", "cross-validating linear classifiers"):
        rows = probe.ranking_sample(survey.labels)
        groups = [survey.samples[i].unit for i in rows]
        layout = survey.table.layout
        used = {tap: layout[tap] for taps in candidates.values() for tap in taps}
        known = probe.kernels(survey.table.rows[rows], used)
        found = []
        for i, (name, taps) in enumerate(candidates.items()):
            kernel = probe.combined(known, taps)
            width = sum(layout[tap][1] - layout[tap][0] for tap in taps)
            found.append(probe.leave_out(name, taps, kernel, survey.labels[rows], width, groups))
            survey.listener.progress(i + 1, len(candidates))
        probes = Probes(found[0], tuple(found[1:]), ())
        best = probes.best
        if len(best.labels) < profile.CURVE_PER_CLASS * len(survey.dataset.classes):
            return probes
        curve = probe.learning_curve(probe.combined(known, best.score.taps), best.labels, groups)
    return replace(probes, curve=curve)


def measure(survey: Survey, probes: Probes, clock: Clock) -> DatasetProfile:
    """Measure the two axes of the table: how much data, and how near ImageNet."""
    with clock.step("profile", "measuring size and similarity"):
        classes = survey.dataset.classes
        looks, why = profile.symbols(classes)
        every = max(1, len(survey.samples) // SIZE_SAMPLE)
        some = range(0, len(survey.samples), every)
        shapes = [batches.size_of(survey.path(i)) for i in some]
        sides = [min(shape) for shape in shapes if shape is not None]
        return DatasetProfile(
            size=profile.size(survey.class_counts, probes.curve),
            similarity=_similarity(survey, probes),
            median_side_px=int(np.median(sides)) if sides else None,
            symbols=looks,
            symbols_reason=why,
        )


def plan_for(
    survey: Survey,
    measured: DatasetProfile,
    probes: Probes,
    wanted: Strategy,
    most_side_px: int | None = None,
) -> Plan:
    """Every hyper-parameter of a strategy on this data, at the resolution the budget allows."""
    counts = survey.class_counts
    facts = strategy.Facts(
        images=survey.images,
        similarity=survey.request.similarity or measured.similarity.column,
        stages=survey.facts.stages,
        side_px=survey.facts.preprocess.side_px,
        fixed_side=survey.body.facts.one_size,
        batchnorm=survey.facts.batchnorm,
        median_side_px=measured.median_side_px,
        most_side_px=most_side_px,
        symbols=measured.symbols,
        symbols_reason=measured.symbols_reason,
        rarest=int(counts.min()),
        commonest=int(counts.max()),
    )
    taps = (TOP,) if wanted in strategy.TUNED else probes.of(wanted).score.taps
    return strategy.resolve(wanted, facts, survey.request.options, taps)


def _similarity(survey: Survey, probes: Probes) -> SimilarityProfile:
    """The parts of the distance from ImageNet; those that need its weights only with these."""
    layers, _ = survey.drifts
    asked, seen = survey.asked, survey.imagenet
    lower = {
        c.score.name: c.right
        for c in probes.others
        if survey.body.facts.probed_top not in c.score.taps
    }
    parts = (
        _appearance(survey),
        profile.agreement(seen, survey.labels[asked], survey.fold[asked]),
        profile.confidence(seen),
        profile.depth(probes.top.right, lower),
    )
    by_stage = {
        stage: float(np.mean([drift for s, drift, _ in layers if s == stage]))
        for stage in survey.facts.stages
        if any(s == stage for s, _, _ in layers)
    }
    diversity = float(np.mean([d for _, _, d in _shallow(layers)])) if layers else None
    return profile.similarity(parts, len(survey.samples), by_stage, diversity)


def _appearance(survey: Survey) -> Part:
    """How near the images look to ImageNet's."""
    layers, noise = (
        float(np.mean([drift for _, drift, _ in _shallow(some)])) if some else None
        for some in survey.drifts
    )
    return profile.appearance(layers, noise)


def _shallow(layers: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """All but the last third, which tells nothing (docs/log.md)."""
    return layers[: max(1, 2 * len(layers) // 3)]


def _drifts(survey: Survey) -> tuple[list[tuple[str, float, float]], ...]:
    """Stage, drift and diversity of each BatchNorm layer, on some of the images and on noise."""
    body = survey.body
    if not body.facts.knows or body.shifts is None or body.noise is None:
        return [], []
    rows = _drift_sample(survey)
    paths, side = [survey.path(i) for i in rows], survey.facts.preprocess.side_px
    digests = [survey.samples[i].digest for i in rows]
    listener, scaled = survey.listener, survey.scales
    table = features.extract(paths, body.shifts, side, listener, digests, scaled)
    if len(table.rows) < 2:
        return [], []
    return tuple(
        [
            (layer.stage, *profile.drift(shifts[:, layer.start : layer.stop]))
            for layer in body.facts.layers
        ]
        for shifts in (table.rows[:], body.noise)
    )


def _drift_sample(survey: Survey) -> npt.NDArray[np.int64]:
    """At most `DRIFT_SAMPLE` rows, the classes in turn."""
    order = np.random.default_rng(0).permutation(len(survey.labels))
    turn = np.empty(len(order), np.int64)
    for label in np.unique(survey.labels):
        members = order[survey.labels[order] == label]
        turn[members] = np.arange(len(members))
    return order[np.argsort(turn[order], kind="stable")][:DRIFT_SAMPLE]


def imagenet_probabilities(
    survey: Survey, numbers: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32] | None:
    """The ImageNet classifier's softmax of M rows, float32[M,1000]; None without a classifier.

    It reads the top features, which are at hand, so it costs no forward pass.
    """
    if survey.body.classifier is None:
        return None
    weight, bias = survey.body.classifier
    top = survey.table.columns((TOP,), numbers)
    out = np.empty((len(top), len(bias)), np.float32)
    for part, some in matrix.parts(top):
        out[part] = probe.probabilities((some @ weight.T + bias).astype(np.float64), 1.0)
    return out


def overlap(survey: Survey) -> tuple[Finding, ...]:
    """A note where classes are ImageNet classes: the accuracy then overstates."""
    asked, seen = survey.asked, survey.imagenet
    if seen is None:
        return ()
    known = survey.body.facts.knows
    found = profile.overlap(
        *(seen, survey.labels[asked], survey.dataset.classes, known),
        photographs=_appearance(survey).verdict != "different" and bool(survey.drifts[0]),
    )
    if not found:
        return ()
    pairs = [f"{own} ({known[i]})" for own, i in found.items()]
    more = f" and {len(pairs) - OVERLAPS_SHOWN} more" if len(pairs) > OVERLAPS_SHOWN else ""
    return (
        Finding(
            "FT130",
            "note",
            f"{len(found)} of {len(survey.dataset.classes)} classes look like classes that the "
            f"backbone was trained on: {', '.join(pairs[:OVERLAPS_SHOWN])}{more}",
            "It has seen such pictures, perhaps these: the accuracy overstates what to expect of "
            "classes it has not seen.",
        ),
    )


def _require_readable(examined: health.Examination, root: Path) -> None:
    """Where no image can be read, or none of a class, the reason is what helps."""
    faults = examined.subject.faults
    whole = examined.subject.dataset
    left = {s.label for s in examined.dataset.pool}
    lost = [s for s in whole.pool if s.label not in left]
    if not lost:
        return
    counted = Counter(faults[s.path] for s in lost).most_common(3)
    why = ", ".join(f"{reason} ({count} of {len(lost)})" for reason, count in counted)
    classes = list(dict.fromkeys(whole.classes[s.label] for s in lost))
    all_of = "" if not left else f" of {', '.join(classes[:5])}"
    raise DataError(
        f"none of the {len(lost)} training images{all_of} in {root} can be read: {why}",
        hint="Mend that, or remove the class folder; `finetune check` names every file.",
    )


def _require_every_class(dataset: Dataset, labels: npt.NDArray[np.int64], distinct: int) -> None:
    counts = np.bincount(labels, minlength=len(dataset.classes))
    empty = [dataset.classes[i] for i in np.flatnonzero(counts == 0)]
    if empty:
        raise DataError(
            f"no readable training image of {', '.join(empty[:5])} in {dataset.root}",
            hint="Add images of it, or remove the class folder.",
        )
    if distinct < 2 * len(dataset.classes):
        raise DataError(
            f"{dataset.root} has {distinct} different training images for "
            f"{len(dataset.classes)} classes; copies, near copies and a --group count as one",
            hint="Give at least two per class; ten is a sensible least.",
        )
