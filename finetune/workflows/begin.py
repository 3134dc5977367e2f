"""What `train`, `recommend` and `compare` begin with."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np

from finetune import __version__
from finetune.analysis import analyze, axes, look, target_probes
from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes, fit_probes
from finetune.analysis.target_probes import TargetProbes
from finetune.backbones import prepared, ranks, registry, weights_input
from finetune.data import class_shares
from finetune.decision import choose_backbone, choose_start
from finetune.pictures import bands
from finetune.records import option_table
from finetune.records import options as options_of
from finetune.records.analysis import DatasetProfile
from finetune.records.backbone_choice import AUTO, OF_A_CHOICE, BackboneChoice
from finetune.records.choices import OtherLoss
from finetune.records.dataset import Dataset, Splits, Target
from finetune.records.errors import UsageError
from finetune.records.events import Listener
from finetune.records.options import Options
from finetune.runs import start


def check_options(options: Options) -> None:
    """Refuse what cannot be done before any image is read.

    Raises:
        UsageError: names the option and what to give instead.
        RunError: there is no run to start from.
        DataError: a file of class shares cannot be used.
    """
    options_of.check(options)
    if options.decision.prior not in ("train", "uniform"):
        class_shares.read(Path(options.decision.prior))
    bands.parsed(options.data.bands)
    asked = options.backbone
    _check_choice(options)
    prepared.require_device(asked.device)
    prepared.require_precision(options.training.overrides.get("precision"), asked.device)
    start.require(asked, options.decision.strategy)
    if start.as_start(asked.weights, asked.name) is None:
        registry.require(asked.weights)
    scratch = options.decision.strategy == "scratch"
    if scratch and asked.weights not in (None, registry.RANDOM):
        raise UsageError(
            f"--strategy scratch starts from random weights, not from {asked.weights}",
            hint="Leave out --weights, or choose another --strategy.",
        )
    name = registry.normed(asked.name, asked.norm)
    if name in registry.LENETS and not scratch and start.named(asked) is None:
        raise UsageError(
            f"{name} has no pretrained weights",
            hint="Use --strategy scratch, or --weights FILE with your own.",
        )
    side = options.training.overrides.get("side_px")
    weights_input.variant_of(asked, side)
    if side is not None and name not in (AUTO, *registry.BACKBONES):
        from finetune.backbones import networks  # noqa: PLC0415 - torch, which takes seconds

        networks.require_size(name, side)


def _check_choice(options: Options) -> None:
    """Refuse what does not go with a backbone that is chosen, or that is named."""
    asked = options.backbone
    if asked.name != AUTO:
        for name in OF_A_CHOICE:
            if getattr(asked, name) != option_table.DEFAULTS[name]:
                raise UsageError(
                    f"{option_table.flag(name)} is for a choice, and --backbone is {asked.name}",
                    hint=f"Leave it out, or give --backbone {AUTO}.",
                )
        return
    if asked.weights is not None:
        raise UsageError(
            f"--backbone {AUTO} chooses among pretrained weights, and --weights is {asked.weights}",
            hint="Leave out --weights, or name the backbone that these are of.",
        )
    if options.decision.strategy == "scratch":
        raise UsageError(
            f"--strategy scratch has no pretrained weights for --backbone {AUTO} to choose by",
            hint="Name a backbone, or choose another --strategy.",
        )


def _require_class_options(options: Options) -> None:
    """Refuse options that are of labels or numbers where one class is learned.

    Raises:
        UsageError: names the option.
    """
    asked = options.decision
    if asked.loss not in (None, "cross-entropy"):
        raise UsageError(
            f"--loss {asked.loss} is for --target labels or number, and the target is classes",
            hint="Leave it out, or give --target.",
        )
    if asked.metric in ("map", "rmse", "mae", "r2"):
        raise UsageError(
            f"--metric {asked.metric} is for --target labels or number, and the target is classes",
            hint="Use accuracy, balanced-accuracy, macro-f1 or log-loss.",
        )


def _loss_of(options: Options, target: Target) -> OtherLoss | None:
    """The loss that the user named for labels or numbers; None for the usual one.

    Raises:
        UsageError: it, or the metric, is of another target.
    """
    found = target_probes.loss_of(options.decision, target)
    aim, _ = target_probes.aimed(target, np.zeros((1, len(target.names))), found)
    aim.metric(options.decision.metric)
    return found


def target_probed(analysis: Analysis, clock: Clock, *, all_stages: bool) -> TargetProbes:
    """Probes of labels or numbers, by the loss that the user named or the usual one."""
    target = analysis.dataset.target
    assert target is not None
    loss = _loss_of(analysis.options, target)
    return target_probes.fit_probes(analysis, clock, loss, all_stages=all_stages)


def analyzed(
    options: Options,
    listener: Listener,
    clock: Clock,
    *,
    all_stages: bool,
    most: int | None = None,
    known: BackboneChoice | None = None,
) -> tuple[Analysis, Probes, DatasetProfile]:
    """Analyze the data: features, probes of each stage, size and similarity.

    Where the program is to choose the backbone, `known` is a choice that is taken over. Probes of
    labels and numbers are those of the strata by which images are divided.

    Raises:
        UsageError: an option is for another target.
    """
    seen, choice = look.look(options, listener, clock, kept=most is None), None
    target = seen.examined.dataset.target
    if target is None:
        _require_class_options(options)
    else:
        _loss_of(options, target)
    if options.backbone.name == AUTO:
        choice = ranks.of_one(
            lambda: known or choose_backbone.choose(seen, options, listener, clock)
        )
    elif options.backbone.start_from is not None:
        choice = ranks.of_one(lambda: known or choose_start.choose(seen, options, listener, clock))
    analysis = analyze.analyze(options, listener, clock, most, seen=seen, choice=choice)
    probes = fit_probes(analysis, clock, all_stages=all_stages)
    measured = axes.measure(analysis, probes, clock)
    return replace(analysis, findings=analysis.findings + axes.overlap(analysis)), probes, measured


def require_classes(dataset: Dataset, what: str) -> None:
    """Refuse what is made for classes where several labels or a number are learned.

    Raises:
        UsageError: names what it is.
    """
    if dataset.target is not None:
        raise UsageError(
            f"{what} is for classes, and here {dataset.target.kind} would be learned: "
            f"{dataset.target.reason}",
            hint="Give --target classes to take each different cell for a class.",
        )


def counts(splits: Splits) -> dict[str, int]:
    """How many images each part has."""
    return {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)}


def versions() -> dict[str, str]:
    """Of all that the numbers of a training depend on."""
    names = ("torch", "timm", "numpy", "pillow", "openvino")
    return {
        "python": platform.python_version(),
        "finetune": __version__,
        **{n: importlib.metadata.version(n) for n in names},
    }
