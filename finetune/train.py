"""The loop: one step after the other, evaluate, keep the best, stop when nothing improves."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from finetune import checkpoint, losses, probe, strategy
from finetune.augment import augment
from finetune.backbones import Backbone
from finetune.engine import autocast, front, half, keep_memory, memory_format, to_device
from finetune.errors import RunError, TrainingError, out_of_memory
from finetune.matrix import Some
from finetune.records import EpochRecord, FitProgress, Listener, Plan, Reason
from finetune.resume import Slot

# Training pictures are kept a little larger than the network's input, so that a random crop does
# not have to invent pixels.
CANVAS = 1.15
# How often a training that fell apart is begun anew, each time at a third of the rate.
RESTARTS = 2
# A head whose first loss is above this share of knowing nothing has nothing to fall from; fallen it
# has beyond three quarters of the way there (docs/log.md, 2026-11-24).
KNOWS, FALLEN = 0.97, 0.75
# Before so many steps a loss tells of its batch more than of the rate: the warm-up of a full plan.
TELLING_STEPS = 30
CLIP = 1.0  # gradient norm; guards the first steps on a head that does not fit yet


@dataclass(frozen=True)
class Split:
    """Pixels uint8[N,S,S,3] with labels int64[N]."""

    pixels: npt.NDArray[np.uint8] | Some
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tuned:
    """The outcome of `fit`; the head's temperature is 1: it is calibrated on held-out scores.

    `plan` is as it was carried out, at a smaller rate where that was needed. `stopped` is what
    ended it before its time; `scores` float64[M,C] are then those of the validation images in the
    epoch that was kept.
    """

    backbone: Backbone
    head: probe.Head
    history: tuple[EpochRecord, ...]
    plan: Plan
    stopped: BaseException | None = None
    scores: probe.Array | None = None


# What a slot holds of an earlier process: the tensors, and the facts beside them.
Kept = tuple[checkpoint.Arrays, FitProgress]


class _FellApartError(Exception):
    """The network forgets what it knew; another attempt is allowed."""


def canvas_px(side_px: int) -> int:
    """Side of the stored training pictures for a network input of `side_px`."""
    return math.ceil(side_px * CANVAS)


def fit(  # noqa: PLR0913 - the two splits and where to compute are as much part of it as the plan
    plan: Plan,
    backbone: Backbone,
    start: probe.Head | None,
    train: Split,
    val: Split | None,
    *,
    classes: int,
    device: torch.device,
    seed: int,
    listener: Listener,
    slot: Slot | None = None,
) -> Tuned:
    """Tune a copy of a backbone and its head.

    The backbone stays in eval mode, so BatchNorm statistics never move, in frozen and in tuned
    stages alike (`scratch` excepted, which has none to keep).

    Args:
        plan: Every hyper-parameter.
        backbone: The network to start from; it is not changed.
        start: The probe's head on top features to start from; None for `scratch`.
        train: Training pictures of `canvas_px` a side.
        val: Validation pictures of `plan.side_px` a side: the epoch with the least log loss on
            them is kept, and `plan.patience` epochs without a better one end the training. None
            trains all epochs and keeps the last, where the cosine schedule has come to rest.
        classes: Number of classes C.
        device: Where to compute.
        seed: Same seed, same numbers on a CPU.
        listener: Hears of progress.
        slot: Keeps each epoch, and may hold some already, from which this goes on to the same end.

    Raises:
        TrainingError: the loss is no number any more, the training fell apart at every rate, or a
            single image does not fit into memory; but with `val`, the best epoch before that is
            returned, as it is after Ctrl-C.
        RunError: the slot cannot be read or written.
    """
    found = None if slot is None else slot.read()
    slowed = 0 if found is None else found[1].slowed
    while True:
        torch.manual_seed(seed)
        planned = strategy.slower(plan, slowed)
        loop = _loop(planned, backbone, start, train, classes, device, seed=seed)
        loop.slowed = slowed
        try:
            return _attempt(loop, start, train, val, found, slot, listener)
        except _FellApartError as fault:
            slowed, found = slowed + 1, None
            listener.note(f"{fault}: once more from the start at a third of the rate")


def _attempt(
    loop: _Loop,
    start: probe.Head | None,
    train: Split,
    val: Split | None,
    found: Kept | None,
    slot: Slot | None,
    listener: Listener,
) -> Tuned:
    """Train at the loop's rate, from where an earlier process has left it."""
    plan, backbone, head = loop.plan, loop.backbone, loop.head
    best, history = _known(found, loop, listener)
    if not history and val is not None and start is not None:
        best.offer(0, _forward(loop, val.pixels), val.labels, loop)
    stopped = None
    try:
        for epoch in range(len(history) + 1, plan.epochs + 1):
            if val is not None and epoch - 1 - best.epoch >= plan.patience:
                listener.note(f"stopped: no better for {plan.patience} epochs")
                break
            began = time.perf_counter()
            loss = loop.epoch(epoch, train, listener)
            record = EpochRecord(epoch, loss, None, None, plan.lr * loop.factor, 0.0, best=False)
            if val is not None:
                record = _validated(record, best, loop, val)
            history.append(replace(record, seconds=time.perf_counter() - began))
            if start is not None:
                _require_whole(history, loop, train.labels)
            if slot is not None and (slot.due or epoch == plan.epochs):
                _keep(slot, loop, best, history, listener)
            listener.epoch(history[-1])
    except (KeyboardInterrupt, TrainingError) as fault:
        if best.scores is None:
            raise
        stopped = fault
    best.restore(loop)
    backbone.eval()
    weight = head.linear.weight.detach().cpu().double().numpy()
    bias = head.linear.bias.detach().cpu().double().numpy()
    scores = None if stopped is None else best.scores
    return Tuned(backbone, probe.Head(weight, bias, 1.0), tuple(history), plan, stopped, scores)


