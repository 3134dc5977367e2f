"""What a report shows beside a run's result: gathered once, where all of it is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finetune.analysis import image_map, more_images
from finetune.analysis.analyze import Analysis
from finetune.analysis.probes import Probes
from finetune.decision import table
from finetune.metrics import classification, confidence
from finetune.pictures import thumbnails
from finetune.records.analysis import DatasetProfile
from finetune.records.material import Material
from finetune.records.run import RunFacts, RunResult
from finetune.records.training import EpochRecord
from finetune.report import gallery, html
from finetune.workflows import report_extras
from finetune.workflows.final_test import Test

CLOSE_CALLS = 12
# Of all pictures in a report: base64 makes a third more of them, and the page has at most 5 MB.
MOST_PICTURE_BYTES = 3_000_000


def gather(
    analysis: Analysis, probes: Probes, measured: DatasetProfile, test: Test | None
) -> Material:
    """The report's figures that no other file of the run holds.

    Args:
        analysis: The images.
        probes: Of which the best is on the map.
        measured: Size and similarity.
        test: What the test images were answered; None where there was no test.
    """
    best = probes.best
    known = Material(
        profile=measured,
        expected=more_images.expected(probes.curve, analysis.images),
        image_map=image_map.image_map(analysis, best),
    )
    if test is None or not len(test.labels):
        return known
    found = classification.answers([test.probabilities], test.labels)
    correct = found.called == found.labels
    told = (test.probabilities, test.labels, test.paths, analysis.dataset.classes)
    return replace(
        known,
        reliability=confidence.reliability(found.confidence, correct),
        answered=confidence.answered(found.confidence, correct),
        close=confidence.close_calls(*told, CLOSE_CALLS),
        sure=confidence.surest(*told, report_extras.EXPLAINED),
    )


def page(
    facts: RunFacts,
    result: RunResult,
    material: Material,
    history: Sequence[EpochRecord],
    root: Path | None,
) -> tuple[str, int]:
    """The report as HTML, and how many pictures it shows.

    Args:
        facts: Of the run.
        result: Its answer.
        material: From `gather`.
        history: One record per epoch.
        root: Where the images lie; None for a report without pictures.
    """
    pictures, overlays = {}, {}
    if root is not None:
        pictures = _pictures(facts, result, material, root)
        overlays = report_extras.drawn(facts, material, root)
    told = (facts, result, material, history, table.actions())
    made = html.to_html(*told, pictures, overlays)
    return made, made.count("<symbol ")


def _pictures(
    facts: RunFacts, result: RunResult, material: Material, root: Path
) -> dict[str, bytes]:
    """Thumbnails of what the report shows, the most important first, as far as there is room."""
    wanted = [path for path in gallery.wanted(result, material) if report_extras.inside(path)]
    how = facts.preprocess
    return thumbnails.of_files(root, wanted, how.scales, MOST_PICTURE_BYTES, how.box)
