"""The plan of a strategy on analyzed data."""

from __future__ import annotations

from finetune.analysis.analyze import Analysis
from finetune.analysis.probes import Probes
from finetune.backbones.inference import TOP
from finetune.records.analysis import DatasetProfile
from finetune.records.choices import TUNED, Strategy
from finetune.records.decision import Plan
from finetune.training import recipe


def plan_for(
    analysis: Analysis,
    measured: DatasetProfile,
    probes: Probes,
    wanted: Strategy,
    most_side_px: int | None = None,
    *,
    refit: bool = True,
) -> Plan:
    """Every hyper-parameter of a strategy on this data.

    Args:
        analysis: The data.
        measured: Its size and similarity.
        probes: Those of a probe strategy know their features.
        wanted: The strategy.
        most_side_px: The resolution that the budget allows.
        refit: Whether it allows to train on the validation images in the end.
    """
    counts = analysis.class_counts
    overrides = analysis.options.training.overrides
    upright = None
    # measured where it counts: tuning starts from a network that knows up from down
    if wanted in ("partial", "deep") and "vflip" not in overrides and not measured.symbols:
        upright = analysis.upright
    facts = recipe.Facts(
        images=analysis.images,
        similarity=analysis.options.decision.similarity or measured.similarity.column,
        stages=analysis.facts.stages,
        side_px=analysis.facts.preprocess.side_px,
        fixed_side=analysis.body.facts.one_size,
        family=analysis.facts.family or "batchnorm-convnet",
        median_side_px=measured.median_side_px,
        most_side_px=most_side_px,
        symbols=measured.symbols,
        symbols_reason=measured.symbols_reason,
        upright=upright,
        rarest=int(counts.min()),
        commonest=int(counts.max()),
        classes=len(analysis.dataset.classes),
        validation=len(analysis.splits.val),
        refit=refit,
        precision=_precision(analysis, wanted),
    )
    taps = (TOP,) if wanted in TUNED else probes.of(wanted).score.taps
    return recipe.resolve(wanted, facts, overrides, taps)


def _precision(analysis: Analysis, wanted: Strategy) -> tuple[str, str]:
    """What tuning computes in on this device, and why."""
    if wanted not in TUNED:
        return "auto", "not used"
    import torch  # noqa: PLC0415 - seconds, and only tuning needs it

    from finetune.backbones import precision  # noqa: PLC0415

    return precision.resolved("auto", torch.device(analysis.body.device))
