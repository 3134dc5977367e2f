"""timm's `train.py` with its defaults, which the package does not ship, by timm's own functions.

    python timm_recipe.py FOLDER --weights FILE

300 epochs, batch 128, SGD 0.05 with Nesterov momentum, cosine after 5 epochs of warm-up, label
smoothing 0.1, random crops from 8 % of the area on, flips, colour jitter 0.4; four workers. The
training loader drops what does not fill a batch, so of 200 images an epoch sees 128.
"""

from __future__ import annotations

from pathlib import Path

import torch
from common import Clock, answer, arguments
from lite0 import network
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, accuracy, random_seed
from torch import nn
from torch.utils.data import DataLoader

EPOCHS, BATCH, WORKERS = 300, 128, 4


def loaders(
    folder: Path, config: dict[str, object], device: torch.device
) -> tuple[DataLoader, DataLoader]:
    """Batches of the training and of the test images."""
    train = create_dataset("", root=str(folder), split="train", is_training=True)
    test = create_dataset("", root=str(folder), split="test")
    shared = {
        "input_size": config["input_size"],
        "mean": config["mean"],
        "std": config["std"],
        "num_workers": WORKERS,
        "device": device,
    }
    batch = min(BATCH, len(train))
    return (
        create_loader(
            train,
            batch_size=batch,
            is_training=True,
            scale=(0.08, 1.0),
            ratio=(3 / 4, 4 / 3),
            color_jitter=0.4,
            interpolation="random",
            **shared,
        ),
        create_loader(
            test,
            batch_size=batch,
            interpolation=str(config["interpolation"]),
            crop_pct=config["crop_pct"],
            **shared,
        ),
    )


def train_epoch(
    model: nn.Module, batches: DataLoader, optimiser: torch.optim.Optimizer, smoothing: float
) -> None:
    """One pass over the training images."""
    model.train()
    criterion = LabelSmoothingCrossEntropy(smoothing)
    for images, labels in batches:
        optimiser.zero_grad()
        criterion(model(images), labels).backward()
        optimiser.step()


def validate(model: nn.Module, batches: DataLoader) -> float:
    """Share of test images classified rightly."""
    model.eval()
    top = AverageMeter()
    with torch.inference_mode():
        for images, labels in batches:
            top.update(accuracy(model(images), labels)[0].item() / 100, len(labels))
    return float(top.avg)


def main() -> None:
    """Train and answer."""
    options = arguments(__doc__).parse_args()
    random_seed(42)
    classes = sum(p.is_dir() for p in (options.folder / "train").iterdir())
    device = torch.device(options.device)
    model = network(options.weights, classes).to(device)
    config = resolve_data_config({}, model=model)
    train, test = loaders(options.folder, config, device)
    # the script's rate for a batch of 128: 0.1 for 256, in proportion
    optimiser = create_optimizer_v2(model, opt="sgd", lr=0.05, weight_decay=2e-5, momentum=0.9)
    schedule, epochs = create_scheduler_v2(optimiser, num_epochs=EPOCHS, warmup_epochs=5)
    clock, best, more = Clock(epochs, options.minutes), 0.0, True
    while more:
        train_epoch(model, train, optimiser, smoothing=0.1)
        found = validate(model, test)
        best = max(best, found)
        schedule.step(len(clock.seconds) + 1, found)
        more = clock.lap()
    answer([clock], best, found, side_px=config["input_size"][-1], batch=train.loader.batch_size)


if __name__ == "__main__":
    main()