def _keep(
    slot: Slot, loop: _Loop, best: _Best, history: Sequence[EpochRecord], listener: Listener
) -> None:
    """Keep an epoch; where the last of the model that is wanted cannot be, that is there anyway."""
    try:
        slot.keep(*_kept(loop, best, history))
    except RunError as fault:
        if len(history) < loop.plan.epochs or not slot.final:
            raise
        listener.note(f"{fault.message}; going on, as all epochs are done")


def _require_whole(
    history: Sequence[EpochRecord], loop: _Loop, labels: npt.NDArray[np.int64]
) -> None:
    """Find out from the half of the epochs on whether the network still knows what it began with.

    With BatchNorm's statistics frozen nothing brings activations back that a rate too large has
    blown up: the loss then stays at that of knowing nothing, where it had begun at the probe's.

    Raises:
        _FellApartError: it is much nearer to knowing nothing than to where it began.
        TrainingError: the same, at the smallest rate that is tried.
    """
    plan, first, last = loop.plan, loop.began, history[-1].train_loss
    nothing = loop.ignorance(labels)
    early = 2 * len(history) < plan.epochs or loop.done < TELLING_STEPS
    if early or first > KNOWS * nothing or last <= first + FALLEN * (nothing - first):
        return
    text = (
        f"the training fell apart: in epoch {len(history)} its loss is {last:.2f}, {nothing:.2f} "
        f"is that of knowing nothing, and it began at {first:.2f}"
    )
    if loop.slowed < RESTARTS:
        raise _FellApartError(text)
    raise TrainingError(text, hint=f"Give a smaller rate than {plan.lr:g}: --lr {plan.lr / 10:g}.")


def seconds_per_step(
    plan: Plan, backbone: Backbone, classes: int, device: torch.device, steps: int = 2
) -> float:
    """Time a few training steps of a plan on noise, after one that is not counted.

    Nothing that is given is changed. On a GPU the clock waits for the work to be done, since each
    step reads its loss.
    """
    torch.manual_seed(0)
    side = canvas_px(plan.side_px)
    batch = np.random.default_rng(0).integers(
        0, 256, (plan.batch_size, side, side, 3), dtype=np.uint8
    )
    noise = Split(batch, np.arange(plan.batch_size, dtype=np.int64) % classes)
    loop = _loop(plan, backbone, None, noise, classes, device, seed=0)
    loop.train_mode()
    labels = torch.from_numpy(noise.labels)
    loop.step(batch, labels)
    took = []
    for _ in range(steps):
        began = time.perf_counter()
        loop.step(batch, labels)
        took.append(time.perf_counter() - began)
    return min(took)  # what else the machine does only adds to it


