"""A training's state: the loop of one epoch, and the best weights so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from finetune.backbones import ranks
from finetune.backbones.engine import to_device
from finetune.backbones.precision import autocast
from finetune.backbones.stages import Backbone
from finetune.records.decision import Plan
from finetune.records.errors import TrainingError, out_of_memory
from finetune.records.events import Listener
from finetune.records.training import EpochRecord, FitProgress
from finetune.storage.arrays import Array, Some
from finetune.training import checkpoint, losses, prefetch
from finetune.training.augment import augment

# Features of two images whose largest difference is below this share of the largest feature are the
# same: a network whose activations have died gives every image the same to the last bits.
SAME = 1e-4
CLIP = 1.0  # gradient norm; guards the first steps on a head that does not fit yet


@dataclass(frozen=True)
class Split:
    """Pixels uint8[N,S,S,3] with labels int64[N], or what outputs are to be, float32[N,K].

    Where classes will have other shares, or count otherwise: `shift` float64[C] is added to
    calibrated scores, and images count by `weights` float64[N]. `counts` float64[N] is how much
    each counts in the loss of training; None where all count the same.
    """

    pixels: npt.NDArray[np.uint8] | Some | prefetch.Ahead
    labels: npt.NDArray[Any]
    shift: Array | None = None
    weights: Array | None = None
    counts: Array | None = None


# What a slot holds of an earlier process: the tensors, and the facts beside them.
Kept = tuple[checkpoint.Arrays, FitProgress]


class Head(nn.Module):
    """Dropout and a linear layer on float32[N,F]."""

    def __init__(self, linear: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = linear

    def forward(self, features: Tensor) -> Tensor:
        """float32[N,F] to logits float32[N,C]."""
        out: Tensor = self.linear(self.dropout(features))
        return out


@dataclass
class Loop:
    """One epoch of steps; the schedule's position is `done`.

    A batch goes through the network in `parts`: more than one where memory is short. `features` is
    the backbone, wherever its frozen stages run; `last` the epoch after which the training ends;
    `differs` whether the images of the last batch had different features.
    """

    plan: Plan
    backbone: Backbone
    head: Head
    features: Callable[[Tensor], Tensor]
    optimiser: torch.optim.Optimizer
    base: list[float]
    criterion: losses.Criterion
    scaler: torch.amp.GradScaler
    device: torch.device
    generator: torch.Generator
    done: int = 0
    factor: float = 0.0
    parts: int = 1
    slowed: int = 0
    began: float = 0.0
    last: int = 0
    differs: bool = True

    def logits(self, x: Tensor) -> Tensor:
        """Normalised float32[B,3,S,S] → the head's float32[B,C]."""
        out: Tensor = self.head(self.features(x))
        return out

    def epoch(self, number: int, train: Split, listener: Listener) -> float:
        """Go once through the training pictures in random order; returns the mean loss."""
        self.train_mode()
        order = torch.randperm(len(train.labels), generator=self.generator).numpy()
        chunks = np.array_split(order, math.ceil(len(order) / self.plan.batch_size))
        own = [chunk[ranks.share(len(chunk))] for chunk in chunks]
        with prefetch.ahead(train.pixels, own, self.device) as pictures:
            mean = self._steps(replace(train, pixels=pictures), number, chunks, listener)
        if self.plan.strategy == "scratch":  # each rank's BatchNorm has seen its own images
            ranks.follow(list(self.backbone.net.buffers()))
        return mean

    def _steps(
        self,
        train: Split,
        number: int,
        chunks: Sequence[npt.NDArray[np.int64]],
        listener: Listener,
    ) -> float:
        """A step for each batch of rows; returns the mean loss."""
        total = len(chunks) * self.plan.epochs
        loss_sum = 0.0
        for chunk in chunks:
            self.factor = schedule(self.done, total, self.plan.warmup)
            parts = self.parts
            loss = self.step(train, chunk)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} at step {self.done + 1} of epoch {number}",
                    hint=f"Give a smaller learning rate than {self.plan.lr:g}: "
                    f"--lr {self.plan.lr / 10:g}.",
                )
            if self.parts > parts:
                size = math.ceil(len(chunk) / self.parts)
                listener.note(
                    f"out of memory: batches of {len(chunk)} are split into parts of {size} from "
                    "here on, whose gradients add up to the same update"
                )
            if self.done == 0:
                self.began = loss * self._as_set(train, chunk)
            loss_sum += loss * len(chunk)
            self.done += 1
            listener.progress(self.done, total)
        return loss_sum / sum(map(len, chunks))

    def ignorance(self, train: Split) -> float:
        """The least mean loss of a model that gives every image the same answer."""
        outputs = self.head.linear.out_features
        constant = self.criterion.blind(train.labels, outputs, train.counts)
        return self.criterion.of_constant(constant, train.labels, train.counts)

    def _as_set(self, train: Split, rows: npt.NDArray[np.int64]) -> float:
        """By what a batch's loss is multiplied to stand for the set's, rare classes as frequent.

        It is their ratio for a model that knows nothing: one where classes are even.
        """
        whole, counts = train.labels, train.counts
        constant = self.criterion.blind(whole, self.head.linear.out_features, counts)
        of_set = self.criterion.of_constant(constant, whole, counts)
        batch = None if counts is None else counts[rows]
        of_batch = self.criterion.of_constant(constant, whole[rows], batch)
        return of_set / max(of_batch, 1e-12)

    def train_mode(self) -> None:
        """The backbone stays in eval mode, so that BatchNorm's statistics do not move."""
        self.backbone.train(self.plan.strategy == "scratch")
        self.head.train()

    def step(self, train: Split, rows: npt.NDArray[np.int64]) -> float:
        """One update on a batch of some rows, each rank computing its share; returns the loss."""
        for group, rate in zip(self.optimiser.param_groups, self.base, strict=True):
            group["lr"] = rate * self.factor
        own = ranks.share(len(rows))
        images = to_device(train.pixels[rows[own]], self.device)
        labels = torch.from_numpy(train.labels[rows[own]]).to(self.device)
        share = len(rows), own
        x = augment(images, self.plan.augment, self.plan.side_px, self.generator, share)
        counts = None
        if train.counts is not None:
            counts = torch.from_numpy(train.counts[rows[own]]).float().to(self.device)
        loss = self._gradients(self.backbone.normalise(x), labels, len(rows), counts)
        tuned = [p for g in self.optimiser.param_groups for p in g["params"]]
        loss, self.differs = _added_up(tuned, loss, self.differs)
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(tuned, CLIP)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return loss

    def _gradients(
        self, x: Tensor, labels: Tensor, count: int, counts: Tensor | None = None
    ) -> float:
        """Gradients of a batch's loss, which is returned; in more parts where memory is short.

        Args:
            x: This rank's images, normalised.
            labels: Theirs.
            count: Images of the whole batch.
            counts: How much each of this rank's images counts, float32[B].

        Raises:
            TrainingError: not even one image fits.
        """
        while True:
            self.optimiser.zero_grad(set_to_none=True)
            try:
                return self._in_parts(x, labels, count, counts)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self.parts >= len(labels):
                    raise TrainingError(
                        f"out of memory at a single image of {self.plan.side_px} px",
                        hint=f"Give an --image-size below {self.plan.side_px}, or free memory.",
                    ) from error
            self.parts = min(2 * self.parts, len(labels))

    def _in_parts(self, x: Tensor, labels: Tensor, count: int, counts: Tensor | None) -> float:
        """Add up the gradients of the parts, each with its share in the mean of the batch."""
        total, parts = 0.0, min(self.parts, len(labels)) or 1
        self.differs = len(labels) == parts  # images one by one cannot be compared
        heavy = [None] * parts if counts is None else counts.tensor_split(parts)
        some = (t.tensor_split(parts) for t in (x, labels))
        for images, wanted, weights in zip(*some, heavy, strict=True):
            if not len(wanted):  # a batch of fewer images than ranks
                continue
            with autocast(self.device, self.plan.precision):
                features = self.features(images)
                loss = self.criterion(self.head(features), wanted, weights)
                loss = loss * (len(wanted) / count)
            self.differs = self.differs or _differ(features.detach())
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total


