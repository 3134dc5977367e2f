"""What a run says of itself."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime

from finetune.analysis.analyze import Analysis
from finetune.backbones import ranks
from finetune.decision import doubt, fitted, imbalance
from finetune.metrics import verdict
from finetune.records.backbone import Preprocess
from finetune.records.choices import Strategy
from finetune.records.errors import (
    INTERRUPTED,
    FinetuneError,
    TrainingError,
    first_line,
    out_of_memory,
)
from finetune.records.metrics import Metrics, Standing
from finetune.records.run import HeadFacts, RunFacts, RunResult, Stop
from finetune.runs import places
from finetune.sources import files
from finetune.workflows import begin


def why(error: Exception) -> str | None:
    """What a user can mend, in words; None for a bug of ours."""
    if isinstance(error, FinetuneError):
        return error.message
    if out_of_memory(error):
        return first_line(error)
    if isinstance(error, OSError) and error.strerror:
        name = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        return f"{name}{error.strerror}"
    return None


def stop(fault: BaseException | None, strategy: Strategy, *, decided: bool) -> Stop | None:
    """What ended the training, what was kept and what to do."""
    kept = f"kept is {strategy}, the best that was proved by then"
    if not decided:
        kept = f"nothing was decided yet, kept is {strategy}, the best probe"
    if isinstance(fault, TrainingError):
        return Stop(f"{fault.message}; {kept}", fault.hint, fault.exit_code)
    if fault is None:
        return None
    hint = "Give the same command with --resume to go on."
    return Stop(f"interrupted: {kept}", hint, INTERRUPTED)


def standing(test: Metrics | None, model: fitted.FittedModel) -> Standing:
    """Whether the model is better than always answering the commonest class."""
    estimate = model.estimate, f"{model.estimate.n} {model.estimate_source.partition(',')[0]}"
    if test is None:
        return verdict.against_commonest(*estimate)
    return verdict.against_commonest(test, f"{test.n} test images", estimate)


def preprocess(analysis: Analysis, side_px: int) -> Preprocess:
    """How a picture is read for a model of some resolution."""
    return replace(
        analysis.facts.preprocess,
        side_px=side_px,
        scales=analysis.scales,
        fit=analysis.options.data.fit,
        bands=analysis.box.bands,
    )


def facts(
    analysis: Analysis, model: fitted.FittedModel, result: RunResult, now: datetime
) -> RunFacts:
    """What is needed to rebuild and trust the model."""
    known = result.test or model.estimate
    source = f"{known.n} test images" if result.test else model.estimate_source
    asked = places.recorded(analysis.options)
    return RunFacts(
        created=now.isoformat(timespec="microseconds"),
        strategy=model.strategy,
        classes=analysis.dataset.classes,
        backbone=analysis.facts,
        preprocess=preprocess(analysis, model.side_px),
        head=HeadFacts(model.taps, model.head.temperature),
        plan=result.recommendation.plan,
        seed=analysis.options.training.seed,
        command=asked.command,
        data_root=asked.root,
        data_fingerprint=files.fingerprint(analysis.splits.fitting),
        versions=begin.versions(),
        accuracy=known.accuracy,
        accuracy_source=source if result.stopped is None else f"{source}; stopped early",
        request=asked,
        backbone_choice=analysis.choice,
        parts=model.parts,
        shares=imbalance.facts(analysis, model.shift),
        doubt=doubt.facts(model),
        world_size=ranks.asked(),
    )
