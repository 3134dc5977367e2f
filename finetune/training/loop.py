"""The loop: one step after the other, evaluate, keep the best, stop when nothing improves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from finetune.backbones import ranks
from finetune.backbones.engine import seeded
from finetune.backbones.stages import Backbone
from finetune.heads import ridge
from finetune.heads.aims import Aim
from finetune.records.decision import Plan
from finetune.records.errors import RunError, TrainingError
from finetune.records.events import Listener
from finetune.records.training import EpochRecord
from finetune.runs.fit_slot import Slot
from finetune.storage.arrays import Array
from finetune.training import memory, recipe, setup, state
from finetune.training.state import Best, Kept, Loop, Split

# How often a training that fell apart is begun anew, each time at a third of the rate.
RESTARTS = 2
# A head whose first loss is above this share of knowing nothing has nothing to fall from; fallen it
# has beyond three quarters of the way there (docs/log.md, 2026-11-24).
KNOWS, FALLEN = 0.97, 0.75
# Before so many steps a loss tells of its batch more than of the rate: the warm-up of a full plan.
TELLING_STEPS = 30


@dataclass(frozen=True)
class Tuned:
    """The outcome of `fit`; the head's temperature is 1: it is calibrated on held-out scores.

    `plan` is as it was carried out, at a smaller rate where that was needed. `stopped` is what
    ended it before its time; `scores` float64[M,C] are then those of the validation images in the
    epoch that was kept.
    """

    backbone: Backbone
    head: ridge.Head
    history: tuple[EpochRecord, ...]
    plan: Plan
    stopped: BaseException | None = None
    logits: Array | None = None


class _FellApartError(Exception):
    """The network forgets what it knew; another attempt is allowed."""


def fit(  # noqa: PLR0913 - the two splits and where to compute are as much part of it as the plan
    plan: Plan,
    backbone: Backbone,
    start: ridge.Head | None,
    train: Split,
    val: Split | None,
    *,
    classes: int,
    device: torch.device,
    seed: int,
    listener: Listener,
    slot: Slot | None = None,
    until: int | None = None,
    aim: Aim | None = None,
) -> Tuned:
    """Tune a copy of a backbone and its head.

    The backbone stays in eval mode, so BatchNorm statistics never move, in frozen and in tuned
    stages alike (`scratch` excepted, which has none to keep).

    Args:
        plan: Every hyper-parameter.
        backbone: The network to start from; it is not changed.
        start: The probe's head on top features to start from; None for `scratch`.
        train: Training pictures of `canvas_px` a side.
        val: Validation pictures of `plan.side_px` a side: the epoch with the least calibrated
            log loss on them is kept, and `plan.patience` epochs without a better one end the
            training. None trains all epochs and keeps the last, where the cosine has come to rest.
        classes: Number of classes C, or of outputs where there is an `aim`.
        device: Where to compute.
        seed: Same seed, same numbers on a CPU.
        listener: Hears of progress.
        slot: Keeps each epoch, and may hold some already, from which this goes on to the same end.
        until: The epoch after which to end, on the way of a schedule of `plan.epochs`.
        aim: What outputs are for; None where one class is learned.

    Raises:
        TrainingError: the loss is no number any more, the training diverged at every rate, or a
            single image does not fit into memory; but with `val`, the best epoch before that is
            returned, as it is after Ctrl-C.
        RunError: the slot cannot be read or written.
    """
    found = ranks.agreed(None if slot is None else slot.read())
    slowed = 0 if found is None else found[1].slowed
    while True:
        planned = recipe.slower(plan, slowed)
        try:
            with seeded(seed, device):
                made = (planned, backbone, start, train, classes, device)
                loop = setup.make_loop(*made, seed=seed, aim=aim)
                loop.slowed, loop.last = slowed, until or plan.epochs
                if loop.parts > 1:
                    listener.note(memory.told(planned, loop.parts))
                return _attempt(loop, start, train, val, found, slot, listener)
        except _FellApartError as fault:
            slowed, found = slowed + 1, None
            listener.note(f"{fault}: started again at a third of the learning rate")


def _attempt(
    loop: Loop,
    start: ridge.Head | None,
    train: Split,
    val: Split | None,
    found: Kept | None,
    slot: Slot | None,
    listener: Listener,
) -> Tuned:
    """Train at the loop's rate, from where an earlier process has left it."""
    plan, backbone, head = loop.plan, loop.backbone, loop.head
    best, history = state.known(found, loop, listener)
    if not history and val is not None and start is not None:
        best.offer(0, state.forward(loop, val.pixels), val, loop)
    stopped = None
    try:
        for epoch in range(len(history) + 1, loop.last + 1):
            if val is not None and epoch - 1 - best.epoch >= plan.patience:
                listener.detail(f"stopped early: no better for {plan.patience} epochs")
                break
            began = time.perf_counter()
            loss = loop.epoch(epoch, train, listener)
            record = EpochRecord(epoch, loss, None, None, plan.lr * loop.factor, 0.0, best=False)
            if val is not None:
                record = state.validated(record, best, loop, val)
            history.append(replace(record, seconds=time.perf_counter() - began))
            if start is not None:
                _require_whole(history, loop, train)
            if slot is not None and ranks.rank() == 0 and (slot.due or epoch == loop.last):
                _keep(slot, loop, best, history, listener)
            listener.epoch(history[-1])
    except (KeyboardInterrupt, TrainingError) as fault:
        ranks.left()
        if best.logits is None:
            raise
        stopped = fault
    best.restore(loop)
    backbone.eval()
    weight = head.linear.weight.detach().cpu().double().numpy()
    bias = head.linear.bias.detach().cpu().double().numpy()
    logits = None if stopped is None else best.logits
    return Tuned(backbone, ridge.Head(weight, bias, 1.0), tuple(history), plan, stopped, logits)