class _Head(nn.Module):
    """Dropout and a linear layer on float32[N,F]."""

    def __init__(self, linear: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = linear

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.linear(self.dropout(features))
        return out


def _loop(
    plan: Plan,
    backbone: Backbone,
    start: probe.Head | None,
    train: Split,
    classes: int,
    device: torch.device,
    *,
    seed: int,
) -> _Loop:
    """Everything that a step needs; a copy of the backbone has its parameters frozen as planned."""
    keep_memory()
    run, last, _ = frozen(plan, backbone, device, plan.side_px)
    backbone = copy.deepcopy(backbone)
    backbone.to(device, memory_format=memory_format(device))  # type: ignore[call-overload]
    head = _head(backbone, start, classes, plan, device)
    optimiser, base = _optimiser(plan, backbone, head)
    weight = losses.class_weights(train.labels, classes).to(device) if plan.class_weights else None
    criterion = losses.Loss(weight, plan.label_smoothing)
    # float16 has no room for small gradients
    scaler = torch.amp.GradScaler(device.type, enabled=half(device) == torch.float16)
    generator = torch.Generator().manual_seed(seed)
    parts = (optimiser, base, criterion, scaler, device, generator)
    return _Loop(plan, backbone, head, _features(backbone, run, last), *parts)


def _features(
    backbone: Backbone, run: Callable[[Tensor], Tensor] | None, stage: str
) -> Callable[[Tensor], Tensor]:
    """Normalised float32[B,3,S,S] → top features, by what `frozen` gave."""
    if run is None:
        return lambda x: backbone(x.contiguous(memory_format=memory_format(x.device)))
    rest = backbone.after(stage)
    return lambda x: rest(run(x))


def frozen(
    plan: Plan, backbone: Backbone, device: torch.device, side_px: int
) -> tuple[Callable[[Tensor], Tensor] | None, str, Reason | None]:
    """The frozen stages in the fast engine at a size, the last of them, and why; none on a GPU.

    The stem alone does not pay: it is a fiftieth of a step, and the copies cost as much.
    """
    stages = [stage for stage in backbone.stages if stage not in plan.tuned_stages]
    if device.type != "cpu" or len(stages) < 2:
        return None, "", None
    run, reason = front(backbone, stages[-1], side_px)
    return run, stages[-1], reason


@dataclass
class _Loop:
    """One epoch of steps; the schedule's position is `done`.

    A batch goes through the network in `parts`: more than one where memory is short. `features` is
    the backbone, wherever its frozen stages run.
    """

    plan: Plan
    backbone: Backbone
    head: _Head
    features: Callable[[Tensor], Tensor]
    optimiser: torch.optim.Optimizer
    base: list[float]
    criterion: losses.Loss
    scaler: torch.amp.GradScaler
    device: torch.device
    generator: torch.Generator
    done: int = 0
    factor: float = 0.0
    parts: int = 1
    slowed: int = 0
    began: float = 0.0

    def scores(self, x: Tensor) -> Tensor:
        """Normalised float32[B,3,S,S] → the head's float32[B,C]."""
        out: Tensor = self.head(self.features(x))
        return out

    def epoch(self, number: int, train: Split, listener: Listener) -> float:
        """Go once through the training pictures in random order; returns the mean loss."""
        self.train_mode()
        order = torch.randperm(len(train.labels), generator=self.generator).numpy()
        chunks = np.array_split(order, math.ceil(len(order) / self.plan.batch_size))
        total = len(chunks) * self.plan.epochs
        loss_sum = 0.0
        for chunk in chunks:
            self.factor = schedule(self.done, total, self.plan.warmup)
            parts = self.parts
            loss = self.step(train.pixels[chunk], torch.from_numpy(train.labels[chunk]))
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} at step {self.done + 1} of epoch {number}",
                    hint=f"Give a smaller rate than {self.plan.lr:g}: --lr {self.plan.lr / 10:g}.",
                )
            if self.parts > parts:
                size = math.ceil(len(chunk) / self.parts)
                listener.note(
                    f"out of memory: batches of {len(chunk)} go in parts of {size} from here, "
                    "whose gradients add up to the same update"
                )
            if self.done == 0:
                self.began = loss * self._as_set(train.labels, train.labels[chunk])
            loss_sum += loss * len(chunk)
            self.done += 1
            listener.progress(self.done, total)
        return loss_sum / len(order)

    def ignorance(self, labels: npt.NDArray[np.int64]) -> float:
        """The least mean loss of a model that answers every image with the same probabilities."""
        constant = self.criterion.blind(labels, self.head.linear.out_features)
        return self.criterion.of_constant(constant, labels)

    def _as_set(self, labels: npt.NDArray[np.int64], batch: npt.NDArray[np.int64]) -> float:
        """By what a batch's loss is multiplied to stand for the set's, rare classes as frequent.

        It is their ratio for a model that knows nothing: one where classes are even.
        """
        constant = self.criterion.blind(labels, self.head.linear.out_features)
        of_set, of_batch = (self.criterion.of_constant(constant, some) for some in (labels, batch))
        return of_set / of_batch

    def train_mode(self) -> None:
        """The backbone stays in eval mode, so that BatchNorm's statistics do not move."""
        self.backbone.train(self.plan.strategy == "scratch")
        self.head.train()

    def step(self, pixels: npt.NDArray[np.uint8], labels: Tensor) -> float:
        """One update on pictures uint8[B,S,S,3]; returns the loss."""
        for group, rate in zip(self.optimiser.param_groups, self.base, strict=True):
            group["lr"] = rate * self.factor
        images = to_device(pixels, self.device)
        x = augment(images, self.plan.augment, self.plan.side_px, self.generator)
        loss = self._gradients(self.backbone.normalise(x), labels.to(self.device))
        self.scaler.unscale_(self.optimiser)
        tuned = [p for g in self.optimiser.param_groups for p in g["params"]]
        nn.utils.clip_grad_norm_(tuned, CLIP)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return loss

    def _gradients(self, x: Tensor, labels: Tensor) -> float:
        """Gradients of a batch's loss, which is returned; in more parts where memory is short.

        Raises:
            TrainingError: not even one image fits.
        """
        while True:
            self.optimiser.zero_grad(set_to_none=True)
            try:
                return self._in_parts(x, labels)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self.parts >= len(labels):
                    raise TrainingError(
                        f"out of memory at a single image of {self.plan.side_px} px",
                        hint=f"Give a smaller --side-px than {self.plan.side_px}, or free memory.",
                    ) from error
            self.parts = min(2 * self.parts, len(labels))

    def _in_parts(self, x: Tensor, labels: Tensor) -> float:
        """Add up the gradients of the parts, each with its share in the mean of the batch."""
        total = 0.0
        for images, wanted in zip(*(t.tensor_split(self.parts) for t in (x, labels)), strict=True):
            with autocast(self.device):
                loss = self.criterion(self.scores(images), wanted) * (len(wanted) / len(labels))
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total


