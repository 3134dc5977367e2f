"""Time a few steps of tuning, and count how many there will be."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from finetune.analysis.analyze import Analysis
from finetune.decision import trials
from finetune.records.decision import Plan
from finetune.training import setup

TRIALS = 1.26  # on average: the second is run where the first leaves it open (docs/log.md)
PROOF = 0.75  # of the steps: between one half of the images and both (docs/log.md, half a proof)
FORWARD_SHARE = 0.3  # of a training step: forward, without backward and update (docs/log.md)


def seconds(analysis: Analysis, plan: Plan) -> tuple[float, str]:
    """Seconds of decoding, of every step, and of judging; and how they were found."""
    images = analysis.images
    split = trials.judged_on_split(analysis, plan.strategy)
    learning = len(analysis.splits.train) if split else images
    device, classes = torch.device(analysis.body.device), len(analysis.dataset.classes)
    steps = math.ceil(learning / plan.batch_size)
    batch = math.ceil(learning / steps)  # the loop cuts an epoch evenly
    timed = replace(plan, batch_size=batch)
    step = setup.seconds_per_step(timed, analysis.body.network, classes, device)
    full = plan.epochs * steps
    again = 0.0 if split else PROOF * full  # on few images, once more on halves, to be judged
    asked = analysis.options.decision
    if asked.strategy == "auto" and asked.policy == "measured":
        half, judges = trials.sizes(plan, images)
        tried = trials.short(analysis, plan, half)
        times = TRIALS if judges == images // 2 else 1.0
        again = times * tried.epochs * math.ceil(half / plan.batch_size)
        again *= (tried.side_px / plan.side_px) ** 2
    # `refit`: as many epochs once more, of all images
    final = full * images / learning if split and plan.refit else 0.0
    judging = images / plan.batch_size * FORWARD_SHARE
    total = step * (full + again + final + judging) + images * analysis.seconds_per_image
    text = f"{full} steps of {batch} images at {plan.side_px} px, {step:.2f} s each "
    text += f"(two timed), and {again:.0f} more to prove it"
    return total, text + (f", {final:.0f} to train on all images" if final else "")
