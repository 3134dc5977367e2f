"""The loop: one step after the other, evaluate, keep the best, stop when nothing improves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from finetune import batches, probe
from finetune.backbones import Backbone
from finetune.engine import autocast, to_device
from finetune.errors import TrainingError
from finetune.records import EpochRecord, Plan

# Training pictures are kept a little larger than the network's input, so that a random crop does
# not have to invent pixels.
CANVAS = 1.15
CLIP = 1.0  # gradient norm; guards the first steps on a head that does not fit yet


class Listener(Protocol):
    """What the outside hears of a run."""

    def step(self, name: str) -> None:
        """A step of the story begins."""

    def progress(self, done: int, total: int) -> None:
        """How far the current step is."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch has ended."""

    def note(self, text: str) -> None:
        """Something a person should know."""


@dataclass(frozen=True)
class Split:
    """Pixels uint8[N,S,S,3] with labels int64[N]."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tuned:
    """The outcome of `fit`: the head, held-out scores float64[N,C], and the history."""

    head: probe.Head
    val_scores: npt.NDArray[np.float64]
    history: tuple[EpochRecord, ...]


def canvas_px(side_px: int) -> int:
    """Side of the stored training pictures for a network input of `side_px`."""
    return math.ceil(side_px * CANVAS)


def fit(  # noqa: PLR0913 - the two splits and where to compute are as much part of it as the plan
    plan: Plan,
    backbone: Backbone,
    start: probe.Head | None,
    train: Split,
    val: Split,
    *,
    classes: int,
    device: torch.device,
    seed: int,
    listener: Listener,
) -> Tuned:
    """Tune a backbone and its head; the backbone is changed in place and left at its best.

    The backbone stays in eval mode, so BatchNorm statistics never move, in frozen and in tuned
    stages alike (`scratch` excepted, which has none to keep).

    Args:
        plan: Every hyper-parameter.
        backbone: Network whose `plan.tuned_stages` are to be tuned.
        start: The probe's head on top features to start from; None for `scratch`.
        train: Training pictures of `canvas_px` a side.
        val: Validation pictures of `plan.side_px` a side.
        classes: Number of classes C.
        device: Where to compute.
        seed: Same seed, same numbers on a CPU.
        listener: Hears of progress.

    Raises:
        TrainingError: the loss is no number any more.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    head = _head(backbone, start, classes, plan, device)
    backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser, base = _optimiser(plan, backbone, head)
    criterion = nn.CrossEntropyLoss(
        weight=_class_weights(train.labels, classes).to(device) if plan.class_weights else None,
        label_smoothing=plan.label_smoothing,
    )
    scaler = torch.amp.GradScaler(device.type, enabled=_needs_scaling(device))
    loop = _Loop(plan, backbone, head, optimiser, base, criterion, scaler, device, generator)
    history: list[EpochRecord] = []
    best = _snapshot(backbone, head, plan)
    best_loss, best_scores = _validate(loop, val)
    for epoch in range(1, plan.epochs + 1):
        began = time.perf_counter()
        train_loss = loop.epoch(epoch, train, listener)
        val_loss, scores = _validate(loop, val)
        improved = val_loss < best_loss
        if improved:
            best, best_loss, best_scores = _snapshot(backbone, head, plan), val_loss, scores
        record = EpochRecord(
            epoch=epoch,
            train_loss=train_loss,
            val_loss=val_loss,
            val_accuracy=float((scores.argmax(axis=1) == val.labels).mean()),
            lr=plan.lr * loop.factor,
            seconds=time.perf_counter() - began,
            best=improved,
        )
        history.append(record)
        listener.epoch(record)
        if epoch - max((r.epoch for r in history if r.best), default=0) >= plan.patience:
            listener.note(f"stopped: no better for {plan.patience} epochs")
            break
    _restore(backbone, head, best)
    temperature = probe.fit_temperature(best_scores, val.labels)
    weight, bias = head.linear.weight.detach().cpu().double(), head.linear.bias.detach().cpu()
    final = probe.Head(weight.numpy(), bias.double().numpy(), temperature)
    return Tuned(final, best_scores, tuple(history))


class _Head(nn.Module):
    """Dropout and a linear layer on float32[N,F]."""

    def __init__(self, linear: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = linear

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.linear(self.dropout(features))
        return out


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
        self.backbone.train(self.plan.strategy == "scratch")
        self.head.train()
        order = torch.randperm(len(train.labels), generator=self.generator).numpy()
        chunks = np.array_split(order, math.ceil(len(order) / self.plan.batch_size))
        total = len(chunks) * self.plan.epochs
        loss_sum = 0.0
        for chunk in chunks:
            self.factor = schedule(self.done, total, self.plan.warmup)
            loss = self._step(train.pixels[chunk], torch.from_numpy(train.labels[chunk]))
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} at step {self.done + 1} of epoch {number}",
                    hint=f"Give a smaller rate than {self.plan.lr:g}: --lr {self.plan.lr / 10:g}.",
                )
            loss_sum += loss * len(chunk)
            self.done += 1
            listener.progress(self.done, total)
        return loss_sum / len(order)

    def _step(self, pixels: npt.NDArray[np.uint8], labels: Tensor) -> float:
        for group, rate in zip(self.optimiser.param_groups, self.base, strict=True):
            group["lr"] = rate * self.factor
        images = to_device(pixels, self.device)
        x = batches.augment(images, self.plan.augment, self.plan.side_px, self.generator)
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


def _validate(loop: _Loop, val: Split) -> tuple[float, npt.NDArray[np.float64]]:
    """Log loss and scores float64[N,C] on pictures that are not augmented."""
    loop.backbone.eval()
    loop.head.eval()
    rows = []
    with torch.inference_mode(), autocast(loop.device):
        for start in range(0, len(val.labels), 32):
            images = to_device(val.pixels[start : start + 32], loop.device)
            x = loop.backbone.normalise(images).contiguous(memory_format=torch.channels_last)
            rows.append(loop.head(loop.backbone(x)).float().cpu())
    scores = torch.cat(rows).double().numpy()
    return probe.log_loss(scores, val.labels), scores


def _head(
    backbone: Backbone, start: probe.Head | None, classes: int, plan: Plan, device: torch.device
) -> _Head:
    """The head at the probe's solution, or at random for `scratch`."""
    if start is None:
        side = plan.side_px
        with torch.inference_mode():
            width = backbone(backbone.normalise(torch.zeros(1, 3, side, side))).shape[1]
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


def _snapshot(backbone: Backbone, head: _Head, plan: Plan) -> dict[str, Tensor]:
    """Copies of all that training may change."""
    changing = {id(p) for stage in plan.tuned_stages for p in backbone.stage_parameters(stage)}
    keep = {
        f"net.{name}": tensor.detach().clone()
        for name, tensor in backbone.net.named_parameters()
        if id(tensor) in changing
    }
    if plan.strategy == "scratch":
        keep |= {f"net.{n}": b.detach().clone() for n, b in backbone.net.named_buffers()}
    return keep | {f"head.{n}": t.detach().clone() for n, t in head.state_dict().items()}


def _restore(backbone: Backbone, head: _Head, best: dict[str, Tensor]) -> None:
    net = {n.removeprefix("net."): t for n, t in best.items() if n.startswith("net.")}
    backbone.net.load_state_dict(net, strict=False)
    head.load_state_dict(
        {n.removeprefix("head."): t for n, t in best.items() if n.startswith("head.")}
    )
    backbone.eval()