def schedule(done: int, total: int, warmup: float) -> float:
    """Rate factor in (0, 1]: linear warm-up, then a half cosine to zero."""
    ramp = max(1, round(total * warmup))
    if done < ramp:
        return (done + 1) / ramp
    return 0.5 * (1.0 + math.cos(math.pi * (done - ramp) / max(1, total - ramp)))


@dataclass
class _Best:
    """The best weights so far, by validation log loss; epoch 0 is the probe's own head."""

    epoch: int = 0
    loss: float = math.inf
    tensors: dict[str, Tensor] = field(default_factory=dict)
    scores: probe.Array | None = None

    def offer(
        self, epoch: int, scores: probe.Array, labels: npt.NDArray[np.int64], loop: _Loop
    ) -> tuple[float, bool]:
        """Keep a copy of all that training may change if the log loss is the least so far."""
        loss = probe.log_loss(scores, labels)
        if not loss < self.loss:
            return loss, False
        tensors = {name: tensor.clone() for name, tensor in _changing(loop).items()}
        self.epoch, self.loss, self.tensors, self.scores = epoch, loss, tensors, scores
        return loss, True

    def restore(self, loop: _Loop) -> None:
        """Put the best weights back; without any offer the last ones stay."""
        _put_back(self.tensors, loop)


def _changing(loop: _Loop) -> dict[str, Tensor]:
    """All that training may change, by name: no copies."""
    plan, backbone = loop.plan, loop.backbone
    ids = {id(p) for stage in plan.tuned_stages for p in backbone.stage_parameters(stage)}
    tensors = {f"net.{n}": p.detach() for n, p in backbone.net.named_parameters() if id(p) in ids}
    if plan.strategy == "scratch":
        tensors |= {f"net.{n}": b for n, b in backbone.net.named_buffers()}
    return tensors | {f"head.{n}": t for n, t in loop.head.state_dict().items()}


def _put_back(tensors: Mapping[str, Tensor], loop: _Loop) -> None:
    places = _changing(loop)
    for name, tensor in tensors.items():
        places[name].copy_(tensor)


def _kept(
    loop: _Loop, best: _Best, history: Sequence[EpochRecord]
) -> tuple[checkpoint.Arrays, FitProgress]:
    """All that the next epoch depends on."""
    groups = {"now": _changing(loop), "best": best.tensors}
    groups |= checkpoint.machinery(loop.optimiser, loop.generator)
    arrays = checkpoint.packed(groups)
    if best.scores is not None:
        arrays["scores"] = best.scores
    loss = best.loss if math.isfinite(best.loss) else None
    scaler = loop.scaler.state_dict()
    facts = (tuple(history), best.epoch, loss, loop.done, loop.parts, scaler)
    return arrays, FitProgress(*facts, slowed=loop.slowed, began=loop.began)


