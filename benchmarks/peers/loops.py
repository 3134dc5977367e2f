"""The loop of the well-known PyTorch transfer-learning tutorial, as its readers write it.

    python loops.py FOLDER --weights FILE --body frozen|full

Frozen: only a new linear layer is trained; full: everything. Both: 25 epochs, SGD 0.001 with
momentum 0.9 lowered tenfold every 7 epochs, batch 4, random crops and flips, two workers; after
each epoch the test images are classified, and the epoch that was best on them is kept, as there.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from common import Clock, answer, arguments
from lite0 import MEAN, SIDE_PX, STD, network
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

EPOCHS, BATCH, WORKERS = 25, 4, 2
TO_TENSOR = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
TRANSFORMS = {
    "train": transforms.Compose(
        [transforms.RandomResizedCrop(SIDE_PX), transforms.RandomHorizontalFlip(), *TO_TENSOR]
    ),
    "test": transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(SIDE_PX), *TO_TENSOR]
    ),
}


def loaders(folder: Path) -> dict[str, DataLoader]:
    """Batches of both splits."""
    return {
        part: DataLoader(
            datasets.ImageFolder(str(folder / part), transform),
            batch_size=BATCH,
            shuffle=part == "train",
            num_workers=WORKERS,
        )
        for part, transform in TRANSFORMS.items()
    }


def one_pass(
    model: nn.Module, batches: DataLoader, optimiser: optim.Optimizer | None, device: str
) -> float:
    """Train for an epoch, or only classify where there is no optimiser; returns the accuracy."""
    model.train(optimiser is not None)
    right = 0
    for batch in batches:
        images, labels = (part.to(device) for part in batch)
        with torch.set_grad_enabled(optimiser is not None):
            outputs = model(images)
            loss = nn.functional.cross_entropy(outputs, labels)
        if optimiser is not None:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        right += int((outputs.argmax(1) == labels).sum())
    return right / len(batches.dataset)


def main() -> None:
    """Train and answer."""
    parser = arguments(__doc__)
    parser.add_argument("--body", choices=("frozen", "full"), required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    parts = loaders(options.folder)
    model = network(options.weights, len(parts["train"].dataset.classes))
    if options.body == "frozen":
        for parameter in model.parameters():
            parameter.requires_grad = False
        model.classifier = nn.Linear(model.num_features, model.num_classes)
    model.to(options.device)
    tuned = [p for p in model.parameters() if p.requires_grad]
    optimiser = optim.SGD(tuned, lr=0.001, momentum=0.9)
    schedule = optim.lr_scheduler.StepLR(optimiser, step_size=7, gamma=0.1)
    clock, best, more = Clock(EPOCHS, options.minutes), 0.0, True
    while more:
        one_pass(model, parts["train"], optimiser, options.device)
        schedule.step()
        accuracy = one_pass(model, parts["test"], None, options.device)
        if accuracy > best:
            best, _kept = accuracy, copy.deepcopy(model.state_dict())
        more = clock.lap()
    answer([clock], best, accuracy, side_px=SIDE_PX, batch=BATCH)


if __name__ == "__main__":
    main()
