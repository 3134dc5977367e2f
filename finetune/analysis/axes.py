"""Measure both axes of the decision table on an analysis."""

from __future__ import annotations

import numpy as np

from finetune.analysis import analyze, similarity, size
from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.data import symbols
from finetune.pictures import decoding
from finetune.records.analysis import DatasetProfile, SimilarityProfile
from finetune.records.dataset import Finding

SIZE_SAMPLE = 200  # headers read to learn how large the images are
OVERLAPS_SHOWN = 3


def measure(analysis: Analysis, probes: Probes, clock: Clock) -> DatasetProfile:
    """Measure the two axes of the table: how much data, and how near ImageNet."""
    with clock.step("profile", "measuring size and similarity"):
        classes = analysis.dataset.classes
        looks, why = symbols.look_like_symbols(classes)
        every = max(1, len(analysis.samples) // SIZE_SAMPLE)
        some = range(0, len(analysis.samples), every)
        shapes = [decoding.size_of(analysis.path(i), analysis.box.bands) for i in some]
        sides = [min(shape) for shape in shapes if shape is not None]
        return DatasetProfile(
            size=size.measure_size(analysis.class_counts, probes.curve),
            similarity=_similarity(analysis, probes),
            median_side_px=int(np.median(sides)) if sides else None,
            symbols=looks,
            symbols_reason=why,
        )


def _similarity(analysis: Analysis, probes: Probes) -> SimilarityProfile:
    """The parts of the distance from ImageNet; those that need its weights only with these."""
    layers, _ = analysis.drifts
    asked, seen = analysis.asked, analysis.imagenet
    lower = {
        c.score.name: c.correct
        for c in probes.others
        if analysis.body.facts.probed_top not in c.score.taps
    }
    parts = (
        analyze._appearance(analysis),
        similarity.agreement(seen, analysis.labels[asked], analysis.fold[asked]),
        similarity.confidence(seen),
        similarity.depth(probes.top.correct, lower),
    )
    by_stage = {
        stage: float(np.mean([drift for s, drift, _ in layers if s == stage]))
        for stage in analysis.facts.stages
        if any(s == stage for s, _, _ in layers)
    }
    diversity = float(np.mean([d for _, _, d in analyze._shallow(layers)])) if layers else None
    return similarity.similarity(parts, len(analysis.samples), by_stage, diversity)


def overlap(analysis: Analysis) -> tuple[Finding, ...]:
    """A note where classes are ImageNet classes: the accuracy then overstates."""
    asked, seen = analysis.asked, analysis.imagenet
    if seen is None:
        return ()
    known = analysis.body.facts.knows
    found = similarity.overlap(
        *(seen, analysis.labels[asked], analysis.dataset.classes, known),
        photographs=analyze._appearance(analysis).verdict != "different"
        and bool(analysis.drifts[0]),
    )
    if not found:
        return ()
    pairs = [f"{own} ({known[i]})" for own, i in found.items()]
    more = f" and {len(pairs) - OVERLAPS_SHOWN} more" if len(pairs) > OVERLAPS_SHOWN else ""
    return (
        Finding(
            "FT130",
            "note",
            f"{len(found)} of {len(analysis.dataset.classes)} classes look like classes that the "
            f"backbone was trained on: {', '.join(pairs[:OVERLAPS_SHOWN])}{more}",
            "It was trained on such images, perhaps on these: the accuracy is too optimistic for "
            "other classes.",
        ),
    )
