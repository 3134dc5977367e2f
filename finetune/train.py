"""The loop: one step after the other, evaluate, keep the best, stop when nothing improves."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from finetune import probe
from finetune.augment import augment
from finetune.backbones import Backbone
from finetune.engine import autocast, to_device
from finetune.errors import TrainingError
from finetune.records import EpochRecord, Listener, Plan

# Training pictures are kept a little larger than the network's input, so that a random crop does
# not have to invent pixels.
CANVAS = 1.15
CLIP = 1.0  # gradient norm; guards the first steps on a head that does not fit yet


@dataclass(frozen=True)
class Split:
    """Pixels uint8[N,S,S,3] with labels int64[N]."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tuned:
    """The outcome of `fit`; the head's temperature is 1: it is calibrated on held-out scores."""

    backbone: Backbone
    head: probe.Head
    history: tuple[EpochRecord, ...]


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

    Raises:
        TrainingError: the loss is no number any more.
    """
    torch.manual_seed(seed)
    loop = _loop(plan, copy.deepcopy(backbone), start, train, classes, device, seed=seed)
    backbone, head = loop.backbone, loop.head
    history: list[EpochRecord] = []
    best = _Best()
    if val is not None and start is not None:
        best.offer(0, _val_loss(backbone, head, val, device), backbone, head, plan)
    for epoch in range(1, plan.epochs + 1):
        began = time.perf_counter()
        loss = loop.epoch(epoch, train, listener)
        record = EpochRecord(epoch, loss, None, None, plan.lr * loop.factor, 0.0, best=False)
        if val is not None:
            record = _validated(record, best, backbone, head, val, device, plan)
        record = replace(record, seconds=time.perf_counter() - began)
        history.append(record)
        listener.epoch(record)
        if val is not None and epoch - best.epoch >= plan.patience:
            listener.note(f"stopped: no better for {plan.patience} epochs")
            break
    best.restore(backbone, head)
    backbone.eval()
    weight = head.linear.weight.detach().cpu().double().numpy()
    bias = head.linear.bias.detach().cpu().double().numpy()
    return Tuned(backbone, probe.Head(weight, bias, 1.0), tuple(history))


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
    loop = _loop(plan, copy.deepcopy(backbone), None, noise, classes, device, seed=0)
    loop.train_mode()
    labels = torch.from_numpy(noise.labels)
    loop.step(noise.pixels, labels)
    took = []
    for _ in range(steps):
        began = time.perf_counter()
        loop.step(noise.pixels, labels)
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
    """Everything that a step needs; the backbone's parameters are frozen as planned."""
    backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    head = _head(backbone, start, classes, plan, device)
    optimiser, base = _optimiser(plan, backbone, head)
    criterion = nn.CrossEntropyLoss(
        weight=_class_weights(train.labels, classes).to(device) if plan.class_weights else None,
        label_smoothing=plan.label_smoothing,
    )
    scaler = torch.amp.GradScaler(device.type, enabled=_needs_scaling(device))
    generator = torch.Generator().manual_seed(seed)
    return _Loop(plan, backbone, head, optimiser, base, criterion, scaler, device, generator)


