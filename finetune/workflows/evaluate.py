"""The story of `evaluate`: how a run does on labelled images; torch-free."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from finetune.backbones import prepared
from finetune.data import names, scan
from finetune.data.findings import SEEN, leaks, unreadable
from finetune.deploy import predictor
from finetune.metrics import classification, mistakes, verdict
from finetune.records.answers import Evaluation
from finetune.records.errors import DataError, safe_name
from finetune.records.events import Listener
from finetune.runs import listing, run_folder


def run_evaluation(
    root: Path,
    run: Path | None,
    *,
    device: str,
    unseen: bool,
    listener: Listener,
    label_from: str | None = None,
) -> Evaluation:
    """`finetune evaluate DIR`: how a run does on labelled images."""
    prepared.require_device(device)
    pattern = names.compiled("--label-from", label_from, r"^([a-z]+)\.")
    path = run or listing.latest()
    facts, splits = run_folder.load_facts(path), run_folder.load_splits(path)
    dataset = scan.scan_labelled(root, facts.classes, pattern)
    known = {s.digest for s in splits.fitting}
    samples = tuple(s for s in dataset.pool if not (unseen and s.digest in known))
    if not samples:
        raise DataError(
            f"every image in {root} was used to train {path}",
            hint="Give images that the run was not trained on, or leave out --unseen.",
        )
    listener.step(f"classifying {len(samples)} images")
    found = predictor.run_logits(
        path,
        facts,
        [root / s.path for s in samples],
        device=device,
        listener=listener,
        digests=[s.digest for s in samples],
    )
    good = [samples[i] for i in found.kept.tolist()]
    bad = [samples[i] for i, _ in found.faults]
    messages = [safe_name(fault.message) for _, fault in found.faults]
    if not good:
        raise DataError(f"no image in {root} could be read: {messages[0]}", hint="Check the files.")
    answers = classification.answers(
        (likely for _, likely in found.probabilities()), np.array([s.label for s in good], np.int64)
    )
    metrics = classification.summary(answers, facts.classes)
    standing = verdict.against_commonest(metrics, f"{metrics.n} images")
    findings = dataset.findings + leaks(splits.fitting, good, SEEN)
    return Evaluation(
        run=safe_name(str(path)),
        data=safe_name(str(root)),
        metrics=metrics,
        findings=findings + unreadable(bad, messages) + standing.findings,
        errors=mistakes.wrong(
            answers.labels,
            answers.called,
            answers.confidence,
            [s.path for s in good],
            facts.classes,
        ),
        better_than_commonest=standing.better,
        verdict=standing.text,
    )
