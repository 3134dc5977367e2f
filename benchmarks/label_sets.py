"""Labelled images with their features, as the benchmarks of labels read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.analysis import analyze
from finetune.analysis.clock import Clock
from finetune.analysis.probes import ranked, stage_sets
from finetune.heads import cross_validation, ridge
from finetune.heads.cross_validation import LeftOut
from finetune.records.events import Silent
from finetune.records.options import (
    BackboneOptions,
    DataOptions,
    DecisionOptions,
    Options,
    OutputOptions,
    TrainingOptions,
)
from finetune.storage.arrays import View

# Images of each class at most: some 800 of each set.
CAPS = {
    "flowers5": 160,
    "clothing10": 90,
    "clipart8": 90,
    "sign_digits10": 80,
    "wbc4": 200,
    "mathsym18": 45,
    "edges16": 10,
    "omniglot_greek24": 20,
    "mnist_5k": 80,
    "spoken_digit_spec10": 80,
    "brain_mri2": 200,
}
# Near ImageNet, wide classes, middle, and far from it.
MAIN = ("flowers5", "clothing10", "clipart8", "sign_digits10")


@dataclass(frozen=True)
class Labelled:
    """Features float32[N, F] of all stages, true labels int64[N], and what goes together."""

    rows: np.ndarray
    labels: np.ndarray
    groups: list[str]
    layout: Mapping[str, tuple[int, int]]
    choices: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, folder: Path, most: int) -> Labelled:
        """Of a folder; features that are known already are taken from the cache."""
        options = Options(
            data=DataOptions(root=str(folder), test_fraction=0.0, max_per_class=most),
            backbone=BackboneOptions(),
            decision=DecisionOptions(),
            training=TrainingOptions(),
            output=OutputOptions(),
        )
        listener = Silent()
        found = analyze.analyze(options, listener, Clock(listener))
        return cls(
            rows=found.table.rows[:],
            labels=found.labels,
            groups=[s.unit for s in found.samples],
            layout=found.table.layout,
            choices=stage_sets(found.facts.stages, found.body.facts.probed_top),
        )

    def probe(self, labels: np.ndarray) -> LeftOut:
        """The best probe by these labels, as the program chooses it."""
        rows = cross_validation.ranking_sample(labels)
        groups = [self.groups[i] for i in rows]
        known = ranked(self.rows[rows], self.layout, labels[rows], groups, self.choices)
        return known.probes(self.choices).best

    def left_out(self, labels: np.ndarray, probe: LeftOut) -> np.ndarray:
        """Its logits float64[N, C], each image left out with its group."""
        classes = int(self.labels.max()) + 1
        blocks = self.blocks(probe.score.taps)
        return ridge.left_out(blocks, labels, classes, probe.score.penalty, self.groups)

    def blocks(self, taps: tuple[str, ...]) -> ridge.Blocks:
        """The features of some stages."""
        spans, start = [], 0
        for tap in taps:
            width = self.layout[tap][1] - self.layout[tap][0]
            spans.append((start, start + width))
            start += width
        return ridge.Blocks(View(self.rows, tuple(self.layout[t] for t in taps)), tuple(spans))
