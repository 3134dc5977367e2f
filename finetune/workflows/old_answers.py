"""What a run that a training started from answers on the same test images: before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.deploy import predictor
from finetune.metrics import clusters, paired
from finetune.records.run import RunFacts
from finetune.records.start import OldAnswers, StartFacts
from finetune.runs import run_folder
from finetune.workflows.final_test import Test


def asked(
    analysis: Analysis, told: StartFacts, paths: Sequence[str], clock: Clock
) -> tuple[RunFacts, predictor.Logits]:
    """What the run that was started from is, and what it answers of images of the data.

    Raises:
        RunError: it cannot be read any more.
    """
    run = Path(told.run)
    facts = run_folder.load_facts(run)
    with clock.step("before", f"{len(paths)} test images by the run that was started from"):
        found = predictor.run_logits(
            run,
            facts,
            [analysis.root / path for path in paths],
            device=analysis.options.backbone.device,
            listener=analysis.listener,
        )
    return facts, found


def measured(analysis: Analysis, test: Test | None, clock: Clock) -> StartFacts | None:
    """The start of a training with both models' accuracy on the classes of the old one.

    The test images of classes that both know are classified by the old run, too, which has learnt
    from none of them. It chooses among its own classes, the new model among all of them.

    Args:
        analysis: The data.
        test: What the new model answers; None where there was no test.
        clock: Times it.

    Returns:
        None where the training was not to start from a run.

    Raises:
        RunError: the old run cannot be read any more.
    """
    told = None if analysis.choice is None else analysis.choice.start
    if told is None or test is None or not told.shared:
        return told
    classes = analysis.dataset.classes
    known = np.array([c in set(told.shared) for c in classes], np.bool_)
    rows = np.flatnonzero(known[test.labels])
    if len(rows) < 2:  # of one alone nothing is told
        return told
    facts, found = asked(analysis, told, [test.paths[i] for i in rows], clock)
    rows = rows[found.kept]
    answers = np.asarray(found.rows[:]).argmax(axis=1)
    truth = [classes[i] for i in test.labels[rows]]
    before = np.array([facts.classes[a] == t for a, t in zip(answers, truth, strict=True)], float)
    after = (test.probabilities[rows].argmax(axis=1) == test.labels[rows]).astype(float)
    gain, noise = paired.paired(after - before, clusters.renumbered(test.groups, rows))
    new = f", which also knows {_classes(len(told.added))}," if told.added else ""
    text = (
        f"On {len(rows)} test images of the {len(told.shared)} classes that it knows, the old run "
        f"has {before.mean():.1%} accuracy, the new model{new} {after.mean():.1%} "
        f"({100 * gain:+.1f} ± {100 * noise:.1f} points)"
    )
    old = OldAnswers(
        n=len(rows),
        before=float(before.mean()),
        after=float(after.mean()),
        gain=float(gain),
        noise=float(noise),
        text=text,
    )
    return replace(told, old=old)


def _classes(count: int) -> str:
    return "a new class" if count == 1 else f"{count} new classes"