def _differ(features: Tensor) -> bool:
    """Whether float[B,F] of a batch's images are not the same for all."""
    spread = (features.amax(0) - features.amin(0)).max()
    return bool(spread > SAME * features.abs().max())


def _added_up(tuned: Sequence[Tensor], loss: float, differs: bool) -> tuple[float, bool]:
    """Gradients, loss and `differs` of the batch, from what each rank has of its share."""
    if ranks.size() == 1:
        return loss, differs
    for parameter in tuned:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    whole = torch.tensor([loss, differs], dtype=torch.float64)
    ranks.add_up([*(p.grad for p in tuned if p.grad is not None), whole])
    return float(whole[0]), bool(whole[1])


def schedule(done: int, total: int, warmup: float) -> float:
    """Rate factor in (0, 1]: linear warm-up, then a half cosine to zero."""
    ramp = max(1, round(total * warmup))
    if done < ramp:
        return (done + 1) / ramp
    return 0.5 * (1.0 + math.cos(math.pi * (done - ramp) / max(1, total - ramp)))


@dataclass
class Best:
    """The best weights so far, by calibrated validation loss; epoch 0 is the probe's own head.

    Calibrated, because label smoothing keeps the scores of tuned epochs unsure, while the probe's
    have their temperature already: uncalibrated, epoch 0 won where tuning had helped (docs/log.md,
    2026-11-26).
    """

    epoch: int = 0
    loss: float = math.inf
    tensors: dict[str, Tensor] = field(default_factory=dict)
    logits: Array | None = None

    def offer(self, epoch: int, logits: Array, val: Split, loop: Loop) -> tuple[float, bool]:
        """Keep a copy of all that training may change if the loss is the least so far."""
        loss = loop.criterion.judged(logits, val.labels, val.shift, val.weights)
        if not loss < self.loss:
            return loss, False
        tensors = {name: tensor.clone() for name, tensor in _changing(loop).items()}
        self.epoch, self.loss, self.tensors, self.logits = epoch, loss, tensors, logits
        return loss, True

    def restore(self, loop: Loop) -> None:
        """Put the best weights back; without any offer the last ones stay."""
        _put_back(self.tensors, loop)


