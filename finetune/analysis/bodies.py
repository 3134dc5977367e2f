"""The backbone that was asked for, ready to run, with what is assumed of its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finetune.analysis.clock import Clock
from finetune.backbones import prepared, registry, weights_input
from finetune.backbones.prepared import Prepared
from finetune.records.backbone_choice import BackboneChoice
from finetune.records.dataset import Scale
from finetune.records.events import Listener
from finetune.records.options import Options
from finetune.runs import start


def prepare(
    options: Options,
    paths: Sequence[Path],
    scales: Sequence[Scale],
    listener: Listener,
    clock: Clock,
    choice: BackboneChoice | None = None,
) -> Prepared:
    """Get the backbone ready: for `scratch` untrained, and of the image size that was named.

    Args:
        options: What the user wants.
        paths: Images on which runtimes must agree.
        scales: How they are decoded.
        listener: Hears of the device, and of what is assumed of a file of weights.
        clock: Times the step.
        choice: The network that `--backbone auto` chose.

    Raises:
        UsageError: the image size that was named does not go with that.
    """
    wanted, side = options.backbone, options.training.overrides.get("side_px")
    if choice is not None:
        wanted = replace(wanted, name=choice.name, weights=choice.weights)
        if side is not None and wanted.name not in registry.BACKBONES:
            from finetune.backbones import networks  # noqa: PLC0415 - torch, which takes seconds

            networks.require_size(wanted.name, side)
    if options.decision.strategy == "scratch":
        wanted = replace(wanted, weights=registry.RANDOM)
    wanted = replace(wanted, name=registry.normed(wanted.name, wanted.norm))
    with clock.step("backbone", f"loading {wanted.name}"):
        body = prepared.prepare(
            wanted,
            seed=options.training.seed,
            paths=paths,
            listener=listener,
            scales=scales,
            origin=start.as_start(wanted.weights, wanted.name),
            variant=weights_input.variant_of(wanted, side),
        )
        if said := weights_input.told(wanted, body.facts.backbone):
            listener.note(said)
    return body
