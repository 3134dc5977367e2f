"""The rows behind `regret.py`: every strategy, and what the program measures, on many small sets.

A row is one strategy or one trial of tuning on one cell (a data set, a size, a seed). Seconds are
CPU seconds of one thread, on a GPU those of the process that drives it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import row_file
import torch

from finetune.analysis import analyze, axes
from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes, fit_probes
from finetune.backbones import features, registry
from finetune.decision import trials
from finetune.decision.planning import plan_for
from finetune.decision.table import named
from finetune.heads import blending, calibration, cross_validation, ridge
from finetune.metrics import classification, paired
from finetune.pictures import decoding
from finetune.records.analysis import DatasetProfile
from finetune.records.choices import Similarity, Strategy
from finetune.records.decision import Plan
from finetune.records.events import Silent
from finetune.records.options import (
    BackboneOptions,
    DataOptions,
    DecisionOptions,
    Options,
    TrainingOptions,
)
from finetune.training import holdout

T = TypeVar("T")
Cell = tuple[str, int, int]

ROWS = Path(__file__).with_name("regret.csv")
EVIDENCE = Path(__file__).with_name("regret_evidence.csv")
SIZES = (5, 20, 40, 200)
TEST_FRACTION = 0.3
TEST_MOST = 1000
# Photographs lose more by shrinking than drawings do: tuned at 160 px, the others at 128 px.
NEAR_SIDE_PX = 160
FAR_SIDE_PX = 128
STRATEGIES: tuple[Strategy, ...] = ("linear-probe", "stage-probe", "partial", "deep")
TRIALS = ("trial-1", "trial-2")
# Of `partial`, which is believed in only where images are very few.
PARTIAL_TRIALS = ("partial-trial-1", "partial-trial-2")
PARTIAL_TRIALS_UP_TO = 5
# What the blend of the deep row's model with the best probe does on the test images (its `lr` is
# the tuned model's weight); and, with a weight fitted on one part of the trials' held-out images
# and judged on the other, on these.
BLEND, BLEND_TRIAL = "blend", "blend-trial"

# An expert's word for each set: the hand-given label that one of the rivals uses, and what the
# tuning recipe's rate is chosen by, so that it is honest whatever the program would measure.
SETS: dict[str, Similarity] = {
    "flowers5": "similar",
    "clothing10": "similar",
    "fruit3_tiny": "similar",
    "sign_digits10": "different",
    "clipart8": "different",
    "edges16": "different",
    "brain_mri2": "different",
    "wbc4": "different",
    "omniglot_greek24": "different",
    "mathsym18": "different",
    "mnist_5k": "different",
    "spoken_digit_spec10": "different",
}
# The largest size that adds a good many images to the one before, where that is not 200.
MOST = {
    "fruit3_tiny": 5,
    "edges16": 5,
    "omniglot_greek24": 20,
    "brain_mri2": 40,
    "clipart8": 40,
    "wbc4": 40,
}
LARGE = ("flowers5", "clothing10", "sign_digits10", "mnist_5k", "spoken_digit_spec10")
# How many classes a set has, where that is not ten.
CLASSES = {
    "flowers5": 5,
    "fruit3_tiny": 3,
    "clipart8": 8,
    "edges16": 16,
    "brain_mri2": 2,
    "wbc4": 4,
    "omniglot_greek24": 24,
    "mathsym18": 18,
}
# (images a class, seed), the most telling for their cost first.
ORDER = (
    *((5, 0), (20, 0), (5, 1), (20, 1), (40, 0), (200, 0), (40, 1), (5, 2), (20, 2)),
    *((200, 1), (40, 2)),
)
# The second half judges again where one half has too few images to tell.
TRIALS_TWICE_UP_TO = 20


@dataclass(frozen=True)
class Row:
    """One measurement.

    Probes and tuned models: accuracy on test images. Trials: tuned on one half of the training
    images, accuracy on the other, and the lead over the best probe on the same halves with its
    standard error, in accuracy and in log loss (`less`: how much less).
    """

    data: str
    per_class: int
    seed: int
    kind: str
    learnt_from: int
    judged_on: int
    accuracy: float
    log_loss: float
    gain: float | None
    gain_noise: float | None
    less: float | None
    less_noise: float | None
    side_px: int
    epochs: int
    batch_size: int
    lr: float
    seconds: float

    @property
    def key(self) -> tuple[str, int, int, str]:
        """Cell and kind."""
        return self.data, self.per_class, self.seed, self.kind


@dataclass(frozen=True)
class Evidence:
    """What the program measures of one cell before any tuning."""

    data: str
    per_class: int
    seed: int
    images: int
    rarest: int
    classes: int
    size: str
    limit: str
    similarity: str
    column: str
    drift: float | None
    agreement: float | None
    leads: float | None
    diversity: float | None
    best_probe: str
    probe_accuracy: float
    top_accuracy: float
    deciding_seconds: float

    @property
    def error(self) -> float:
        """The best probe's error, no worse than guessing."""
        return min(1 - self.probe_accuracy, 1 - 1 / self.classes)

    @property
    def key(self) -> Cell:
        """The cell."""
        return self.data, self.per_class, self.seed


