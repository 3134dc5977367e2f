"""The report of a run of labels or numbers, with its pictures where these can be had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finetune.pictures import thumbnails
from finetune.records.run import RunFacts
from finetune.records.target_result import TargetResult
from finetune.records.training import EpochRecord
from finetune.report import target_html
from finetune.workflows import report_extras
from finetune.workflows.report_material import MOST_PICTURE_BYTES


def page(
    facts: RunFacts, result: TargetResult, history: Sequence[EpochRecord], root: Path | None
) -> tuple[str, int]:
    """The report as HTML, and how many pictures it shows.

    Args:
        facts: Of the run.
        result: Its answer.
        history: One record per epoch.
        root: What the images' paths are below; None for a report without pictures.
    """
    thumbs = {}
    if root is not None:
        paths = [p for p in target_html.wanted(result) if report_extras.inside(p)]
        how = facts.preprocess
        thumbs = thumbnails.of_files(root, paths, how.scales, MOST_PICTURE_BYTES, how.box)
    made = target_html.to_html(facts, result, history, thumbs)
    return made, made.count("<symbol ")
