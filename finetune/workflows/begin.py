"""What `train`, `recommend` and `compare` begin with."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import replace

from finetune import __version__
from finetune.analysis import analyze, axes
from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes, fit_probes
from finetune.backbones import prepared, registry
from finetune.records import options as options_of
from finetune.records.analysis import DatasetProfile
from finetune.records.dataset import Splits
from finetune.records.errors import UsageError
from finetune.records.events import Listener
from finetune.records.options import Options
from finetune.runs import start


def check_options(options: Options) -> None:
    """Refuse what cannot be done before any image is read.

    Raises:
        UsageError: names the option and what to give instead.
    """
    options_of.check(options)
    asked = options.backbone
    prepared.require_device(asked.device)
    if start.as_start(asked.weights, asked.name) is None:
        registry.require(asked.weights)
    scratch = options.decision.strategy == "scratch"
    if scratch and asked.weights not in (None, registry.RANDOM):
        raise UsageError(
            f"--strategy scratch starts from random weights, not from {asked.weights}",
            hint="Leave out --weights, or choose another --strategy.",
        )
    if asked.name == "lenet5" and not scratch and asked.weights is None:
        raise UsageError(
            "lenet5 has no pretrained weights",
            hint="Use --strategy scratch, or --weights FILE with your own.",
        )


def analyzed(
    options: Options,
    listener: Listener,
    clock: Clock,
    *,
    all_stages: bool,
    most: int | None = None,
) -> tuple[Analysis, Probes, DatasetProfile]:
    """Analyze the data: features, probes of each stage, size and similarity."""
    analysis = analyze.analyze(options, listener, clock, most)
    probes = fit_probes(analysis, clock, all_stages=all_stages)
    measured = axes.measure(analysis, probes, clock)
    return replace(analysis, findings=analysis.findings + axes.overlap(analysis)), probes, measured


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