def read(kind: type[T], path: Path) -> list[T]:
    """The records measured so far; of two with one key the later counts."""
    return list({r.key: r for r in row_file.read(kind, path)}.values())  # type: ignore[attr-defined]


def of_backbone(name: str) -> tuple[Path, Path]:
    """Where rows and evidence of a backbone are kept."""
    if name == registry.DEFAULT:
        return ROWS, EVIDENCE
    rows = ROWS.with_name(f"regret_{name}.csv")
    return rows, ROWS.with_name(f"regret_{name}_evidence.csv")


def cells(seeds: Sequence[int]) -> Iterator[Cell]:
    """What is to be measured, in order."""
    for size, seed in ORDER:
        for name in SETS:
            if seed in seeds and size <= MOST.get(name, 200) and (size < 200 or name in LARGE):
                yield name, size, seed


def dealt(found: Sequence[Cell], parts: int) -> list[list[Cell]]:
    """The cells in so many parts that take about as long: the longest first, to the shortest part.

    A cell takes the steps of its trainings, which grow with its images beyond a few hundred, and
    some time whatever its size.
    """
    hands: list[list[Cell]] = [[] for _ in range(parts)]
    spent = [0.0] * parts
    for cell in sorted(found, key=lambda c: (-_steps(c), c)):
        least = spent.index(min(spent))
        hands[least].append(cell)
        spent[least] += _steps(cell)
    return hands


