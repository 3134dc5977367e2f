"""The story of `check`: every check, nothing learnt but, where asked for, whether labels fit."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from finetune.analysis import analyze, label_issues, look
from finetune.analysis.clock import Clock
from finetune.analysis.probes import fit_probes
from finetune.data import examination, scales
from finetune.data.examination import Examination
from finetune.decision import choose_backbone
from finetune.records import options as options_of
from finetune.records.answers import Health
from finetune.records.backbone_choice import AUTO
from finetune.records.dataset import Splits
from finetune.records.errors import safe_name
from finetune.records.events import Listener
from finetune.records.labels import LabelIssues
from finetune.records.options import Options
from finetune.workflows import begin


def run_check(options: Options, listener: Listener, *, labels: bool = False) -> Health:
    """`finetune check DIR`: every check, a ready-made test included; torch-free without labels.

    Args:
        options: The folder, and the network that looks at labels.
        listener: Hears of progress.
        labels: Whether to look for labels that look wrong, too.
    """
    options_of.check(options)
    if labels:
        begin.check_options(options)
    began = time.perf_counter()
    listener.step(f"reading and checking {options.data.root}")
    found = examination.examine(
        options.data, options.training.seed, listener.progress, with_test=True
    )
    splits = found.splits
    if labels:
        begin.require_classes(found.dataset, "--labels")
    issues = _judged(options, found, listener) if labels else None
    return Health(
        data=safe_name(options.data.root),
        classes=found.dataset.classes if found.dataset.target is None else (),
        layout=found.dataset.layout,
        counts={"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)},
        checks=found.checks,
        seconds=time.perf_counter() - began,
        labels=issues,
        target=found.dataset.target,
    )


def _judged(options: Options, found: Examination, listener: Listener) -> LabelIssues:
    """The labels that look wrong among all images: nothing is measured here, so none is kept out.

    Raises:
        DataError: a class without an image that can be read.
    """
    clock = Clock(listener)
    splits = found.splits
    every = Splits(train=splits.fitting + splits.test, val=(), test=())
    scaled = scales.decide(Path(options.data.root), every.train, found.looked.glances)
    seen = look.Seen(examined=replace(found, splits=every), scaled=scaled)
    choice = None
    if options.backbone.name == AUTO:
        choice = choose_backbone.choose(seen, options, listener, clock)
    analysis = analyze.analyze(options, listener, clock, seen=seen, choice=choice)
    probes = fit_probes(analysis, clock, all_stages=True)
    with clock.step("labels", "looking for labels that look wrong"):
        return label_issues.find(analysis, probes.best)
