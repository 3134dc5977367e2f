"""All of the network tuned by a plain loop, with the settings of a run of `finetune`.

    python eager_deep.py FOLDER --weights FILE --run RUN

Resolution, batch, epochs, rates and kinds of augmentation are those of the run's plan. The rest is
what a plain loop does: files are decoded and augmented in the loader with torchvision's transforms
by two workers, memory lies as it comes, nothing is frozen. `compute_s` are the seconds of an epoch
that forward pass, backward pass and step take alone.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from common import Clock, answer, arguments
from lite0 import MEAN, STD, network
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

WORKERS = 2


def loaders(folder: Path, plan: dict[str, Any]) -> tuple[DataLoader, DataLoader]:
    """Batches of the training and of the test images."""
    side, change = plan["side_px"], plan["augment"]
    to_tensor = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    shift = (change["translation"],) * 2
    stretch = math.exp(change["stretch"])
    augmented = [
        transforms.RandomAffine(change["rotation_deg"], shift),
        transforms.RandomResizedCrop(side, (change["crop"], 1.0), (1 / stretch, stretch)),
        transforms.RandomHorizontalFlip(change["flip"]),
        transforms.ColorJitter(*(change["colour"],) * 3),
        *to_tensor,
    ]
    plain = [transforms.Resize((side, side)), *to_tensor]
    train, test = (
        datasets.ImageFolder(str(folder / part), transforms.Compose(steps))
        for part, steps in (("train", augmented), ("test", plain))
    )
    batch = plan["batch_size"]
    return (
        DataLoader(train, batch, shuffle=True, num_workers=WORKERS),
        DataLoader(test, batch, num_workers=WORKERS),
    )


def optimiser_for(model: nn.Module, plan: dict[str, Any]) -> optim.Optimizer:
    """AdamW with one rate for the head and one for all the rest."""
    head = {id(p) for p in model.get_classifier().parameters()}
    body = [p for p in model.parameters() if id(p) not in head]
    groups = [
        {"params": body, "lr": plan["lr"]},
        {"params": list(model.get_classifier().parameters()), "lr": plan["head_lr"]},
    ]
    return optim.AdamW(groups, weight_decay=plan["weight_decay"])


def schedule_for(optimiser: optim.Optimizer, plan: dict[str, Any], steps: int) -> Any:
    """Linear warm-up, then a half cosine to zero."""
    ramp = max(1, round(steps * plan["warmup"]))

    def factor(done: int) -> float:
        if done < ramp:
            return (done + 1) / ramp
        return 0.5 * (1 + math.cos(math.pi * (done - ramp) / max(1, steps - ramp)))

    return optim.lr_scheduler.LambdaLR(optimiser, factor)


def accuracy_of(model: nn.Module, test: DataLoader, device: str) -> float:
    """Share of test images classified rightly."""
    model.eval()
    with torch.inference_mode():
        right = sum(int((model(x.to(device)).argmax(1).cpu() == y).sum()) for x, y in test)
    return right / len(test.dataset)


def main() -> None:
    """Train and answer."""
    parser = arguments(__doc__)
    parser.add_argument("--run", type=Path, required=True)
    options = parser.parse_args()
    plan = json.loads((options.run / "run.json").read_text())["plan"]
    torch.manual_seed(0)
    train, test = loaders(options.folder, plan)
    model = network(options.weights, len(train.dataset.classes)).to(options.device)
    optimiser = optimiser_for(model, plan)
    schedule = schedule_for(optimiser, plan, len(train) * plan["epochs"])
    criterion = nn.CrossEntropyLoss(label_smoothing=plan["label_smoothing"])
    clock, compute, more = Clock(plan["epochs"], options.minutes), 0.0, True
    while more:
        model.train()
        for images, labels in train:
            began = time.perf_counter()
            optimiser.zero_grad()
            wanted = labels.to(options.device)
            criterion(model(images.to(options.device)), wanted).backward()
            optimiser.step()
            if options.device != "cpu":
                torch.cuda.synchronize()  # a step is over when the card says so
            compute += time.perf_counter() - began
            schedule.step()
        more = clock.lap()
    accuracy = accuracy_of(model, test, options.device)
    facts = {"side_px": plan["side_px"], "batch": plan["batch_size"]}
    compute /= len(clock.seconds)
    answer([clock], accuracy, accuracy, compute_s=compute, **facts)


if __name__ == "__main__":
    main()