def _known(found: Kept | None, loop: _Loop, listener: Listener) -> tuple[_Best, list[EpochRecord]]:
    """What an earlier process has done: its last epoch is put into the loop."""
    if found is None:
        return _Best(), []
    arrays, facts = found
    scores = arrays.pop("scores", None)
    groups = checkpoint.unpacked(arrays)
    _put_back(groups["now"], loop)
    checkpoint.restore_machinery(groups, loop.optimiser, loop.generator)
    if facts.scaler:
        loop.scaler.load_state_dict(facts.scaler)
    loop.done, loop.parts, loop.began = facts.done, facts.parts, facts.began
    listener.note(f"going on after epoch {len(facts.history)} of {loop.plan.epochs}")
    loss = math.inf if facts.best_loss is None else facts.best_loss
    best = _Best(facts.best_epoch, loss, groups.get("best", {}), scores)
    return best, list(facts.history)


def _validated(record: EpochRecord, best: _Best, loop: _Loop, val: Split) -> EpochRecord:
    """The record with validation figures; the best weights are kept on the way."""
    scores = _forward(loop, val.pixels)
    accuracy = float((scores.argmax(axis=1) == val.labels).mean())
    loss, improved = best.offer(record.epoch, scores, val.labels, loop)
    return replace(record, val_loss=loss, val_accuracy=accuracy, best=improved)


def _forward(loop: _Loop, pixels: npt.NDArray[np.uint8] | Some) -> npt.NDArray[np.float64]:
    """Scores float64[N,C] of pictures as they are."""
    loop.backbone.eval()
    loop.head.eval()
    rows = []
    with torch.inference_mode(), autocast(loop.device):
        for start in range(0, len(pixels), 32):
            images = to_device(pixels[start : start + 32], loop.device)
            rows.append(loop.scores(loop.backbone.normalise(images)).float().cpu())
    scores: npt.NDArray[np.float64] = torch.cat(rows).double().numpy()
    return scores


def _head(
    backbone: Backbone, start: probe.Head | None, classes: int, plan: Plan, device: torch.device
) -> _Head:
    """The head at the probe's solution, or at random for `scratch`."""
    if start is None:
        side = plan.side_px
        blank = torch.zeros(1, side, side, 3, dtype=torch.uint8)
        with torch.inference_mode():
            width = backbone(backbone.normalise(to_device(blank.numpy(), device))).shape[1]
        linear = nn.Linear(width, classes)
    else:
        linear = nn.Linear(start.weight.shape[1], classes)
        with torch.no_grad():
            # calibrated scores: the softmax of the loss starts where the probe's ends
            linear.weight.copy_(torch.from_numpy(start.weight / start.temperature))
            linear.bias.copy_(torch.from_numpy(start.bias / start.temperature))
    return _Head(linear, plan.dropout).to(device)


def _optimiser(
    plan: Plan, backbone: Backbone, head: _Head
) -> tuple[torch.optim.Optimizer, list[float]]:
    """Freeze what the plan freezes; a group per stage, rates falling toward the stem."""
    for parameter in backbone.net.parameters():
        parameter.requires_grad_(False)
    groups = [{"params": list(head.parameters()), "lr": plan.head_lr}]
    for depth, stage in enumerate(reversed(plan.tuned_stages)):
        parameters = backbone.stage_parameters(stage)
        for parameter in parameters:
            parameter.requires_grad_(True)
        if parameters:
            groups.append({"params": parameters, "lr": plan.lr * plan.stage_decay**depth})
    # one kernel for all parameters: a twentieth of a step on a CPU (docs/log.md, 2026-11-25)
    fused = next(head.parameters()).device.type in ("cpu", "cuda")
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "sgd": lambda g: torch.optim.SGD(g, momentum=0.9, nesterov=True, fused=fused),
        "adam": lambda g: torch.optim.Adam(g, fused=fused),
        "adamw": lambda g: torch.optim.AdamW(g, fused=fused),
        "adadelta": torch.optim.Adadelta,
        "adagrad": torch.optim.Adagrad,
    }
    optimiser = kinds[plan.optimiser](groups)
    for group in optimiser.param_groups:
        group["weight_decay"] = plan.weight_decay
    return optimiser, [float(g["lr"]) for g in groups]  # type: ignore[arg-type]
