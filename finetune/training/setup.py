"""What a training starts with: a copy of the backbone, its head, optimizer and loss."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from finetune.backbones import inference, precision
from finetune.backbones.engine import front, memory_format, seeded, to_device
from finetune.backbones.stages import Backbone
from finetune.heads import ridge
from finetune.heads.aims import Aim
from finetune.records.analysis import Reason
from finetune.records.decision import Plan
from finetune.training import losses, memory
from finetune.training.objective import OutputsLoss
from finetune.training.state import Head, Loop, Split

# Training pictures are kept a little larger than the network's input, so that a random crop does
# not have to invent pixels.
CANVAS = 1.15


def canvas_px(side_px: int) -> int:
    """Side of the stored training pictures for a network input of `side_px`."""
    return math.ceil(side_px * CANVAS)


def seconds_per_step(
    plan: Plan, backbone: Backbone, classes: int, device: torch.device, steps: int = 2
) -> float:
    """Time a few training steps of a plan on noise, after one that is not counted.

    Nothing that is given is changed. On a GPU the clock waits for the work to be done, since each
    step reads its loss.
    """
    batch = inference.noise(canvas_px(plan.side_px), plan.batch_size)
    noise = Split(batch, np.arange(plan.batch_size, dtype=np.int64) % classes)
    every, took = np.arange(plan.batch_size), list[float]()
    with seeded(0, device):
        loop = make_loop(plan, backbone, None, noise, classes, device, seed=0)
        loop.train_mode()
        loop.step(noise, every)
        for _ in range(steps):
            began = time.perf_counter()
            loop.step(noise, every)
            took.append(time.perf_counter() - began)
    return min(took)  # what else the machine does only adds to it


def make_loop(  # noqa: PLR0913 - as `loop.fit`
    plan: Plan,
    backbone: Backbone,
    start: ridge.Head | None,
    train: Split,
    classes: int,
    device: torch.device,
    *,
    seed: int,
    aim: Aim | None = None,
) -> Loop:
    """Everything that a step needs; a copy of the backbone has its parameters frozen as planned.

    Without an `aim` one of `classes` is learned; with one, so many outputs.

    Raises:
        MemoryShortError: not even one image would fit into memory.
    """
    run, last, _ = frozen(plan, backbone, device, plan.side_px)
    backbone = copy.deepcopy(backbone)
    backbone.to(device, memory_format=memory_format(device))  # type: ignore[call-overload]
    head = _head(backbone, start, classes, plan, device)
    optimiser, base = _optimizer(plan, backbone, head)
    criterion: losses.Criterion
    criterion = _criterion(plan, train, classes, device) if aim is None else OutputsLoss(aim)
    # float16 has no room for small gradients
    small = precision.resolved(plan.precision, device)[0] == precision.FP16
    scaler = torch.amp.GradScaler(device.type, enabled=small)
    generator = torch.Generator().manual_seed(seed)
    parts = (optimiser, base, criterion, scaler, device, generator)
    loop = Loop(plan, backbone, head, _features(backbone, run, last), *parts)
    loop.parts = memory.parts(loop)
    return loop


def _criterion(plan: Plan, train: Split, classes: int, device: torch.device) -> losses.Loss:
    """What is made small where one class is learned."""
    weight = losses.class_weights(train.labels, classes).to(device) if plan.class_weights else None
    return losses.Loss(weight, plan.label_smoothing)


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


def _head(
    backbone: Backbone, start: ridge.Head | None, classes: int, plan: Plan, device: torch.device
) -> Head:
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
    return Head(linear, plan.dropout).to(device)


def _optimizer(
    plan: Plan, backbone: Backbone, head: Head
) -> tuple[torch.optim.Optimizer, list[float]]:
    """Freeze what the plan freezes; rates fall toward the stem.

    Two groups a stage: weights, and what is not drawn toward zero.
    """
    for parameter in backbone.net.parameters():
        parameter.requires_grad_(False)
    stages = [(plan.head_lr, list(head.parameters()))]
    for depth, stage in enumerate(reversed(plan.tuned_stages)):
        parameters = backbone.stage_parameters(stage)
        for parameter in parameters:
            parameter.requires_grad_(True)
        stages.append((plan.lr * plan.stage_decay**depth, parameters))
    spared = _spared(backbone)
    groups = [
        {"params": some, "lr": rate, "weight_decay": decay}
        for rate, parameters in stages
        for decay, some in (
            (plan.weight_decay, [p for p in parameters if p.ndim > 1 and id(p) not in spared]),
            (0.0, [p for p in parameters if p.ndim <= 1 or id(p) in spared]),
        )
        if some
    ]
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
    return optimiser, [float(g["lr"]) for g in groups]  # type: ignore[arg-type]


def _spared(backbone: Backbone) -> set[int]:
    """Identities of what the network's authors let not decay: positions and tokens of a ViT.

    Norms and biases are told by their one dimension (He et al. 2019, "Bag of tricks").
    """
    asked = getattr(backbone.net, "no_weight_decay", None)
    names = set(asked()) if asked is not None else set()
    return {id(p) for name, p in backbone.net.named_parameters() if name in names}