@dataclass
class _Loop:
    """One epoch of steps; the schedule's position is `done`."""

    plan: Plan
    backbone: Backbone
    head: _Head
    optimiser: torch.optim.Optimizer
    base: list[float]
    criterion: nn.CrossEntropyLoss
    scaler: torch.amp.GradScaler
    device: torch.device
    generator: torch.Generator
    done: int = 0
    factor: float = 0.0

    def epoch(self, number: int, train: Split, listener: Listener) -> float:
        """Go once through the training pictures in random order; returns the mean loss."""
        self.train_mode()
        order = torch.randperm(len(train.labels), generator=self.generator).numpy()
        chunks = np.array_split(order, math.ceil(len(order) / self.plan.batch_size))
        total = len(chunks) * self.plan.epochs
        loss_sum = 0.0
        for chunk in chunks:
            self.factor = schedule(self.done, total, self.plan.warmup)
            loss = self.step(train.pixels[chunk], torch.from_numpy(train.labels[chunk]))
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} at step {self.done + 1} of epoch {number}",
                    hint=f"Give a smaller rate than {self.plan.lr:g}: --lr {self.plan.lr / 10:g}.",
                )
            loss_sum += loss * len(chunk)
            self.done += 1
            listener.progress(self.done, total)
        return loss_sum / len(order)

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
        x = self.backbone.normalise(x).contiguous(memory_format=torch.channels_last)
        with autocast(self.device):
            loss = self.criterion(self.head(self.backbone(x)), labels.to(self.device))
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        tuned = [p for g in self.optimiser.param_groups for p in g["params"]]
        nn.utils.clip_grad_norm_(tuned, CLIP)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return float(loss.detach())


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

    def offer(self, epoch: int, loss: float, backbone: Backbone, head: _Head, plan: Plan) -> bool:
        """Keep a copy of all that training may change if the loss is the least so far."""
        if not loss < self.loss:
            return False
        self.epoch, self.loss = epoch, loss
        changing = {id(p) for stage in plan.tuned_stages for p in backbone.stage_parameters(stage)}
        named = [*backbone.net.named_parameters()]
        keep = {f"net.{n}": p.detach().clone() for n, p in named if id(p) in changing}
        if plan.strategy == "scratch":
            keep |= {f"net.{n}": b.detach().clone() for n, b in backbone.net.named_buffers()}
        self.tensors = keep | {f"head.{n}": t.clone() for n, t in head.state_dict().items()}
        return True

    def restore(self, backbone: Backbone, head: _Head) -> None:
        """Put the best weights back; without any offer the last ones stay."""
        for module, prefix in ((backbone.net, "net."), (head, "head.")):
            own = {
                n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)
            }
            module.load_state_dict(own, strict=False)


def _validated(
    record: EpochRecord,
    best: _Best,
    backbone: Backbone,
    head: _Head,
    val: Split,
    device: torch.device,
    plan: Plan,
) -> EpochRecord:
    """The record with validation figures; the best weights are kept on the way."""
    scores = _forward(backbone, head, val.pixels, device)
    loss = probe.log_loss(scores, val.labels)
    accuracy = float((scores.argmax(axis=1) == val.labels).mean())
    improved = best.offer(record.epoch, loss, backbone, head, plan)
    return replace(record, val_loss=loss, val_accuracy=accuracy, best=improved)


def _val_loss(backbone: Backbone, head: _Head, val: Split, device: torch.device) -> float:
    return probe.log_loss(_forward(backbone, head, val.pixels, device), val.labels)


def _forward(
    backbone: Backbone, head: _Head, pixels: npt.NDArray[np.uint8], device: torch.device
) -> npt.NDArray[np.float64]:
    """Scores float64[N,C] of pictures as they are."""
    backbone.eval()
    head.eval()
    rows = []
    with torch.inference_mode(), autocast(device):
        for start in range(0, len(pixels), 32):
            images = to_device(pixels[start : start + 32], device)
            x = backbone.normalise(images).contiguous(memory_format=torch.channels_last)
            rows.append(head(backbone(x)).float().cpu())
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
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "sgd": lambda g: torch.optim.SGD(g, momentum=0.9, nesterov=True),
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adadelta": torch.optim.Adadelta,
        "adagrad": torch.optim.Adagrad,
    }
    optimiser = kinds[plan.optimiser](groups)
    for group in optimiser.param_groups:
        group["weight_decay"] = plan.weight_decay
    return optimiser, [float(g["lr"]) for g in groups]  # type: ignore[arg-type]


def _class_weights(labels: npt.NDArray[np.int64], classes: int) -> Tensor:
    """1/sqrt of each class's count, mean one over the images: between none and full balance."""
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    weights = 1.0 / np.sqrt(counts)
    scale = counts.sum() / (weights * counts).sum()
    return torch.from_numpy(weights * scale).float()


def _needs_scaling(device: torch.device) -> bool:
    return device.type == "cuda" and not torch.cuda.is_bf16_supported()
