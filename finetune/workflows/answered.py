"""A run asked about labelled images: what `evaluate` begins with, whatever was learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finetune.deploy import predictor
from finetune.records.dataset import Finding, Sample
from finetune.records.errors import DataError, safe_name
from finetune.records.events import Listener
from finetune.records.run import RunFacts
from finetune.sources.findings import unreadable


def of_samples(
    run: tuple[Path, RunFacts],
    samples: Sequence[Sample],
    place: Path,
    root: str,
    *,
    device: str,
    listener: Listener,
) -> tuple[predictor.Logits, list[Sample], tuple[Finding, ...]]:
    """Outputs, the images that could be read in their order, and a finding on the others.

    Args:
        run: A run's folder and its facts.
        samples: The images.
        place: What their paths are below.
        root: What the user has named, for messages.
        device: `auto`, `cpu`, `cuda`, `mps`.
        listener: Hears of progress.

    Raises:
        DataError: no image can be read.
    """
    path, facts = run
    found = predictor.run_logits(
        path,
        facts,
        [place / s.path for s in samples],
        device=device,
        listener=listener,
        digests=[s.digest for s in samples],
    )
    good = [samples[i] for i in found.kept.tolist()]
    messages = [safe_name(fault.message) for _, fault in found.faults]
    if not good:
        raise DataError(f"no image in {root} could be read: {messages[0]}", hint="Check the files.")
    return found, good, unreadable([samples[i] for i, _ in found.faults], messages)