def _keep(
    slot: Slot, loop: Loop, best: Best, history: Sequence[EpochRecord], listener: Listener
) -> None:
    """Keep an epoch; where the last of the model that is wanted cannot be, that is there anyway."""
    try:
        slot.keep(*state.kept(loop, best, history))
    except RunError as fault:
        if len(history) < loop.last or not slot.final:
            raise
        listener.note(f"{fault.message}; going on, as all epochs are done")


def _require_whole(history: Sequence[EpochRecord], loop: Loop, train: Split) -> None:
    """Find out whether the network still knows anything; by its loss from half of the epochs on.

    With BatchNorm's statistics frozen nothing brings activations back that a rate too large has
    blown up: the loss then stays at that of knowing nothing, where it had begun at the probe's. And
    where it had begun at no less, every image has the same features in the end: no loss tells that
    from labels that cannot be learnt.

    Raises:
        _FellApartError: it is much nearer to knowing nothing than to where it began, or all images
            have the same features.
        TrainingError: the same, at the smallest rate that is tried.
    """
    plan, first, last = loop.plan, loop.began, history[-1].train_loss
    nothing = loop.ignorance(train)
    # one that ends before half of its schedule, as a second training may, is judged at its end:
    # unjudged, a network that had come to know nothing was returned (docs/log.md, 2026-11-26)
    half = min(plan.epochs / 2, loop.last)
    fallen = first <= KNOWS * nothing and last > first + FALLEN * (nothing - first)
    # dead activations have no gradient and never come back: there is nothing to wait for
    lost = not loop.differs or (fallen and len(history) >= half)
    if loop.done < TELLING_STEPS or not lost:
        return
    what = f"its loss is {last:.2f}, {nothing:.2f} is chance level, and it began at {first:.2f}"
    if not loop.differs:
        what = "the network has the same features for every image"
    text = f"the training diverged: in epoch {len(history)} {what}"
    if loop.slowed < RESTARTS:
        raise _FellApartError(text)
    raise TrainingError(
        text, hint=f"Give a smaller learning rate than {plan.lr:g}: --lr {plan.lr / 10:g}."
    )