def _changing(loop: Loop) -> dict[str, Tensor]:
    """All that training may change, by name: no copies."""
    plan, backbone = loop.plan, loop.backbone
    ids = {id(p) for stage in plan.tuned_stages for p in backbone.stage_parameters(stage)}
    tensors = {f"net.{n}": p.detach() for n, p in backbone.net.named_parameters() if id(p) in ids}
    if plan.strategy == "scratch":
        tensors |= {f"net.{n}": b for n, b in backbone.net.named_buffers()}
    return tensors | {f"head.{n}": t for n, t in loop.head.state_dict().items()}


def _put_back(tensors: Mapping[str, Tensor], loop: Loop) -> None:
    places = _changing(loop)
    for name, tensor in tensors.items():
        places[name].copy_(tensor)


def kept(
    loop: Loop, best: Best, history: Sequence[EpochRecord]
) -> tuple[checkpoint.Arrays, FitProgress]:
    """All that the next epoch depends on."""
    groups = {"now": _changing(loop), "best": best.tensors}
    groups |= checkpoint.machinery(loop.optimiser, loop.generator)
    arrays = checkpoint.packed(groups)
    if best.logits is not None:
        arrays["scores"] = best.logits
    return arrays, FitProgress(
        history=tuple(history),
        best_epoch=best.epoch,
        best_loss=best.loss if math.isfinite(best.loss) else None,
        done=loop.done,
        parts=loop.parts,
        scaler=loop.scaler.state_dict(),
        slowed=loop.slowed,
        began=loop.began,
    )


def known(found: Kept | None, loop: Loop, listener: Listener) -> tuple[Best, list[EpochRecord]]:
    """What an earlier process has done: its last epoch is put into the loop."""
    if found is None:
        return Best(), []
    arrays, facts = found
    logits = arrays.pop("scores", None)
    groups = checkpoint.unpacked(arrays)
    _put_back(groups["now"], loop)
    checkpoint.restore_machinery(groups, loop.optimiser, loop.generator)
    if facts.scaler:
        loop.scaler.load_state_dict(facts.scaler)
    loop.done, loop.parts, loop.began = facts.done, facts.parts, facts.began
    listener.note(f"going on after epoch {len(facts.history)} of {loop.last}")
    loss = math.inf if facts.best_loss is None else facts.best_loss
    best = Best(facts.best_epoch, loss, groups.get("best", {}), logits)
    return best, list(facts.history)


def validated(record: EpochRecord, best: Best, loop: Loop, val: Split) -> EpochRecord:
    """The record with validation figures; the best weights are kept on the way."""
    logits = forward(loop, val.pixels)
    accuracy = loop.criterion.accuracy(logits, val.labels)
    loss, improved = best.offer(record.epoch, logits, val, loop)
    return replace(record, val_loss=loss, val_accuracy=accuracy, best=improved)


def forward(
    loop: Loop, pixels: npt.NDArray[np.uint8] | Some | prefetch.Ahead
) -> npt.NDArray[np.float64]:
    """Scores float64[N,C] of pictures as they are, each rank computing its share."""
    loop.backbone.eval()
    loop.head.eval()
    own, rows = ranks.share(len(pixels)), [torch.empty(0, loop.head.linear.out_features)]
    with torch.inference_mode(), autocast(loop.device, loop.plan.precision):
        for start in range(own.start, own.stop, 32):
            images = to_device(pixels[start : min(start + 32, own.stop)], loop.device)
            rows.append(loop.logits(loop.backbone.normalise(images)).float().cpu())
    logits: npt.NDArray[np.float64] = torch.cat(rows).double().numpy()
    return ranks.joint(logits)