def _steps(cell: Cell) -> float:
    """About how many steps a cell takes: trials, and two trainings of ten epochs or 300 steps."""
    images = cell[1] * CLASSES.get(cell[0], 10)
    return 500 + 2 * max(300.0, 10 * images / 16)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the data lies, with what and where to compute, and where what is measured is kept.

    `scores` is a folder for the logits of every cell, from which blends can be tried without new
    training; None keeps none.
    """

    root: Path
    device: str = "cpu"
    backbone: str = registry.DEFAULT
    rows: Path = ROWS
    evidence: Path = EVIDENCE
    scores: Path | None = None


def wanted(cell: Cell) -> set[str]:
    """The kinds of row that a cell is to have."""
    kinds = {*STRATEGIES, TRIALS[0], BLEND, BLEND_TRIAL}
    kinds |= {TRIALS[1]} if cell[1] <= TRIALS_TWICE_UP_TO else set()
    return kinds | ({*PARTIAL_TRIALS} if cell[1] <= PARTIAL_TRIALS_UP_TO else set())


def fill(place: Place, cell: Cell) -> Iterator[Row]:
    """Measure and keep what is missing of one cell."""
    done = {r.kind for r in read(Row, place.rows) if r.key[:3] == cell}
    missing = wanted(cell) - done
    if not missing:
        return
    if missing & {BLEND, BLEND_TRIAL}:  # of the deep row's own model, which is not kept
        missing |= wanted(cell) & {"deep", *TRIALS, BLEND, BLEND_TRIAL}
    part = Bench.of(place, cell)
    row_file.append(part.evidence(), place.evidence)
    for row in part.rows(missing):
        row_file.append(row, place.rows)
        yield row
    if place.scores is not None:
        place.scores.mkdir(parents=True, exist_ok=True)
        name = "-".join(map(str, cell))
        np.savez_compressed(place.scores / f"{name}.npz", **part.logits)


@dataclass(frozen=True)
class Bench:
    """One cell looked at, with its test images."""

    cell: Cell
    seen: Analysis
    probes: Probes
    measured: DatasetProfile
    clock: Clock
    test_paths: list[Path]
    test_table: features.Table
    test_labels: np.ndarray
    logits: dict[str, np.ndarray] = field(default_factory=dict)
    tried_on: dict[str, holdout.Trial] = field(default_factory=dict)

    @classmethod
    def of(cls, place: Place, cell: Cell) -> Bench:
        """Look at a cell as the program does."""
        name, _, seed = cell
        root = place.root
        seen, clock = look(place, cell), Clock(Silent())
        probes = fit_probes(seen, clock, all_stages=True)
        measured = axes.measure(seen, probes, clock)
        rng = np.random.default_rng(seed)
        some = sorted(rng.permutation(len(seen.splits.test))[:TEST_MOST].tolist())
        tests = [seen.splits.test[i] for i in some]
        paths, digests = zip(*[(root / name / s.path, s.digest) for s in tests], strict=True)
        side = seen.facts.preprocess.side_px
        table = features.extract(paths, seen.body.engine, side, Silent(), digests)
        labels = np.array([s.label for s in tests])
        return cls(cell, seen, probes, measured, clock, list(paths), table, labels)

    def evidence(self) -> Evidence:
        """What was measured."""
        (name, per_class, seed), size = self.cell, self.measured.size
        similarity = self.measured.similarity
        parts = {p.name: p.value for p in similarity.parts}
        return Evidence(
            data=name,
            per_class=per_class,
            seed=seed,
            images=size.images,
            rarest=size.rarest_class,
            classes=size.classes,
            size=size.verdict,
            limit=size.limit or "",
            similarity=similarity.verdict,
            column=similarity.column,
            drift=parts["BatchNorm drift"],
            agreement=parts["label agreement"],
            leads=parts["stage profile"],
            diversity=similarity.diversity,
            best_probe=self.probes.name,
            probe_accuracy=self.probes.best.score.accuracy,
            top_accuracy=self.probes.top.score.accuracy,
            deciding_seconds=self.clock.seconds["probes"],
        )

    def rows(self, kinds: set[str]) -> Iterator[Row]:
        """Measure some kinds of row."""
        for kind, chosen in (("linear-probe", self.probes.top), ("stage-probe", self.probes.best)):
            if kind in kinds:
                yield self.probed(named(kind), chosen)
        if kinds & {*PARTIAL_TRIALS}:
            yield from self.tried("partial", PARTIAL_TRIALS)
        if kinds & {*TRIALS}:
            yield from self.tried("deep", TRIALS if TRIALS[1] in kinds else TRIALS[:1])
        for kind in ("partial", "deep"):
            if kind in kinds:
                yield self.tuned(named(kind))
        if BLEND_TRIAL in kinds:
            yield self.blend_tried()
        if BLEND in kinds:
            yield self.blend()

    def probed(self, kind: Strategy, chosen: cross_validation.LeftOut) -> Row:
        """A linear classifier on the test images."""
        head = self.seen.head(chosen)
        scores = ridge.score(head, self.test_table.columns(chosen.score.taps))
        plan = plan_for(self.seen, self.measured, self.probes, kind)
        scaled = calibration.probabilities(scores, head.temperature)
        return self._row(kind, scaled, plan, self.clock.seconds["probes"])

    def tried(self, tuning: Strategy, names: Sequence[str]) -> Iterator[Row]:
        """Short trials of tuning, as the program runs them."""
        began = time.process_time()
        tried = trials.run_trials(
            self.seen, self.probes, self.measured, self.clock, tuning, most=len(names)
        )
        self.tried_on[tuning] = tried.trial
        self.keep_trial(tuning, tried.trial)
        seconds = (time.process_time() - began) / len(tried.results)
        full = plan_for(self.seen, self.measured, self.probes, tuning)
        start = 0
        for kind, part in zip(names, tried.trial.parts, strict=True):
            learn, held = part
            scores = tried.trial.logits[start : start + len(held)]
            start += len(held)
            lead = trials.lead(self.seen, self.probes, holdout.Trial((part,), scores, None, ""))
            labels = self.seen.labels[held]
            scaled = calibration.probabilities(scores, calibration.fit_temperature(scores, labels))
            plan = trials.short(self.seen, full, len(learn))
            yield self._row(kind, scaled, plan, seconds, len(learn), labels, lead)

    @cached_property
    def made(self) -> tuple[holdout.Material, float]:
        """Every training image at the resolution of tuning, the same for all ways; and seconds."""
        began = time.process_time()
        plan = plan_for(self.seen, self.measured, self.probes, "deep")
        return trials.material(self.seen, plan, self.clock), time.process_time() - began

    @cached_property
    def test_pixels(self) -> np.ndarray:
        """The test images at the resolution of tuning."""
        return decoding.load(self.test_paths, [self.made[0].plain.shape[1]], 1)[0]

    def tuned(self, kind: Strategy) -> Row:
        """Tuned on every training image, for all epochs of the plan."""
        plan = plan_for(self.seen, self.measured, self.probes, kind)
        made, seconds = self.made
        began = time.process_time()
        outcome = holdout.on_everything(made, plan)
        seconds += time.process_time() - began
        device = torch.device(self.seen.body.device)
        top = holdout.top_features(outcome.backbone, device, self.test_pixels)
        scores = ridge.score(outcome.head, top)
        self.logits[f"test-{kind}"] = scores
        temperature = calibration.fit_temperature(scores, self.test_labels)
        return self._row(kind, calibration.probabilities(scores, temperature), plan, seconds)

    def keep_trial(self, tuning: Strategy, trial: holdout.Trial) -> None:
        """The logits of a trial's held-out images, of both sides, and what is known of them."""
        best, held = self.probes.best, trial.held
        self.logits.update(
            {
                f"trial-{tuning}": trial.logits,
                f"trial-{tuning}-probe": trials.rival_logits(self.seen, best, trial),
                f"trial-{tuning}-labels": self.seen.labels[held],
                f"trial-{tuning}-groups": np.array([self.seen.samples[i].unit for i in held]),
                "test-labels": self.test_labels,
                "test-probe": self.probe_logits(),
                "probe-temperature": np.array(best.temperature),
            }
        )

    def probe_logits(self) -> np.ndarray:
        """Of the best probe, on the test images, before temperature."""
        best = self.probes.best
        return ridge.score(self.seen.head(best), self.test_table.columns(best.score.taps))

    def blend_tried(self) -> Row:
        """A blend on the trials' held-out images, and its lead over the best probe there."""
        known = [self.logits[f"trial-deep{end}"] for end in ("", "-probe", "-labels")]
        likely, lead = blend_lead(*known, self.logits["trial-deep-groups"].tolist())
        labels = known[2]
        full = plan_for(self.seen, self.measured, self.probes, "deep")
        learnt = len(self.tried_on["deep"].parts[0][0])
        plan = trials.short(self.seen, full, learnt)
        return self._row(BLEND_TRIAL, likely, plan, 0.0, learnt, labels, lead)

    def blend(self) -> Row:
        """The deep row's model and the best probe together, by a weight from the trials.

        `lr` is the tuned model's weight.
        """
        tuned, probed, labels = (
            self.logits[f"trial-deep{end}"] for end in ("", "-probe", "-labels")
        )
        found = blending.fit(tuned, probed, labels)
        found = replace(found, temperatures=(found.temperatures[0], self.probes.best.temperature))
        tested = self.logits["test-deep"], self.logits["test-probe"]
        likely = blending.probabilities(found, *tested)
        plan = plan_for(self.seen, self.measured, self.probes, "deep")
        return self._row(BLEND, likely, replace(plan, lr=found.weight), 0.0)

    def _row(
        self,
        kind: str,
        probabilities: np.ndarray,
        plan: Plan,
        seconds: float,
        learnt: int | None = None,
        labels: np.ndarray | None = None,
        lead: tuple[float, float, float, float] | None = None,
    ) -> Row:
        truth = self.test_labels if labels is None else labels
        found = classification.measure(probabilities, truth, self.seen.dataset.classes)
        name, per_class, seed = self.cell
        gain, gain_noise, less, less_noise = lead or (None, None, None, None)
        return Row(
            data=name,
            per_class=per_class,
            seed=seed,
            kind=kind,
            learnt_from=learnt or len(self.seen.labels),
            judged_on=found.n,
            accuracy=found.accuracy,
            log_loss=found.log_loss,
            gain=gain,
            gain_noise=gain_noise,
            less=less,
            less_noise=less_noise,
            side_px=plan.side_px,
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            lr=plan.lr,
            seconds=seconds,
        )


def blend_lead(
    tuned: np.ndarray, probed: np.ndarray, labels: np.ndarray, groups: Sequence[str]
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """A cross-fitted blend's probabilities of held-out images, and its lead over the probe."""
    likely = blending.cross_fitted(tuned, probed, labels, groups)
    alone = calibration.probabilities(probed, calibration.fit_temperature(probed, labels))
    return likely, paired.accuracy_gain(likely, alone, labels)


def look(place: Place, cell: Cell) -> Analysis:
    """A survey of one cell; the program's cache holds features that another cell has needed."""
    name, per_class, seed = cell
    label = SETS.get(name)  # None of the classes of several sets together: the program measures it
    side = NEAR_SIDE_PX if label == "similar" else FAR_SIDE_PX
    options = Options(
        data=DataOptions(
            root=str(place.root / name), test_fraction=TEST_FRACTION, max_per_class=per_class
        ),
        backbone=BackboneOptions(name=place.backbone, device=place.device),
        decision=DecisionOptions(similarity=label),
        training=TrainingOptions(seed=seed, overrides={"side_px": side}),
    )
    torch.set_num_threads(1)
    return analyze.analyze(options, Silent(), Clock(Silent()))
