"""A fitted model: a backbone with a head, and what is known of it before the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.analysis.analyze import Analysis
from finetune.backbones.inference import Engine
from finetune.deploy.predictor import Predictor
from finetune.heads import calibration, cross_validation, logit_adjustment, ridge, unknown
from finetune.heads.selective import HeldOut
from finetune.metrics import classification, clusters
from finetune.records.backbone import HALF, Box
from finetune.records.choices import Strategy
from finetune.records.dataset import Scale
from finetune.records.decision import Plan
from finetune.records.metrics import Baseline, Metrics
from finetune.records.run import BlendPart
from finetune.records.training import EpochRecord
from finetune.storage.arrays import Array


@dataclass(frozen=True, kw_only=True)
class Near:
    """Training images as the model sees them, and how far held-out ones were from them.

    `distances` float64[N]; `weights` float64[N] as in `HeldOut`.
    """

    detector: unknown.Detector
    distances: Array
    weights: Array | None = None


@dataclass(frozen=True)
class Model:
    """A backbone with a head, and what the head reads of pictures of `side_px`.

    `tensors` gives the backbone's, `graph` the converted network, or None where it cannot be had.
    """

    strategy: Strategy
    runtime: Engine
    tensors: Callable[[], Mapping[str, npt.NDArray[Any]]]
    graph: Callable[[], Any]
    head: ridge.Head
    taps: tuple[str, ...]
    side_px: int

    def predictor(self, scales: Sequence[Scale], box: Box = HALF) -> Predictor:
        """What answers with this model, as its run will.

        Args:
            scales: Of pictures of more than 8 bits, as the run keeps them.
            box: How a picture becomes a square, as the run keeps it.
        """
        head = ridge.stored(self.head)
        return Predictor(self.runtime, self.side_px, scales, head.temperature, head, self.taps, box)


@dataclass(frozen=True)
class FittedModel(Model):
    """What is returned: a backbone with a head, and what is known of it before the test.

    `tensors` gives the backbone's, `graph` the converted network, or None where it cannot be had;
    `plan` is that of a tuned model as it was carried out; `stopped` is what ended its training
    before its time; `shift` float64[C] moves calibrated scores to the wanted shares of the classes,
    and stands in the head. Of a blend, `parts` are its two networks, of which `tensors` are the
    tuned one's and `original` gives the other's. `held` is what the estimate was measured on,
    `near` tells unknown pictures, or says why nothing does.
    """

    held: HeldOut
    estimate: Metrics
    estimate_source: str
    near: Near | str
    history: tuple[EpochRecord, ...] = ()
    floor: Baseline | None = None
    plan: Plan | None = None
    stopped: BaseException | None = None
    shift: Array | None = None
    parts: tuple[BlendPart, ...] = ()
    original: Callable[[], Mapping[str, npt.NDArray[Any]]] | None = None


def probed(analysis: Analysis, chosen: cross_validation.LeftOut, name: Strategy) -> FittedModel:
    """Fit the head on every image that is not test; its estimate is the cross-validated one."""
    shift = analysis.shift()
    head = logit_adjustment.moved(analysis.head(chosen), shift)
    held = HeldOut(
        likely=calibration.probabilities(chosen.logits, chosen.temperature),
        labels=chosen.labels,
        groups=chosen.groups,
        weights=chosen.weights,
    )
    return FittedModel(
        strategy=name,
        runtime=analysis.body.engine,
        tensors=lambda: analysis.body.tensors,
        graph=analysis.body.graph,
        head=head,
        taps=chosen.score.taps,
        side_px=analysis.facts.preprocess.side_px,
        held=held,
        estimate=measured(analysis, held),
        estimate_source="images by leave-one-out cross-validation, which also chose l2",
        near=probe_near(analysis, chosen.score.taps),
        shift=shift,
    )


def held_out(analysis: Analysis, likely: Array, rows: npt.NDArray[np.int64]) -> HeldOut:
    """Calibrated probabilities float64[M, C] of some rows int64[M] and what they are judged by."""
    labels = analysis.labels[rows]
    return HeldOut(
        likely=likely,
        labels=labels,
        groups=clusters.renumbered(analysis.groups, rows),
        weights=None if analysis.wanted is None else analysis.wanted.weights(labels),
    )


def measured(analysis: Analysis, held: HeldOut) -> Metrics:
    """The estimate before the test."""
    return classification.measure(held.likely, held.labels, analysis.dataset.classes, held.groups)


def probe_near(analysis: Analysis, taps: Sequence[str], before: int = 0) -> Near:
    """How near images are in the last features that a probe reads, each left out with its group.

    Args:
        analysis: The data.
        taps: What the probe reads.
        before: How many other columns stand before these in the rows that the head reads.
    """
    rows = analysis.ranked
    new = ~analysis.learnt[rows]
    features = analysis.blocks(taps[-1:], rows).rows[:]
    groups = clusters.renumbered(analysis.groups, rows)
    widths = [stop - start for start, stop in (analysis.table.layout[tap] for tap in taps[:-1])]
    return Near(
        detector=unknown.fit(features, before + sum(widths)),
        distances=unknown.left_out(features, groups)[new],
        weights=None
        if analysis.wanted is None
        else analysis.wanted.weights(analysis.labels[rows[new]]),
    )
